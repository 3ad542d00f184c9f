"""A job as data: it can be sent elsewhere, its parts together are the whole, and what it will cost is said before."""

import functools
import json
import pickle
from dataclasses import replace

import pytest

from dataset_builder import InputError, corpus
from dataset_builder.filters import Limits
from dataset_builder.generators import rules
from dataset_builder.generators.negatives import negative
from dataset_builder.job import Job, Part, dry_run, run
from dataset_builder.records import latest_source, recipes
from dataset_builder.sources import open_source
from tests.endpoint_double import reword

from .jobs import PROMPTS, Says, finished, writes


def job_in(folder, **options):
    captions = folder / "captions.txt"
    captions.write_text("".join(f"a dog runs near number {i}\n" for i in range(100, 110)))
    make = functools.partial(rules.from_args, None)
    return Job(folder / "corpus", open_source([str(captions)]), "rules", make, **options)


def said_job(folder, captions, generator, **options):
    """A job whose generator is as given."""
    (folder / "captions.txt").write_text("".join(f"{caption}\n" for caption in captions))
    return Job(folder / "corpus", open_source([str(folder / "captions.txt")]), "fake", lambda: generator, **options)


def kept(folder):
    return sorted((row["index"], row["paraphrase_2"]) for row in corpus.triples(folder))


# --------------------------------------------------------------------------------------------------------- parts
def test_parts_make_the_whole(tmp_path):
    job = job_in(tmp_path)
    run(job)
    for index in range(3):
        part = pickle.loads(pickle.dumps(job_in(tmp_path)))  # as Ray sends it
        run(replace(part, output=tmp_path / "parts"), Part(index, 3))
    names = [path.name for path in sorted((tmp_path / "parts").glob("*.sqlite"))]
    assert names == [f"journal-0000{index}-of-00003.sqlite" for index in range(3)]
    assert kept(tmp_path / "parts") == kept(job.output)
    assert len(kept(job.output)) > 0


def test_no_caption_is_paid_for_in_two_parts(tmp_path):
    captions = [f"a dog beside number {i % 10 + 100}" for i in range(40)] + ["a  caf\u00e9", "a cafe\u0301 "]
    prompts = []
    for index in range(4):
        generator = Says()
        run(said_job(tmp_path, captions, generator), Part(index, 4))
        prompts += [prompt for prompt in generator.prompts if "caption" in prompt]
    assert sorted(set(prompts)) == sorted(prompts)
    assert len(prompts) == 11
    assert corpus.statistics(tmp_path / "corpus")["rows"] == {"done": 42}


def test_rows_of_version_0_2_belong_to_parts_by_their_number():
    assert [[Part(i, 3, by_number=True).has(idx, "x") for idx in range(6)] for i in range(2)] == [
        [True, False, False, True, False, False],
        [False, True, False, False, True, False],
    ]


def test_other_captions_are_refused_in_parts_too(tmp_path):
    captions = [f"a dog beside number {i}" for i in range(100, 120)]
    for index in range(2):
        run(said_job(tmp_path, captions, Says()), Part(index, 2))
    changed = [*captions[:7], "a cat sits on a mat", *captions[8:]]
    (index,) = (index for index in range(2) if Part(index, 2).has(7, captions[7]))
    with pytest.raises(InputError, match="Row 8 is 'a cat sits on a mat', but this corpus was started with"):
        run(said_job(tmp_path, changed, Says()), Part(index, 2))


# -------------------------------------------------------------------------------------------------------- source
def test_the_source_is_kept_and_others_are_refused_by_name(tmp_path):
    run(said_job(tmp_path, ["a dog barks"], Says()))
    assert latest_source(tmp_path / "corpus")["files"][0]["name"] == "captions.txt"
    run(said_job(tmp_path, ["a dog barks", "a cat sleeps"], Says()))  # the file has grown
    assert len(finished(tmp_path / "corpus")) == 2
    (tmp_path / "others.txt").write_text("a dog barks\na cat sits\n")
    job = replace(said_job(tmp_path, ["a dog"], Says()), source=open_source([str(tmp_path / "others.txt")]))
    with pytest.raises(
        InputError, match=r"begun with other captions: captions.txt, not others.txt. .* another --output"
    ):
        run(job)
    (tmp_path / "moved.txt").write_text("a dog barks\na cat sleeps\n")
    run(replace(job, source=open_source([str(tmp_path / "moved.txt")])))  # the same under another name


def test_what_where_leaves_out_is_another_recipe(tmp_path):
    rows = [{"caption": f"a dog beside number {i}", "nsfw": i % 2} for i in range(100, 104)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = said_job(tmp_path, ["a dog"], Says())
    for where, count in (("nsfw == 0", 2), (None, 4), ("nsfw == 1", 2)):
        run(replace(job, source=open_source([str(tmp_path / "c.jsonl")], where=where)))
        assert len(finished(tmp_path / "corpus")) == count


# --------------------------------------------------------------------------------------------------- what is said
CAPTIONS = [f"a dog beside number {i}" for i in range(100, 130)]


def test_the_calls_of_a_run_are_said_before_the_first(tmp_path):
    def job(**options):
        generator = Says(lambda prompt: told.append("a call") or reword(prompt))
        return said_job(tmp_path, CAPTIONS, generator, **options)

    told = []
    run(replace(job(), source=open_source([str(tmp_path / "captions.txt")], limit=20)), tell=told.append)
    assert told[0] == "20 rows, at most 40 calls."
    told.clear()
    run(job(limits=Limits(max_words=5), price_in=1e6), tell=told.append)
    assert told[0] == (
        "20 rows are settled without a call. 10 calls of step 1 and at most 10 of step 2 are left: about 200 "
        "tokens in and 100 out, cost 200.00 (as the answers in the journal took on average)."
    )
    assert told[1:] == ["a call"] * 20
    told.clear()
    run(job(limits=Limits(max_words=6)), tell=told.append)
    assert told == ["30 rows are settled without a call. No call is needed."]
    told.clear()
    run(job(limits=Limits(max_words=6), prompts=('Say "{}"', 'Reword "{}"')), tell=told.append)
    assert told[0].startswith("0 rows are settled without a call. 30 calls of step 1 and at most 30 of step 2")


def test_a_dry_run_reads_the_journal_and_writes_nothing(tmp_path):
    generator = Says()
    job = said_job(tmp_path, [*CAPTIONS, "dog"], generator, price_in=1.0, price_out=2.0)
    told = []
    dry_run(job, told.append)
    assert not job.output.exists()
    assert (
        told[0]
        == 'step 1: Paraphrase the given caption "a dog beside number 100" concisely while preserving the meaning.'
    )
    assert told[-3:-1] == [
        "31 rows: 0 are settled, 1 need no call.",
        "  1 would be rejected: caption: too few words, e.g. 'dog'",
    ]
    assert told[-1].startswith("30 calls of step 1 and at most 30 of step 2 are left: about ")
    assert "5 tokens of the chat template for each message" in told[-1]
    run(replace(job, source=open_source([str(tmp_path / "captions.txt")], limit=20)))
    generator.prompts.clear()
    before = (job.output / "journal.sqlite").read_bytes()
    told.clear()
    dry_run(job, told.append)
    assert (job.output / "journal.sqlite").read_bytes() == before
    assert not generator.prompts
    assert "31 rows: 20 are settled, 1 need no call." in told
    assert "about 200 tokens in and 100 out, cost 0.0004 (as the answers in the journal took on average)" in told[-1]


def test_a_dry_run_counts_the_system_prompt(tmp_path):
    def tokens(generator):
        told = []
        dry_run(said_job(tmp_path, CAPTIONS, generator), told.append)
        return int(told[-1].split("about ")[1].split(" tokens")[0].replace(",", ""))

    generator = Says()
    without = tokens(generator)
    generator.identity = {"model": "m", "system_prompt": "x" * 400}
    assert tokens(generator) == without + 60 * (100 + 5)


def test_a_dry_run_reads_all_parts(tmp_path):
    for index in range(3):
        run(said_job(tmp_path, CAPTIONS, Says()), Part(index, 3))
    told = []
    dry_run(said_job(tmp_path, CAPTIONS, Says()), told.append)
    assert told[-2:] == ["30 rows: 30 are settled, 0 need no call.", "No call is needed."]


# ------------------------------------------------------------------------------------------------------- the data
def test_the_recipe_has_all_that_decides(tmp_path):
    job = said_job(tmp_path, ["a dog barks"], Says())
    run(job)
    recipe = recipes(job.output)[-1]
    assert {"filters", "limits", "prompts", "sampling", "similarity_model", "nli_model", "where"} < set(recipe)


def test_cost(tmp_path):
    assert job_in(tmp_path, price_in=1.0).cost(2_000_000, 7) == 2.0
    assert job_in(tmp_path).cost(1, 1) is None


def test_a_job_with_negatives_tells_its_calls_and_has_a_recipe_of_its_own(tmp_path):
    told = []
    job = said_job(tmp_path, CAPTIONS[:2], Says(writes), prompts=PROMPTS)
    dry_run(job, told.append)
    assert told[:3] == [
        "step 1: " + PROMPTS[0].replace("{}", CAPTIONS[0]),
        "step 2: " + PROMPTS[1].replace("{}", "<the answer to step 1>"),
        "step 3: " + PROMPTS[2].replace("{}", CAPTIONS[0]),
    ]
    assert told[-1].startswith("2 calls of step 1 and at most 2 of step 2 and 2 of step 3 are left")
    told.clear()
    run(job, tell=told.append)
    assert told == ["2 rows, at most 6 calls."]
    assert [row["negative"] for row in corpus.triples(job.output)] == [
        caption.replace("dog", "cat") for caption in CAPTIONS[:2]
    ]
    recipe = recipes(job.output)[-1]
    assert (recipe["prompts"], recipe["negative_filters"]) == (list(PROMPTS), 1)
    told.clear()
    run(replace(job, prompts=PROMPTS[:2]), tell=told.append)
    assert told == ["2 rows are settled without a call. No call is needed."]
    assert "negative_filters" not in recipes(job.output)[-1]


def test_of_parts_only_some_may_have_negatives_yet(tmp_path):
    run(said_job(tmp_path, CAPTIONS, Says(writes), prompts=PROMPTS), Part(0, 2))
    run(said_job(tmp_path, CAPTIONS, Says(writes)), Part(1, 2))
    told, first = [], sum(Part(0, 2).has(i, caption) for i, caption in enumerate(CAPTIONS))
    dry_run(said_job(tmp_path, CAPTIONS, Says(), prompts=PROMPTS), told.append)
    assert f"30 rows: {first} are settled, 0 need no call." in told
    assert f"0 calls of step 1 and at most 0 of step 2 and {30 - first} of step 3" in told[-1]
    rows = list(corpus.triples(tmp_path / "corpus"))
    assert sum(row["negative"] is not None for row in rows) == first


def test_rules_write_negatives_where_they_are_certain(tmp_path):
    job = job_in(tmp_path, prompts=PROMPTS)
    run(job)
    rows = list(corpus.triples(job.output))
    assert rows
    assert all(row["negative"] == negative(row["caption"]) for row in rows)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": ("Say {}", "Say {}", "Say it")}, "--prompt_3: needs exactly one {}"),
        ({"prompts": ("Say {}", "Say it")}, "--prompt_2: needs exactly one {}"),
        ({"concurrency": 0}, "--concurrency: at least 1"),
        ({"price_in": -1.0}, "--price_in: at least 0"),
    ],
)
def test_a_job_that_cannot_run_is_refused(options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        job_in(tmp_path, **options)
