import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import ranking
from eval.ranking import rank, top_k


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
