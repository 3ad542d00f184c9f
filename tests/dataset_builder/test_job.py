"""A job as data: it can be sent elsewhere, and its parts together are the whole."""

import functools
import pickle
from pathlib import Path

import pytest

from dataset_builder import InputError, corpus
from dataset_builder import __main__ as cli
from dataset_builder.generators import rules
from dataset_builder.job import Job, run


def job_in(folder, **options):
    captions = folder / "captions.txt"
    captions.write_text("".join(f"a dog runs near number {i}\n" for i in range(100, 110)))
    make = functools.partial(rules.from_args, None)
    return Job(folder / "corpus", "rules", make, captions=str(captions), **options)


def test_parts_make_the_whole(tmp_path):
    job = job_in(tmp_path)
    run(job)
    whole = list(corpus.triples(job.output))
    assert len(whole) == 9  # the rules leave one as it is
    for index in range(3):
        part = pickle.loads(pickle.dumps(job_in(tmp_path)))  # as Ray sends it
        run(Job(**{**vars(part), "output": tmp_path / "parts"}), (index, 3))
    names = [path.name for path in sorted((tmp_path / "parts").glob("*.sqlite"))]
    assert names == [f"journal-0000{index}-of-00003.sqlite" for index in range(3)]
    assert sorted(corpus.triples(tmp_path / "parts"), key=lambda row: row["index"]) == whole


def test_the_job_of_a_command_can_be_pickled():
    args = cli.parser().parse_args(["paraphrase", "--captions", "c.txt", "--output", "o", "--generator", "openai",
                                    "--model", "m", "--limit", "5"])  # fmt: skip
    job = pickle.loads(pickle.dumps(cli.job_of(args)))
    assert (job.output, job.limit, job.limits.max_words) == (Path("o"), 5, 15)
    assert job.make_generator().identity == {"model": "m", "temperature": 1.0, "top_p": 0.1, "max_tokens": 512}


def test_rows_total_and_cost(tmp_path):
    job = job_in(tmp_path, limit=4, price_in=1.0)
    assert [idx for idx, _, _ in job.rows()] == [0, 1, 2, 3]
    assert job.total() == 4
    assert job.cost(2_000_000, 7) == 2.0
    assert job_in(tmp_path).cost(1, 1) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": ("Say {}", "Say it")}, "--prompt_2: needs exactly one {}"),
        ({"concurrency": 0}, "--concurrency: at least 1"),
        ({"limit": -1}, "--limit: at least 0"),
    ],
)
def test_a_job_that_cannot_run_is_refused(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        job_in(tmp_path, **options)
