"""An index of one's own: triples without pictures, and vectors that some image tower made."""

from __future__ import annotations

import glob
from pathlib import Path

import datasets
import numpy as np

from modeling_paraclip.errors import InputError, said

from .data import checked_text
from .hub import LOADING_ERRORS
from .suite import gallery_of

FILES = {".jsonl": "json", ".parquet": "parquet"}


def load_texts(source: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of `source` (see `_loaded`), of which each has `columns`, texts that are not empty."""
    rows = _loaded(source, columns).to_list()
    for number, row in enumerate(rows, start=1):
        for column in columns:
            checked_text(row[column], f"{source}, row {number}: {column}")
    return rows


def load_vectors(source: str) -> tuple[list[str], np.ndarray]:
    """The `image_id`s of `source` (see `_loaded`), each once, and their `image_embeds`, (n, dim) float32, normalised.

    Raises:
        InputError: it cannot be read, or a vector cannot be compared with others.
    """
    loaded = _loaded(source, ("image_id", "image_embeds"))
    try:
        with np.errstate(all="ignore"):
            image_ids, vectors = gallery_of({source: loaded})
    except (ValueError, TypeError) as error:
        raise InputError(f"{source}: image_embeds have to be lists of numbers, all of one length.") from error
    usable = np.isfinite(vectors).all(axis=1)
    if not usable.all():
        shown = image_ids[int(usable.argmin())]
        raise InputError(f"{source}: the vector of {shown[:80]} is all zeros, or not all finite numbers.")
    return image_ids, vectors


def _loaded(source: str, columns: tuple[str, ...]) -> datasets.Dataset:
    """Columns of a `.jsonl` or `.parquet` file, or of the split `validation` of a data set's folder or Hub id.

    Raises:
        InputError: it cannot be read, or lacks a column or rows.
    """
    kind = FILES.get(Path(source).suffix)
    try:
        if kind:
            loaded = datasets.load_dataset(kind, data_files=glob.escape(source), split="train")
        else:
            loaded = datasets.load_dataset(source, split="validation")
    except LOADING_ERRORS as error:
        raise InputError(f"{source} cannot be read: {said(error)}") from error
    missing = [column for column in columns if column not in loaded.column_names]
    if missing:
        found = ", ".join(loaded.column_names)[:200]
        raise InputError(f"{source}: no column {', '.join(missing)}; found are {found}.")
    if not len(loaded):
        raise InputError(f"{source} has no rows.")
    return loaded.select_columns(list(columns)).cast_column("image_id", datasets.Value("string"))
