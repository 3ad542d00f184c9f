import json

import pytest

from eval.tasks import aro
from tests.eval.samples import WORDS, pictures, replace, write, write_jsonl


def test_relations_macro_leaves_symmetric_ones_out(folder, encoder):
    measured = aro.aro(encoder, folder)
    right = measured["VG-Relation cropped", "accuracy_micro"].values
    expected = (right[:2].mean() + right[2]) / 2  # "on" twice, "under"; "near" is left out
    assert measured["VG-Relation cropped", "accuracy_macro"].value == pytest.approx(expected)
    assert len(measured["VG-Attribution cropped", "accuracy_macro"].values) == 25
    about = measured["VG-Relation cropped", "accuracy_micro"].about
    assert (about.source, about.protocol, about.share) == ("aro/visual_genome_relation.json", "cropped", (5, 23_937))
    assert measured["photos-Order val", "accuracy_micro"].about.protocol == "perturbed here, tagged by TextBlob"
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


def test_the_fixed_perturbations_of_mteb(encoder, folder, monkeypatch):
    """A perturbation that equals its caption is left out, and a caption that has no other."""
    first = {"correct_caption": WORDS[0], "hard_text_1": WORDS[0], **{f"hard_text_{i}": WORDS[i] for i in (2, 3, 4)}}
    second = dict.fromkeys(first, "dog")
    files = pictures(folder, "photos/images/0.png", "photos/images/1.png")
    table = [{"image": file, **row} for file, row in zip(files, (first, second))]
    monkeypatch.setattr(aro, "rows_of", lambda file, source, texts, pictures: table if "Order" in source.repo else [])
    monkeypatch.setattr(aro, "HUB", {"COCO-Order": ("mteb/ARO-Order", "0" * 40, "images", aro.ORDERS)})
    ((key, scored),) = aro.aro(encoder, None).items()
    assert key == ("COCO-Order MTEB", "accuracy_micro")
    scores = encoder.texts([WORDS[i] for i in (0, 2, 3, 4)]) @ encoder.pictures(files[:1])[0]
    assert scored.values.tolist() == [scores[0] > scores[1:].max()]
    assert scored.about.protocol == "MTEB's perturbations"


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

    refused("aro", one_word_each, r"photos/captions\.jsonl: no caption has words")
