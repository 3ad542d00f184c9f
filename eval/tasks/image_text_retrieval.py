"""Image-text retrieval: does a text find its picture, and a picture one of its texts?

Protocol: cosine similarity; R@k is the share of queries with a right answer among their first k; in text-to-image each
text has one right picture, in image-to-text a picture has all texts of its `image_id`. Ties break by lower index.
"""

import numpy as np


def image_text_retrieval(
    text_embeds: np.ndarray,
    gallery_embeds: np.ndarray,
    picture_of_text: np.ndarray,
    ks: tuple[int, ...] = (1, 5, 10),
) -> dict[str, np.ndarray]:
    """Metric name -> values, one a query.

    Args:
        text_embeds: (n, dim) L2-normalised.
        gallery_embeds: (m, dim) L2-normalised. A picture without a text is a distractor, never an image-to-text query.
        picture_of_text: (n,) the gallery index of each text's picture.
    """
    scores = text_embeds @ gallery_embeds.T
    text_rank = _rank_of(scores, picture_of_text)
    # a picture's rank is that of its best text
    pictures = np.unique(picture_of_text)
    is_own = picture_of_text[:, None] == pictures[None, :]
    own_scores = np.where(is_own, scores[:, pictures], -np.inf)
    image_rank = _rank_of(scores[:, pictures].T, own_scores.argmax(axis=0))
    return {
        **{f"text_to_image_recall@{k}": (text_rank < k).astype(float) for k in ks},
        **{f"image_to_text_recall@{k}": (image_rank < k).astype(float) for k in ks},
    }


def _rank_of(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Rank, from 0, of column `right[i]` in row i; ties break by lower column."""
    own = np.take_along_axis(scores, right[:, None], axis=1)
    ahead = np.arange(scores.shape[1])[None, :] < right[:, None]
    return ((scores > own) | ((scores == own) & ahead)).sum(axis=1)
