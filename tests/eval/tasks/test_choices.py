import numpy as np
import pytest

from eval.tasks import choices
from tests.eval.samples import WORDS, pictures


def test_choices_are_plain_comparisons(folder, encoder):
    files = pictures(folder, *(f"photos/images/{i}.png" for i in range(5)))
    texts = [[WORDS[i], WORDS[(i + 1) % 5], WORDS[(i + 2) % 5]] for i in range(5)]
    expected = []
    for file, options in zip(files, texts):
        scores = encoder.texts(options) @ encoder.pictures([file])[0]
        expected.append(scores[0] > scores[1] and scores[0] > scores[2])
    assert choices.first_is_best(encoder, files, texts).tolist() == expected
    assert not choices.first_is_best(encoder, files[:1], [["a", "a"]]).any()  # a tie is wrong


def test_macro_is_the_mean_of_means():
    right, groups = np.array([1, 0, 1, 1, 0, 0.0]), list("aabccc")
    assert choices.macro(right, groups).mean() == pytest.approx((1 / 2 + 1 + 1 / 3) / 3)
    assert choices.macro(right, groups, lambda name, size: size > 1).mean() == pytest.approx((1 / 2 + 1 / 3) / 2)
    with pytest.raises(ValueError, match="no group"):
        choices.macro(right, groups, lambda name, size: False)
