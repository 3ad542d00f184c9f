import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.metrics.retrieval_recall.retrieval_recall import best_ranks, retrieval_recall
from tests.eval.metrics.formulas import holds_its_examples, interval_holds_the_value, load


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_retrieval_recall_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    rankings = [rng.permutation(8)[:6].tolist() for _ in range(5)]
    right = [rng.permutation(8)[: rng.integers(1, 4)].tolist() for _ in range(5)]
    for rank_, ranking_, answers in zip(best_ranks(rankings, right), rankings, right):
        for k in range(1, 7):
            assert retrieval_recall([rank_], k) == [bool(set(ranking_[:k]) & set(answers))]


@pytest.mark.parametrize("ranks", [[1, float("nan")], [0, 1]])
def test_what_is_no_rank(ranks):
    with pytest.raises(ValueError, match="ranks and k have to be 1 or more"):
        retrieval_recall(np.array(ranks), 1)


def test_ids_are_integers_or_strings(tmp_path):
    metric = load("retrieval_recall", tmp_path)
    for ids in (str, int, np.int32):
        rankings, right = [[ids(5), ids(7)], [ids(7), ids(5)]], [[ids(5)], [ids(5), ids(9)]]
        expected = {"recall@1": 0.5, "recall@2": 1.0, "median_rank": 1.5}
        assert metric.compute(predictions=rankings, references=right, k=[1, 2]) == expected
    assert metric.compute(predictions=np.array([[5, 7]]), references=[[7]], k=2) == {"recall@2": 1, "median_rank": 2}
    with pytest.raises(ValueError, match="ids have to be all integers or all strings, got int, str"):
        metric.compute(predictions=[[5, 7]], references=[["5"]])


def test_examples_in_the_documentation_are_true(tmp_path):
    assert holds_its_examples(load("retrieval_recall", tmp_path))


def test_interval_on_request_holds_the_value(tmp_path):
    inputs = {"predictions": [["a", "b"], ["b", "a"]], "references": [["a"]] * 2, "k": [1]}
    assert interval_holds_the_value(load("retrieval_recall", tmp_path), "recall@1", **inputs)


@pytest.mark.parametrize(
    ("predictions", "references", "options", "message"),
    [
        ([["a", "a"]], [["a"]], {}, "ranking 0 has an id twice"),
        ([["a", "b"]], [["a"]], {"k": [0]}, "whole number of 1 or more"),
    ],
)
def test_refuses(predictions, references, options, message, tmp_path):
    metric = load("retrieval_recall", tmp_path)
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=predictions, references=references, **options)
