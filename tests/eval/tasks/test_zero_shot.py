import shutil

import numpy as np
import pytest

from eval.tasks import zero_shot
from tests.eval.samples import pictures, write


def test_zero_shot_is_its_description(folder, encoder):
    measured = zero_shot.zero_shot(encoder, folder)
    templates = zero_shot.TEMPLATES["imagenet"]
    assert len(templates) == 80
    classes = [np.mean([encoder.texts([t.replace("{}", n)])[0] for t in templates], 0) for n in ("cat", "red dog")]
    classes = np.stack([c / np.linalg.norm(c) for c in classes])
    scores = encoder.pictures(pictures(folder, *(f"photos/images/{i}.png" for i in range(3)))) @ classes.T
    right = [scores[:, 0] > scores[:, 1], scores[:, 1] > scores[:, 0]]
    assert measured["pets", "top1_accuracy"].value == pytest.approx(np.mean(right))
    assert measured["pets", "mean_per_class_accuracy"].value == pytest.approx(np.mean([r.mean() for r in right]))
    about = measured["pets", "top1_accuracy"].about
    assert (about.source, about.protocol, about.revision, about.share) == (
        *("zeroshot/pets", "80 ImageNet templates", None, None),
    )
    assert zero_shot.ranks_of(np.array([[1.0, 1, 0], [0, 2, 1]]), np.array([0, 1])).tolist() == [
        1,
        0,
    ]  # a tie is wrong


def test_rows_are_scored_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    images, classes, labels = rng.normal(size=(7, 3)), rng.normal(size=(4, 3)), rng.integers(0, 4, 7)
    monkeypatch.setattr(zero_shot, "ROWS", 2)
    expected = [(np.argsort(-(classes @ image)) == label).argmax() for image, label in zip(images, labels)]
    assert zero_shot._ranks(images, classes, labels).tolist() == expected


@pytest.mark.parametrize("name", ["cifar10", "CIFAR-100"])
def test_cifar_has_its_own_templates(name, folder, encoder, tmp_path):
    shutil.copytree(folder / "zeroshot/pets", tmp_path / "zeroshot" / name)
    found = zero_shot.zero_shot(encoder, tmp_path)[name, "top1_accuracy"].about
    assert (found.protocol, found.share) == ("18 CIFAR templates", (6, 10_000))
    assert len(set(zero_shot.TEMPLATES["cifar"])) == 18
    (tmp_path / "zeroshot" / name / "templates.json").write_text('["a {}."]')
    given = zero_shot.zero_shot(encoder, tmp_path)[name, "top1_accuracy"].about
    assert given.protocol == "1 given templates"
    assert given.revision.startswith("sha256:")


def test_a_misprint_of_the_hub_is_mended(monkeypatch):
    rows = [{"label": 0.0, "image": None}]
    monkeypatch.setattr(zero_shot, "rows_of", lambda *args, **kinds: rows)
    monkeypatch.setattr(zero_shot, "hub_labels", lambda source, column: ["cra", "maple_tree"])
    found = zero_shot._from_hub("CIFAR-100", zero_shot.HUB["CIFAR-100"])
    assert found.classes == ["crab", "maple tree"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda root: (root / "zeroshot/pets/empty").mkdir(), "empty has no pictures", id="empty class"),
        pytest.param(
            write("zeroshot/pets/classes.json", b'{"cat": "cat"}'), "no name for red_dog", id="unnamed class"
        ),
        pytest.param(write("zeroshot/pets/classes.json", b"{"), "classes.json, line 1: is not JSON", id="broken JSON"),
        pytest.param(write("zeroshot/pets/classes.json", b"[]"), "a JSON object is needed", id="names as a list"),
        pytest.param(
            write("zeroshot/pets/templates.json", b"{}"), "a JSON list of texts", id="templates as an object"
        ),
        pytest.param(
            write("zeroshot/pets/templates.json", b'["a photo"]'), "where the class goes", id="template without place"
        ),
    ],
)
def test_bad_input_is_one_clear_sentence(spoil, message, refused):
    refused("zero_shot", spoil, message)
