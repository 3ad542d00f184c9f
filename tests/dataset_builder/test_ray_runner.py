"""On Ray the corpus is the same as in one process."""

import functools
import sys

import pytest

from dataset_builder import InputError, corpus
from dataset_builder import __main__ as cli
from dataset_builder.generators import rules
from dataset_builder.job import Job
from dataset_builder.ray_runner import run_on_ray


def test_on_ray_it_is_the_same_corpus(tmp_path):
    pytest.importorskip("ray", reason="ray is an extra: pip install paraclip[ray]")
    (tmp_path / "captions.txt").write_text("".join(f"a dog next to number {i}\n" for i in range(100, 140)))
    base = ["paraphrase", "--captions", str(tmp_path / "captions.txt"), "--generator", "rules", "--output"]
    cli.main([*base, str(tmp_path / "local")])
    cli.main([*base, str(tmp_path / "ray"), "--runner", "ray", "--partitions", "2"])

    def rows(name):
        return sorted((row["index"], row["paraphrase_2"]) for row in corpus.triples(tmp_path / name))

    assert rows("local") == rows("ray")
    assert len(list((tmp_path / "ray").glob("journal-*.sqlite"))) == 2
    with pytest.raises(SystemExit, match="give the same number again"):
        cli.main([*base, str(tmp_path / "ray"), "--runner", "ray", "--partitions", "3"])


def test_what_ends_a_part_is_one_sentence(tmp_path):
    pytest.importorskip("ray", reason="ray is an extra: pip install paraclip[ray]")
    with pytest.raises(SystemExit, match=r"absent\.txt: no such file"):
        cli.main(["paraphrase", "--captions", str(tmp_path / "absent.txt"), "--generator", "rules",
                  "--output", str(tmp_path / "o"), "--runner", "ray"])  # fmt: skip


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    job = Job(tmp_path / "o", "rules", functools.partial(rules.from_args, None), captions="c.txt")
    with pytest.raises(InputError, match=r"pip install 'paraclip\[ray\]'"):
        run_on_ray(job, 2)
