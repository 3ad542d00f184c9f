"""What the journals of a corpus hold, read back."""

import pytest

from dataset_builder import InputError, corpus
from dataset_builder.records import journals, latest_source, lost_rows, negatives_tally, recipes, tally
from tests.endpoint_double import reword

from .jobs import PROMPTS, RECIPE, WITH_NEGATIVES, Says, ask, is_step_3, of_version_0_2, source, writes


def test_a_journal_of_version_0_2_can_be_read_as_it_is(tmp_path):
    path = of_version_0_2(tmp_path)
    before = path.read_bytes()
    assert corpus.statistics(path.parent)["rows"] == {"done": 3, "rejected": 2}
    assert latest_source(path.parent) == {}
    assert [(row["reason"], row["answer"]) for row in lost_rows(path)] == [("truncated", None), ("refused", None)]
    assert path.read_bytes() == before


def test_lost_rows_say_why_and_by_which_answer(tmp_path):
    ask(
        [*source(3), (3, "3", "dog"), (4, "4", "")],
        tmp_path,
        Says(lambda prompt: "" if "101" in prompt else reword(prompt)),
    )
    path = tmp_path / "journal.sqlite"
    lost = [(row["index"], row["step"], row["reason"], row["answer"]) for row in lost_rows(path)]
    assert lost == [
        (1, "step 1", "empty", ""),
        (3, "caption", "too few words", None),
        (4, "caption", "too few words", None),
    ]
    for reason, count in (("empty", 1), ("step 1: empty", 1), ("step 2: empty", 0), ("too few words", 2), ("x", 0)):
        assert len(list(lost_rows(path, reason))) == count


def test_rows_and_answers_are_counted(tmp_path):
    ask(source(3), tmp_path, Says())
    assert tally(tmp_path / "journal.sqlite") == ({"done": 3}, {}, {"answers": 6, "tokens_in": 60, "tokens_out": 30})


def test_recipes_are_in_the_order_they_ran(tmp_path):
    ask(source(3), tmp_path, Says())
    ask(source(2), tmp_path, Says(), {**RECIPE, "limits": "others"})
    assert [(recipe.get("limits"), recipe["rows"]) for recipe in recipes(tmp_path)] == [(None, 1), ("others", 2)]


def test_a_folder_without_a_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match="no corpus here"):
        journals(tmp_path)


def test_negatives_are_counted_apart(tmp_path):
    path = tmp_path / "journal.sqlite"
    ask(source(2), tmp_path, Says())
    assert negatives_tally(path) == ({}, {})
    says = Says(lambda prompt: "" if "101" in prompt and is_step_3(prompt) else writes(prompt))
    ask([*source(2), (2, "2", "dog")], tmp_path, says, WITH_NEGATIVES, prompts=PROMPTS)
    assert negatives_tally(path) == ({"done": 1, "rejected": 1}, {"step 3: empty": 1})
    assert tally(path)[:2] == ({"done": 2, "rejected": 1}, {"caption: too few words": 1})
    assert [(row["step"], row["reason"]) for row in lost_rows(path)] == [
        ("caption", "too few words"), ("step 3", "empty"),
    ]  # fmt: skip
    ask(source(2), tmp_path, Says())  # rows of another recipe have none
    assert negatives_tally(path) == ({}, {})
