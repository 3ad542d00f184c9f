"""Paraphrased retrieval (paper, section 4.2): do two wordings of one wish find the same pictures?

Protocol: every pair is a caption and one rewording of it; each ranks the whole gallery by cosine similarity, ties by
lower gallery index; AO@10 and JS@10 compare the two rankings.
"""

import numpy as np

from ..metrics.average_overlap.average_overlap import average_overlap
from ..metrics.jaccard_similarity.jaccard_similarity import jaccard_similarity


def rank(query_embeds: np.ndarray, gallery_embeds: np.ndarray, k: int) -> np.ndarray:
    """(n, dim) normalised queries, (m, dim) normalised gallery -> (n, min(k, m)) gallery indices, best first."""
    return np.argsort(-(query_embeds @ gallery_embeds.T), axis=1, kind="stable")[:, :k]


def paraphrased_retrieval(
    caption_embeds: np.ndarray, rewording_embeds: np.ndarray, gallery_embeds: np.ndarray, k: int = 10
) -> dict[str, np.ndarray]:
    """Metric name -> (n,) values, one a pair. Inputs are L2-normalised: (n, dim), (n, dim), (m, dim) with m >= k."""
    a, b = rank(caption_embeds, gallery_embeds, k), rank(rewording_embeds, gallery_embeds, k)
    return {
        f"average_overlap@{k}": average_overlap(a, b, k),
        f"jaccard_similarity@{k}": jaccard_similarity(a, b, k),
    }
