import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.metrics.jaccard_similarity.jaccard_similarity import jaccard_similarity
from tests.eval.metrics.formulas import holds_its_examples, interval_holds_the_value, load, slow_jaccard

rankings = st.integers(1, 8).flatmap(
    lambda k: st.tuples(
        st.just(k),
        st.lists(st.tuples(*[st.permutations(range(12)).map(lambda ids: ids[:9])] * 2), min_size=1, max_size=4),
    )
)


@settings(deadline=None)
@given(rankings)
def test_is_its_formula(case):
    k, pairs = case
    a, b = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    np.testing.assert_allclose(jaccard_similarity(a, b, k), [slow_jaccard(*pair, k) for pair in pairs])


def test_loads_as_an_evaluate_module(tmp_path):
    metric = load("jaccard_similarity", tmp_path)
    a, b = [["a", "b", "c"], ["d", "e", "f"]], [["b", "a", "x"], ["d", "e", "f"]]
    results = metric.compute(predictions=a, references=b, k=[1, 2, 3])
    assert results == pytest.approx(
        {f"jaccard_similarity@{k}": (slow_jaccard(a[0], b[0], k) + slow_jaccard(a[1], b[1], k)) / 2 for k in (1, 2, 3)}
    )
    with pytest.raises(ValueError, match="jaccard_similarity@4 needs rankings of 4 ids, got 3"):
        metric.compute(predictions=a, references=b, k=[4])


@pytest.mark.parametrize("ids", [str, int, np.int32])
def test_ids_are_integers_or_strings(ids, tmp_path):
    metric = load("jaccard_similarity", tmp_path)
    inputs = {"predictions": [[ids(2), ids(10)]], "references": [[ids(10), ids(2)]]}
    assert metric.compute(**inputs, k=[1, 2]) == {"jaccard_similarity@1": 0, "jaccard_similarity@2": 1}
    assert metric.compute(**inputs, k=1) == {"jaccard_similarity@1": 0}
    for prediction in inputs["predictions"]:
        metric.add(prediction=prediction, reference=prediction)
    assert metric.compute(k=2) == {"jaccard_similarity@2": 1}
    with pytest.raises(ValueError, match="ids have to be all integers or all strings"):
        metric.compute(predictions=[[2, 10]], references=[["2", "10"]])


def test_scores_are_compared_in_float64(tmp_path):
    metric = load("jaccard_similarity", tmp_path, "scores")
    assert metric.compute(predictions=[[0.1, 0.1 + 1e-12]], references=[[0, 1]], k=1) == {"jaccard_similarity@1": 1}


def test_two_score_matrices_given_in_chunks(tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 6, 9)).astype(float)  # many ties
    metric = load("jaccard_similarity", tmp_path, "scores")
    for rows in (slice(0, 4), slice(4, 6)):
        metric.add_batch(predictions=a[rows], references=b[rows])
    ranked = [[sorted(range(9), key=lambda j: (-row[j], j)) for row in scores] for scores in (a, b)]
    expected = np.mean([slow_jaccard(x, y, 3) for x, y in zip(*ranked)])
    assert metric.compute(k=[3])["jaccard_similarity@3"] == pytest.approx(expected)


def test_examples_in_the_documentation_are_true(tmp_path):
    assert holds_its_examples(load("jaccard_similarity", tmp_path))


def test_interval_on_request_holds_the_value(tmp_path):
    inputs = {"predictions": [["a", "b"], ["c", "d"]], "references": [["a", "b"], ["d", "e"]], "k": [2]}
    assert interval_holds_the_value(load("jaccard_similarity", tmp_path), "jaccard_similarity@2", **inputs)


@pytest.mark.parametrize(
    ("predictions", "references", "options", "message"),
    [
        ([["a", "a"]], [["a", "b"]], {"k": [2]}, "has an id twice"),
        ([["a", "b"]], [["a"]], {"k": [2]}, "needs rankings of 2 ids, got 1"),
    ],
)
def test_refuses(predictions, references, options, message, tmp_path):
    metric = load("jaccard_similarity", tmp_path)
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=predictions, references=references, **options)
