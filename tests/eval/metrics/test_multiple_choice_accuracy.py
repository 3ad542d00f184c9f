import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.metrics.multiple_choice_accuracy.multiple_choice_accuracy import multiple_choice_accuracy
from tests.eval.metrics.formulas import holds_its_examples, interval_holds_the_value, load


def test_multiple_choice_as_an_evaluate_module(tmp_path):
    metric = load("multiple_choice_accuracy", tmp_path)
    scores, right = [[0.9, 0.1], [0.5, 0.5], [0.1, 0.2, 0.3], [0.1, 0.7, 0.3]], [0, 0, 2, 0]
    assert metric.compute(predictions=scores, references=right) == {"multiple_choice_accuracy": 0.5}
    result = metric.compute(predictions=scores, references=right, groups=["a", "b", "b", "b"])
    assert result["multiple_choice_accuracy_macro"] == pytest.approx((1 + 1 / 3) / 2)
    with pytest.raises(ValueError, match="a list of 4, one per item"):
        metric.compute(predictions=scores, references=right, groups=["a"])


@pytest.mark.parametrize(
    ("scores", "right", "message"),
    [([0.1], 0, "at least 2"), ([0.1, 0.2], 2, "choice 2 of 2"), ([0.1, float("nan")], 0, "not all numbers")],
)
def test_multiple_choice_refuses(scores, right, message):
    with pytest.raises(ValueError, match=f"item 1: .*{message}"):
        multiple_choice_accuracy([[0.1, 0.2], scores], [0, right])


@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=4), min_size=1, max_size=5))
def test_right_is_above_every_other_choice(scores):
    expected = [all(row[0] > other for other in row[1:]) for row in scores]
    values = multiple_choice_accuracy(scores)
    assert values.dtype == np.float64
    assert values.tolist() == expected
    assert (
        values.tolist()
        == multiple_choice_accuracy([row[::-1] for row in scores], [len(r) - 1 for r in scores]).tolist()
    )


def test_equal_choices_are_a_tie_whatever_their_scores():
    scores = np.array([[0.3, 0.2999, 0.1], [0.3, 0.2999, 0.1]])
    assert multiple_choice_accuracy(scores, 0, [["a", "a", "b"], ["a", "b", "b"]]).tolist() == [0, 1]


def test_scores_are_compared_in_float64(tmp_path):
    metric = load("multiple_choice_accuracy", tmp_path)
    nearly_tied = [[0.1 + 1e-12, 0.1]]
    assert metric.compute(predictions=nearly_tied, references=[0]) == {"multiple_choice_accuracy": 1.0}


def test_groups_can_be_excluded(tmp_path):
    metric = load("multiple_choice_accuracy", tmp_path)
    inputs = {"predictions": [[1, 0], [1, 0], [0, 1]], "references": [0, 1, 0], "groups": ["a", "near", "b"]}
    result = metric.compute(**inputs, exclude_groups=["near"])
    assert result == {"multiple_choice_accuracy": 0.5, "multiple_choice_accuracy_macro": 0.5}
    with pytest.raises(ValueError, match="no item is left"):
        metric.compute(**inputs, exclude_groups=["a", "b", "near"])


def test_examples_in_the_documentation_are_true(tmp_path):
    assert holds_its_examples(load("multiple_choice_accuracy", tmp_path))


def test_interval_on_request_holds_the_value(tmp_path):
    inputs = {"predictions": [[0.1, 0.2], [0.3, 0.1]], "references": [1, 1]}
    assert interval_holds_the_value(load("multiple_choice_accuracy", tmp_path), "multiple_choice_accuracy", **inputs)
