"""A finished corpus, and a Hub to publish it to."""

import asyncio
from dataclasses import asdict

import huggingface_hub
import pytest

from dataset_builder.filters import VERSION, Limits
from dataset_builder.journal import Journal, Negative, Row
from tests.hub_double import HubDouble

RECIPE = {
    "generator": "openai",
    "model": "writer-1",
    "sampling": {"temperature": 1.0},
    "prompts": ["Say {} again", "Say {} once more"],
    "limits": asdict(Limits()),
    "filters": VERSION,
}


def add_rows(path, recipe, numbers, lost=(), negatives=None):
    """Finished rows of these numbers, and others as they are; negatives by row, None for one that was dropped."""
    journal = Journal(path, recipe)

    async def fill():
        for i in numbers:
            text = f"a caption about the number {i % 59 + 100}"
            await journal.add_row(Row(i, f"{i % 59}.jpg", text, f"{text} again", f"{text} once more", "done"))
        for row in lost:
            await journal.add_row(row)
        for i, text in (negatives or {}).items():
            why = ("done", None) if text else ("rejected", "step 3: unrelated")
            await journal.add_negative(Negative(i, text, *why))

    journal.keep_source({"files": [{"name": "c.txt", "bytes": 9, "sha256_of_ends": "0"}]})
    asyncio.run(fill())
    journal.close()


@pytest.fixture
def finished(tmp_path):
    """60 finished rows, one of them a repetition, and some of the others."""
    lost = [
        Row(60, "60.jpg", "x", None, None, "rejected", "caption: too few words"),
        Row(61, "61.jpg", "x y", None, None, "failed", "step 1: time-out"),
    ]
    add_rows(tmp_path / "corpus" / "journal.sqlite", RECIPE, range(60), lost)
    return tmp_path / "corpus"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A double of the Hub that the client of this process takes for the Hub."""
    with HubDouble() as double:
        for name, value in {
            "ENDPOINT": double.url, "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True,
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HUGGINGFACE_CO_URL_TEMPLATE": double.url + "/{repo_id}/resolve/{revision}/{filename}",
        }.items():  # fmt: skip
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield double
