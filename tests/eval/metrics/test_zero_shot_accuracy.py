import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.metrics.zero_shot_accuracy.zero_shot_accuracy import mean_per_class, ranks_of
from tests.eval.metrics.formulas import holds_its_examples, interval_holds_the_value, load


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_zero_shot_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 4, (9, 7)), rng.integers(0, 7, 9)
    for row, label, rank_ in zip(scores, labels, ranks_of(scores, labels)):
        assert rank_ == sum(row[c] >= row[label] for c in range(7) if c != label)
    right = rng.integers(0, 2, 9).astype(float)
    expected = np.mean([right[labels == c].mean() for c in set(labels)])
    assert mean_per_class(right, labels).mean() == pytest.approx(expected)


def test_scores_are_compared_in_float64(tmp_path):
    metric = load("zero_shot_accuracy", tmp_path)
    assert metric.compute(predictions=[[0.1 + 1e-12, 0.1]], references=[0])["top1_accuracy"] == 1


def test_examples_in_the_documentation_are_true(tmp_path):
    assert holds_its_examples(load("zero_shot_accuracy", tmp_path))


def test_interval_on_request_holds_the_value(tmp_path):
    inputs = {"predictions": [[0.1, 0.2], [0.3, 0.1]], "references": [1, 1]}
    assert interval_holds_the_value(load("zero_shot_accuracy", tmp_path), "top1_accuracy", **inputs)


@pytest.mark.parametrize(
    ("predictions", "references", "options", "message"),
    [
        ([[0.1, float("nan")]], [0], {}, "item 0 are not numbers"),
        ([[0.1, 0.2]], [2], {}, "labels 2 to 2, but 2 classes"),
        ([[0.1]], [0], {}, r"shape \(1, 1\)"),
    ],
)
def test_refuses(predictions, references, options, message, tmp_path):
    metric = load("zero_shot_accuracy", tmp_path)
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=predictions, references=references, **options)
