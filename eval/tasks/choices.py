"""What the multiple-choice tasks share: a picture and several texts; the first text is right, a tie is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from modeling_paraclip.errors import InputError
from modeling_paraclip.pictures import digest_of

from ..data import rows_of
from ..encoders import Encoder
from ..files import MissingData
from ..metrics.multiple_choice_accuracy.multiple_choice_accuracy import multiple_choice_accuracy


def first_is_best(encoder: Encoder, pictures: Sequence[Mapping], texts: list[list[str]]) -> np.ndarray:
    """(n,) of 0 and 1: whether each item's first text is above all its others in cosine to its picture."""
    image_embeds = encoder.pictures(pictures).astype(np.float64)
    text_embeds = encoder.texts([text for choices in texts for text in choices])
    starts = np.cumsum([len(choices) for choices in texts])[:-1]
    scores = [own @ image for own, image in zip(np.split(text_embeds, starts), image_embeds)]
    return multiple_choice_accuracy(scores, choices=texts)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) float64 of two (n, dim) L2-normalised arrays: in float32 unequal ones can round to a tie."""
    return np.einsum("ij,ij->i", a.astype(np.float64), b.astype(np.float64))


def units_of(pictures: Sequence[Mapping]) -> np.ndarray:
    """(n,) labels for `Mean`, equal where two items have one picture: a file, or the content where there is none."""
    names = [picture["path"] if (data := picture["bytes"]) is None else digest_of(data) for picture in pictures]
    return np.unique(names, return_inverse=True)[1]


def kinds_in(folder: Path, texts: tuple[str, ...]) -> dict[str, tuple[Path, list[dict]]]:
    """Kind of negative -> its file and rows, of a folder of the authors' `KIND.json`, or of `KIND.tsv`.

    Each row has `texts` and, where the file has it, `image`, which the authors' files call `filename`.

    Raises:
        MissingData: there is no such file.
        InputError: a row is wrong, or a kind is there twice.
    """
    found: dict[str, tuple[Path, list[dict]]] = {}
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.tsv")]):
        if file.stem in found:
            raise InputError(f"{file.with_suffix('')} is there as .json and as .tsv. Remove one.")
        rows = rows_of(file, None, texts, optional=("image", "filename"))
        for row in rows:
            if name := row.pop("filename", row.get("image")):
                row["image"] = name
        found[file.stem] = file, rows
    if not found:
        raise MissingData(f"{folder} has no .json or .tsv files")
    return found


def image_names(file: Path, rows: list[dict]) -> list[str]:
    """The picture of each row. InputError where one has none."""
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("image"), str) or not row["image"].strip():
            raise InputError(f"{file}, item {number}: the picture's name is missing (column image or filename).")
    return [row["image"] for row in rows]
