import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.metrics.sts_spearman.sts_spearman import checked, spearman
from tests.eval.metrics.formulas import holds_its_examples, interval_holds_the_value, load, slow_pearson, slow_ranks

columns = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=12).filter(
    lambda rows: all(len(set(column)) > 1 for column in zip(*rows))
)


@settings(deadline=None)
@given(columns)
def test_spearman_is_pearson_of_the_mean_ranks(rows):
    a, b = zip(*rows)
    assert spearman(np.array(a), np.array(b)) == pytest.approx(slow_pearson(slow_ranks(a), slow_ranks(b)), abs=1e-9)


def test_sts_spearman_as_an_evaluate_module(tmp_path):
    metric = load("sts_spearman", tmp_path)
    result = metric.compute(predictions=[0.1, 0.2, 0.9, 0.3], references=[0, 2, 5, 1])
    assert result["sts_spearman"] == pytest.approx(0.8)
    assert result["sts_pearson"] == pytest.approx(slow_pearson([0.1, 0.2, 0.9, 0.3], [0, 2, 5, 1]))


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([0.1, float("nan")], [0, 1], "predictions 1 is nan"),
        ([0.1, 0.2], [0, float("inf")], "references 1 is inf"),
        ([0.1], [1], "at least 2 pairs, got 1"),
        ([], [], "at least 2 pairs, got 0"),
        ([0.5, 0.6], [3, 3], "all references are 3.0"),
    ],
)
def test_no_correlation_of_nothing(predictions, references, message, tmp_path):
    assert np.isnan(spearman(np.array(predictions), np.array(references)))
    with pytest.raises(ValueError, match=message):
        checked(np.array(predictions), np.array(references))


def test_the_same_cosine_for_all_pairs_is_undefined(tmp_path):
    assert np.isnan(spearman(np.array([0.5, 0.5]), np.array([0, 1])))
    metric = load("sts_spearman", tmp_path)
    with pytest.warns(UserWarning, match="sts_spearman is undefined: all predictions are 0.5"):
        result = metric.compute(predictions=[0.5, 0.5], references=[0, 1], ci95=True)
    assert result.keys() == {"sts_spearman", "sts_pearson", "sts_spearman_ci95"}
    assert np.isnan([*result["sts_spearman_ci95"], result["sts_spearman"], result["sts_pearson"]]).all()


def test_predictions_are_compared_in_float64(tmp_path):
    result = load("sts_spearman", tmp_path).compute(predictions=[0.1, 0.1 + 1e-12, 0.1 - 1e-12], references=[2, 3, 1])
    assert result["sts_spearman"] == pytest.approx(1)


def test_examples_in_the_documentation_are_true(tmp_path):
    assert holds_its_examples(load("sts_spearman", tmp_path))


def test_interval_on_request_holds_the_value(tmp_path):
    inputs = {"predictions": [0.1, 0.5, 0.3, 0.9], "references": [1, 2, 4, 3]}
    assert interval_holds_the_value(load("sts_spearman", tmp_path), "sts_spearman", **inputs)
