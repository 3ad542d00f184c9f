"""What the multiple-choice tasks share: a picture and several texts; the first text is right, a tie is wrong."""

from collections.abc import Callable

import numpy as np

from modeling_paraclip.errors import InputError

from ..encoders import Encoder


def first_is_best(encoder: Encoder, pictures: list[dict], texts: list[list[str]]) -> np.ndarray:
    """(n,) of 0 and 1: whether each item's first text is above all its others in cosine to its picture."""
    image_embeds = encoder.pictures(pictures)
    text_embeds = encoder.texts([text for choices in texts for text in choices])
    right, start = np.empty(len(texts)), 0
    for i, choices in enumerate(texts):
        scores = text_embeds[start : start + len(choices)] @ image_embeds[i]
        # equal texts are a tie by definition, whatever the rounding of their products
        right[i] = scores[0] > scores[1:].max() and choices[0] not in choices[1:]
        start += len(choices)
    return right


def macro(
    right: np.ndarray, groups: list[str], keep: Callable[[str, int], bool] = lambda group, size: True
) -> np.ndarray:
    """Scale the values of the items so that their mean is the macro average: the mean over groups of each one's mean.

    Args:
        right: (n,) values.
        groups: the group of each item.
        keep: name and size of a group -> whether it counts. The items of other groups are left out.

    Raises:
        InputError: no group is kept.
    """
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    kept = np.array([keep(str(name), int(size)) for name, size in zip(names, sizes)])
    if not kept.any():
        raise InputError("no group of items is left after the filter, so there is no macro average")
    mask = kept[index]
    weights = mask.sum() / (kept.sum() * sizes[index])
    return (right * weights)[mask]
