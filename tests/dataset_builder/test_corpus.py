"""From a journal to the Hub and back, with the real client against a double of the Hub."""

import asyncio
import json
import os
import subprocess
import sys

import pytest
from huggingface_hub import DatasetCard

from dataset_builder import __main__ as cli
from dataset_builder import corpus
from dataset_builder.journal import Journal, Row
from tests.hub_double import HubDouble

RECIPE = {
    "generator": "openai",
    "model": "writer-1",
    "sampling": {"temperature": 1.0},
    "prompts": ["Say {} again", "Say {} once more"],
    "limits": {"min_words": 2},
}


@pytest.fixture
def finished(tmp_path):
    """60 finished rows, one of them a repetition, and some of the others."""
    journal = Journal(tmp_path / "corpus" / "journal.sqlite", RECIPE)

    async def fill():
        for i in range(60):
            text = f"caption number {i % 59 + 100}"
            await journal.add_row(Row(i, f"{i % 59}.jpg", text, f"{text} again", f"{text} once more", "done"))
        await journal.add_row(Row(60, "60.jpg", "x", None, None, "rejected", "caption: too few words"))
        await journal.add_row(Row(61, "61.jpg", "x y", None, None, "failed", "step 1: time-out"))

    asyncio.run(fill())
    journal.close()
    return tmp_path / "corpus"


def test_stats(finished, capsys):
    cli.main(["stats", str(finished)])
    out = capsys.readouterr().out
    assert "62 rows: 60 done, 1 failed, 1 rejected" in out
    assert "caption: too few words" in out
    assert "retry the failed rows" in out
    cli.main(["stats", str(finished), "--json"])
    assert json.loads(capsys.readouterr().out)["recipe"]["model"] == "writer-1"


def test_card_says_how_it_was_made(finished):
    info = corpus.statistics(finished)
    card = corpus.dataset_card(
        "org/pairs", info, {"train": 50, "validation": 9}, list(corpus.triples(finished))[:5], license="cc-by-4.0",
        config_name="default",
    )  # fmt: skip
    assert card.data.license == "cc-by-4.0"
    for text in (
        "writer-1",
        "Say {} again",
        "temperature 1.0",
        "too few words",
        "caption number 100 once more",
        "| train | 50 |",
    ):
        assert text in card.text, text


def test_nothing_to_publish_and_no_corpus(tmp_path, capsys):
    with pytest.raises(SystemExit, match="no corpus here"):
        cli.main(["stats", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main(["publish", str(tmp_path), "org/name"])
    assert "--license" in capsys.readouterr().err


def test_export_is_whole_or_not_at_all(finished, tmp_path, monkeypatch):
    out = tmp_path / "pairs.jsonl"
    out.write_text("the old one")

    def broken(rows, path):
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(corpus, "_write_jsonl", broken)
    with pytest.raises(SystemExit, match="disk full"):
        cli.main(["export", str(finished), "--format", "jsonl", "--output", str(out)])
    assert out.read_text() == "the old one"


@pytest.mark.slow
def test_published_it_loads_with_the_plain_library(finished, tmp_path):
    """Each client has a process of its own, as it reads the endpoint when it is imported."""
    with HubDouble() as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_secret", "HF_HUB_OFFLINE": "0",
                       "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}  # fmt: skip

        def python(*arguments):
            done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        publish = ["-m", "dataset_builder", "publish", str(finished), "org/pairs", "--license", "cc-by-4.0"]
        python(*publish, "--validation_percentage", "20")
        python(*publish, "--config_name", "second", "--validation_percentage", "0")
        repo = hub.repos["org/pairs"]
        assert not [name for name, data in repo.items() if b"hf_secret" in data]
        card = DatasetCard(repo["README.md"].decode())
        assert [config["config_name"] for config in card.data.configs] == ["default", "second"]
        script = """
import json, datasets
whole = datasets.load_dataset("org/pairs")
named = datasets.load_dataset("org/pairs", "second")
stream = datasets.load_dataset("org/pairs", "default", split="train", streaming=True)
print(json.dumps([{k: len(v) for k, v in whole.items()}, {k: len(v) for k, v in named.items()}, next(iter(stream)),
      sorted(set(whole["train"]["image_id"]) & set(whole["validation"]["image_id"]))]))
"""
        sizes, named, first, shared = json.loads(python("-c", script).splitlines()[-1])
    assert sum(sizes.values()) == 59
    assert sizes["validation"] > 3
    assert named == {"train": 59}
    assert first["paraphrase_2"].endswith("once more")
    assert first["model"] == "writer-1"
    assert shared == []
