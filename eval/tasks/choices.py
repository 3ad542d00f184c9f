"""What the multiple-choice tasks share: a picture and several texts, the first of which is right; a tie is wrong."""

import numpy as np

from ..encoders import Encoder


def first_is_best(encoder: Encoder, pictures: list[dict], texts: list[list[str]]) -> np.ndarray:
    """(n,) of 0 and 1: whether the first of each item's texts is above all its others in cosine to its picture."""
    image_embeds = encoder.pictures(pictures)
    text_embeds = encoder.texts([text for choices in texts for text in choices])
    right, start = np.empty(len(texts)), 0
    for i, choices in enumerate(texts):
        scores = text_embeds[start : start + len(choices)] @ image_embeds[i]
        # equal texts are a tie by definition, whatever the rounding of their products
        right[i] = scores[0] > scores[1:].max() and choices[0] not in choices[1:]
        start += len(choices)
    return right


def macro(right: np.ndarray, groups: list[str], keep=lambda group, size: True) -> np.ndarray:
    """Scale the values so that their mean is the mean over groups of the mean in each; groups not kept count nothing.

    Raises ValueError where no group is kept.
    """
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    kept = np.array([keep(str(name), int(size)) for name, size in zip(names, sizes)])
    if not kept.any():
        raise ValueError("no group of items is left after the filter, so there is no macro average")
    mask = kept[index]
    weights = mask.sum() / (kept.sum() * sizes[index])
    return (right * weights)[mask]
