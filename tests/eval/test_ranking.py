import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import ranking
from eval.ranking import best_rank, rank, top_k


def test_ties_break_by_lower_index():
    gallery = np.array([[1.0, 0], [1, 0], [0, 1], [1, 0]])
    assert rank(np.array([[1.0, 0]]), gallery, 4).tolist() == [[0, 1, 3, 2]]


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))
def test_ranking_in_tiles_is_a_stable_sort(seed, k, queries, gallery):
    """Small whole numbers: many ties, and arithmetic without rounding, so that tiles cannot change a score."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-2, 3, (11, 3)).astype(np.float32), rng.integers(-2, 3, (23, 3)).astype(np.float16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "QUERIES", queries)
        patch.setattr(ranking, "GALLERY", gallery)
        ranked = rank(a, b, k)
    assert ranked.tolist() == [sorted(range(23), key=lambda j: (-(a[i] @ b[j]), j))[:k] for i in range(11)]


def test_ranking_of_a_small_gallery_and_of_no_numbers():
    assert rank(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[:2], 10).tolist() == [[0, 1], [1, 0], [0, 1]]
    with pytest.raises(ValueError, match="row 1 are not all numbers"):
        top_k([torch.tensor([[1.0, 2], [float("nan"), 1]])], 1)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 9))
def test_the_best_right_answer_is_that_of_a_full_sort(seed, kept, gallery):
    """As above; several right answers per query, and answers that no query has."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-2, 3, (11, 3)).astype(np.float32), rng.integers(-2, 3, (23, 3)).astype(np.float16)
    labels = np.concatenate([np.arange(6), rng.integers(0, 9, 17)])
    rng.shuffle(labels)
    wanted = rng.integers(0, 6, 11)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "KEPT", kept)
        patch.setattr(ranking, "GALLERY", gallery)
        found = best_rank(a, b, wanted, labels)
    for i in range(11):
        order = sorted(range(23), key=lambda j: (-(a[i] @ b[j]), j))
        assert found[i] == min(place for place, j in enumerate(order) if labels[j] == wanted[i])


def test_a_query_without_a_right_answer_and_no_numbers_are_refused():
    eye = np.eye(3, dtype=np.float32)
    with pytest.raises(ValueError, match="query 1 has no right answer"):
        best_rank(eye, eye, np.array([0, 7, 1]), np.arange(3))
    with pytest.raises(ValueError, match="not all numbers"):
        best_rank(eye, eye * np.nan, np.arange(3), np.arange(3))
