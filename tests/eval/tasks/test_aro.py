import json

import pytest

from eval.tasks import aro
from tests.eval.samples import replace, write, write_jsonl


def test_relations_macro_leaves_symmetric_ones_out(folder, encoder):
    measured = aro.aro(encoder, folder)
    right = measured["VG-Relation", "accuracy_micro"]
    expected = (right[:2].mean() + right[2]) / 2  # "on" twice, "under"; "near" is left out
    assert measured["VG-Relation", "accuracy_macro"].mean() == pytest.approx(expected)
    assert len(measured["VG-Attribution", "accuracy_macro"]) == 25
    assert {"near", "adjusting", "around", "sitting next to"} <= aro.SYMMETRIC
    assert not {"on", "under", "to the left of"} & aro.SYMMETRIC


def test_perturbations_are_the_same_words_in_another_order():
    caption = "Two young men in a red car talk to an old woman"
    made = aro.perturbations(caption)
    assert len(made) == 4
    assert made == aro.perturbations(caption)
    words = sorted(aro.clean(caption).split())
    assert all(sorted(text.split()) == words and text != aro.clean(caption) for text in made)
    nouns, others = made[0].split(), made[1].split()
    original = aro.clean(caption).split()
    # the first moves nouns and adjectives only, the second everything else
    moved = {word for word, old in zip(nouns, original) if word != old}
    assert moved
    assert moved <= {"men", "car", "woman", "young", "red", "old"}
    kept = {old for word, old in zip(others, original) if word == old}
    assert {"men", "car", "woman", "red", "old", "young"} <= kept
    within = made[2].split()
    assert all(sorted(within[i : i + 3]) == sorted(original[i : i + 3]) for i in range(0, 9, 3))
    assert aro.perturbations("dog") == []


def all_symmetric(root):
    file = root / "aro/visual_genome_relation.json"
    file.write_text(json.dumps([{**row, "relation_name": "near"} for row in json.loads(file.read_text())]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            write("aro/visual_genome_relation.json", b"{}"), "a list of rows is needed", id="relations not a list"
        ),
        pytest.param(write("aro/visual_genome_relation.json", b"["), "is not JSON", id="relations broken"),
        pytest.param(
            replace("aro/visual_genome_relation.json", b'"bbox_w": 30', b'"bbox_w": null'),
            "bbox_w is None",
            id="no box",
        ),
        pytest.param(all_symmetric, "no group of items", id="only symmetric"),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("aro", spoil, message)


def test_the_orders_need_a_word_that_can_move(refused):
    def one_word_each(root):
        rows = [json.loads(line) for line in (root / "photos/captions.jsonl").read_text().splitlines()]
        write_jsonl(root / "photos/captions.jsonl", [{**row, "captions": ["dog"]} for row in rows])

    refused("aro", one_word_each, "photos: no caption has words")
