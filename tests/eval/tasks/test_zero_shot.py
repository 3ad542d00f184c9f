import numpy as np
import pytest

from eval.tasks import zero_shot
from tests.eval.samples import pictures, write


def test_zero_shot_is_its_description(folder, encoder):
    measured = zero_shot.zero_shot(encoder, folder)
    templates = zero_shot.TEMPLATES.read_text().splitlines()
    assert len(templates) == 80
    classes = [np.mean([encoder.texts([t.replace("{}", n)])[0] for t in templates], 0) for n in ("cat", "red dog")]
    classes = np.stack([c / np.linalg.norm(c) for c in classes])
    scores = encoder.pictures(pictures(folder, *(f"photos/images/{i}.png" for i in range(3)))) @ classes.T
    right = [scores[:, 0] > scores[:, 1], scores[:, 1] > scores[:, 0]]
    assert measured["pets", "top1_accuracy"].mean() == pytest.approx(np.mean(right))
    assert measured["pets", "mean_per_class_accuracy"].mean() == pytest.approx(np.mean([r.mean() for r in right]))
    assert zero_shot.ranks_of(np.array([[1.0, 1, 0], [0, 2, 1]]), np.array([0, 1])).tolist() == [
        1,
        0,
    ]  # a tie is wrong


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
