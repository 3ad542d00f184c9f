"""What was paid for is durable, and one process writes."""

import asyncio

import pytest

from benchmarks import kill
from dataset_builder import InputError
from dataset_builder.journal import Answer, Journal, request_key

from .jobs import RECIPE, source


def test_two_writers_are_refused(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    with pytest.raises(InputError, match="another process"):
        Journal(tmp_path / "journal.sqlite", RECIPE)
    journal.close()


def test_a_full_disk_is_told_to_whoever_waits(tmp_path):
    async def job():
        journal._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(OSError, match="full"):
            await journal.add_answer(request_key("x", {}), Answer("y" * 100_000))

    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    try:
        asyncio.run(job())
    finally:
        journal.close()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path):
    """The large version, 50 kills, is `python benchmarks/kill.py`."""
    counted = kill.run(tmp_path, source(120, distinct=110), kills=4)
    assert (counted["kills"], counted["rows"]) == (4, 120)
