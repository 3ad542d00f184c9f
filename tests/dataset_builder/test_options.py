"""The job that options make."""

import pickle
from pathlib import Path

import pytest

from dataset_builder import InputError
from dataset_builder import __main__ as cli
from dataset_builder.options import job_of
from dataset_builder.paraphrase import PROMPT_1, PROMPT_2, PROMPT_3


def test_the_job_of_a_command_can_be_pickled(tmp_path):
    (tmp_path / "c.txt").write_text("a dog\n")
    given = ["--captions", str(tmp_path / "c.txt"), "--output", "o", "--generator", "openai", "--model", "m"]
    args = cli.parser().parse_args(["paraphrase", *given, "--limit", "5", "--no_early_stop"])
    job = pickle.loads(pickle.dumps(job_of(args)))
    assert (job.output, job.source.limit, job.limits.max_words, job.early_stop) == (Path("o"), 5, 15, False)
    generator = job.make_generator()
    assert generator.identity == {"model": "m", "temperature": 1.0, "top_p": 0.1}
    assert generator.max_tokens == 512


def test_negatives_are_a_third_prompt(tmp_path):
    (tmp_path / "c.txt").write_text("a dog\n")
    given = ["paraphrase", "--captions", str(tmp_path / "c.txt"), "--output", "o", "--generator", "rules"]
    for more, prompts in (
        ([], (PROMPT_1, PROMPT_2)),
        (["--negatives"], (PROMPT_1, PROMPT_2, PROMPT_3)),
        (["--negatives", "--prompt_3", "Deny {}"], (PROMPT_1, PROMPT_2, "Deny {}")),
    ):
        assert job_of(cli.parser().parse_args([*given, *more])).prompts == prompts
    with pytest.raises(InputError, match="--prompt_3 asks for negatives: add --negatives"):
        job_of(cli.parser().parse_args([*given, "--prompt_3", "Deny {}"]))
