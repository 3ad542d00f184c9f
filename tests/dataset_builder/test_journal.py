"""What was paid for is durable, and one process writes."""

import asyncio
import sqlite3

import pytest

from benchmarks import kill
from dataset_builder import InputError
from dataset_builder.journal import Answer, Journal, request_key, snapshot
from dataset_builder.paraphrase import PROMPT_1
from dataset_builder.records import lost_rows

from .jobs import RECIPE, Says, ask, of_version_0_2, source


def test_two_writers_are_refused(tmp_path):
    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    with pytest.raises(InputError, match="another process"):
        Journal(tmp_path / "journal.sqlite", RECIPE)
    journal.close()
    Journal(tmp_path / "journal.sqlite", RECIPE).close()


def test_a_full_disk_is_told_to_whoever_waits(tmp_path):
    async def job():
        journal._db.execute("PRAGMA max_page_count = 1")
        with pytest.raises(InputError, match=r"journal.sqlite: the disk is full. Free some space .* is kept"):
            await journal.add_answer(request_key("x", {}), Answer("y" * 100_000))
        journal._db.execute("PRAGMA max_page_count = 1000000")
        await journal.add_answer(request_key("z", {}), Answer("z"))
        assert journal.answer("z", {}, None) == (request_key("z", {}), Answer("z"))

    journal = Journal(tmp_path / "journal.sqlite", RECIPE)
    try:
        asyncio.run(job())
    finally:
        journal.close()


IDENTITY = {"model": "m", "temperature": 1.0, "top_p": 0.1}


@pytest.mark.parametrize("recipe", ["[]", "{", "[" * 100_000, '{"sampling": 3}', '{"sampling": {"max_tokens": [1]}}'])
def test_a_recipe_that_somebody_edited_is_one_sentence(recipe, tmp_path):
    path = of_version_0_2(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE recipes SET recipe = ?", (recipe,))
    with pytest.raises(InputError, match=r"is damaged\. Recover it with .* a recipe is malformed"):
        Journal(path, RECIPE)
    with pytest.raises(InputError, match="a recipe is malformed"), snapshot(path.parent, RECIPE):
        pass


def test_what_version_0_2_paid_for_is_found_without_writing(tmp_path):
    path = of_version_0_2(tmp_path)
    before = path.read_bytes()
    with snapshot(path.parent, {}) as reader:
        assert reader.answer(PROMPT_1.replace("{}", "a dog beside number 100"), IDENTITY, 16)[1] is not None
    assert path.read_bytes() == before


@pytest.mark.parametrize(("limit", "calls"), [(16, 0), (8, 0), (512, 2)])
def test_what_version_0_2_paid_for_is_not_asked_again(limit, calls, tmp_path):
    path = of_version_0_2(tmp_path)
    rows = [(i, str(i), f"a dog beside number {100 + i}") for i in range(5)]
    generator = Says(max_tokens=limit)
    generator.identity = IDENTITY
    recipe = {**RECIPE, "sampling": {"max_tokens": limit}, "filters": 1}
    for _ in range(2):  # the second time there is nothing to do
        ask(rows, path.parent, generator, recipe)
        assert len(generator.prompts) == calls
    assert all("number 102" in prompt for prompt in generator.prompts)
    assert len(list(lost_rows(path))) == 2 - bool(calls)
    assert [row["answer"] for row in lost_rows(path, "refused")] == ["I'm sorry, but I can't help with that."]


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path):
    """The large version, 50 kills, is `python benchmarks/kill.py`."""
    counted = kill.run(tmp_path, source(120, distinct=110), kills=4)
    assert (counted["kills"], counted["rows"]) == (4, 120)
