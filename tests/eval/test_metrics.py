"""Each metric against a slow computation that reads like its formula, and as a module of `evaluate`."""

from pathlib import Path

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.metrics.average_overlap.average_overlap import average_overlap
from eval.metrics.jaccard_similarity.jaccard_similarity import jaccard_similarity
from eval.tasks.image_text_retrieval import image_text_retrieval_values
from eval.tasks.paraphrased_retrieval import overlaps, rank

METRICS = Path(__file__).parents[2] / "eval" / "metrics"


def slow_average_overlap(a, b, k):
    return sum(len(set(a[:d]) & set(b[:d])) / d for d in range(1, k + 1)) / k


def slow_jaccard(a, b, k):
    return len(set(a[:k]) & set(b[:k])) / len(set(a[:k]) | set(b[:k]))


rankings = st.integers(1, 8).flatmap(
    lambda k: st.tuples(
        st.just(k),
        st.lists(st.tuples(*[st.permutations(range(12)).map(lambda ids: ids[:9])] * 2), min_size=1, max_size=4),
    )
)


@settings(deadline=None)
@given(rankings)
def test_overlaps_are_their_formulas(case):
    k, pairs = case
    a, b = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    np.testing.assert_allclose(average_overlap(a, b, k), [slow_average_overlap(*pair, k) for pair in pairs])
    np.testing.assert_allclose(jaccard_similarity(a, b, k), [slow_jaccard(*pair, k) for pair in pairs])


@pytest.mark.parametrize(
    ("name", "slow"), [("average_overlap", slow_average_overlap), ("jaccard_similarity", slow_jaccard)]
)
def test_loads_as_an_evaluate_module(name, slow, tmp_path):
    metric = evaluate.load(str(METRICS / name), cache_dir=str(tmp_path))
    a, b = [["a", "b", "c"], ["d", "e", "f"]], [["b", "a", "x"], ["d", "e", "f"]]
    results = metric.compute(predictions=a, references=b, k=[1, 2, 3])
    assert results == pytest.approx(
        {f"{name}@{k}": (slow(a[0], b[0], k) + slow(a[1], b[1], k)) / 2 for k in (1, 2, 3)}
    )
    with pytest.raises(ValueError, match=f"{name}@4 needs rankings of 4 ids, got 3"):
        metric.compute(predictions=a, references=b, k=[4])


def test_ties_break_by_lower_index():
    gallery = np.array([[1.0, 0], [1, 0], [0, 1], [1, 0]])
    assert rank(np.array([[1.0, 0]]), gallery, 4).tolist() == [[0, 1, 3, 2]]


def test_paraphrased_retrieval_of_the_same_wording_is_1():
    embeds = np.random.default_rng(0).normal(size=(5, 4))
    assert all((values == 1).all() for values in overlaps(embeds, embeds, embeds, k=3).values())


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_recall_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    texts, gallery = rng.integers(-2, 3, (9, 2)), rng.integers(-2, 3, (6, 2))  # many ties
    own = rng.integers(0, 5, 9)  # picture 5 is a distractor
    measured = image_text_retrieval_values(texts, gallery, own, ks=(1, 3))
    for k in (1, 3):
        hits = [own[i] in sorted(range(6), key=lambda j: (-(texts[i] @ gallery[j]), j))[:k] for i in range(9)]
        assert measured[f"text_to_image_recall@{k}"].tolist() == hits
        hits = [
            any(own[i] == j for i in sorted(range(9), key=lambda i: (-(texts[i] @ gallery[j]), i))[:k])
            for j in sorted(set(own))
        ]
        assert measured[f"image_to_text_recall@{k}"].tolist() == hits
