"""Evaluation data on the Hub: one split of one configuration at one commit, on disk, its pictures read as needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
from datasets.data_files import DataFilesDict
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HTTPError  # that of httpx or httpx2, whichever huggingface_hub uses
from yaml import YAMLError

from modeling_paraclip.errors import InputError, said

from .files import MissingData
from .statistics import About

ROWS = 1000  # read at a time
# not found, gated, offline, no space left (OSError); no such configuration or split (ValueError); a data set that is
# still a script (RuntimeError); a card whose metadata are broken (YAMLError)
LOADING_ERRORS = (DatasetsError, HTTPError, OSError, ValueError, RuntimeError, YAMLError)


@dataclass(frozen=True)
class HubSource:
    """A split of a data set of the Hub.

    Args:
        repo, revision: the repository and the commit.
        split: its name there, e.g. "corpus" for the pictures of MTEB's retrieval sets.
        columns: the names used here -> those used there.
        name: of the configuration, where the data set has several.
    """

    repo: str
    revision: str
    split: str
    columns: dict[str, str]
    name: str | None = None

    def about(self, **facts: Any) -> About:
        """The origin of figures on this split; `facts` are further arguments of `About`."""
        return About(self.repo, self.revision, f"{self.name}/{self.split}" if self.name else self.split, **facts)


class StoredPicture(Mapping):
    """A picture `{"path", "bytes"}` that is read from disk whenever it is asked for: 50,000 do not fit in memory.

    Args:
        column: a data set of one column of pictures, as Arrow.
        row: which.
        path: the picture's name, if it has one.
        has_bytes: whether the picture itself is stored.
    """

    def __init__(self, column: datasets.Dataset, row: int, path: str | None, has_bytes: bool):
        self._column, self._row, self.path, self.has_bytes = column, row, path, has_bytes

    def __getitem__(self, key: str) -> str | bytes | None:
        if key == "path":
            return self.path
        if key == "bytes":
            return read_bytes(self._column, self._row) if self.has_bytes else None
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(("path", "bytes"))

    def __len__(self) -> int:
        return 2


def read_bytes(column: datasets.Dataset, row: int) -> bytes:
    """Those of one picture of a data set of one column."""
    return pc.struct_field(column[row].column(0), "bytes")[0].as_py()


def load_split(source: HubSource) -> datasets.Dataset:
    """Download the files of this split alone, once, and open it: rows stay on disk.

    `datasets.load_dataset` downloads all splits of a configuration, e.g. ImageNet's training set for its test set.
    Where the Hub cannot be reached, what was downloaded at this commit is opened.

    Raises:
        MissingData: it cannot be loaded.
    """
    cache = Path(datasets.config.HF_DATASETS_CACHE) / "paraclip" / f"{source.revision}-{source.split}"
    with _loading(source):
        builder = datasets.load_dataset_builder(
            source.repo, source.name, revision=source.revision, cache_dir=str(cache)
        )
        files = builder.config.data_files
        if files is not None:  # None: from the cache
            if source.split not in files:
                raise ValueError(f"it has no split {source.split}, only {', '.join(map(str, files))}")
            builder.config.data_files = DataFilesDict({source.split: files[source.split]})
            counted = (builder.info.splits or {}).get(source.split)  # what the card says is checked
            builder.info.splits = datasets.SplitDict({source.split: counted}) if counted else None
        builder.download_and_prepare()
        return builder.as_dataset(split=source.split)


@contextmanager
def _loading(source: HubSource) -> Iterator[None]:
    try:
        yield
    except LOADING_ERRORS as error:
        reason = said(error)  # the client's messages have many lines
        raise MissingData(f"{source.repo} cannot be loaded from the Hub: {reason}") from error


def hub_rows(source: HubSource, pictures: tuple[str, ...]) -> Iterator[tuple[str, dict]]:
    """The place ("row 3") and the wanted columns of each row; those of `pictures` as `StoredPicture`s.

    Raises:
        MissingData: it cannot be loaded.
        InputError: a column is not there, or holds no pictures.
    """
    loaded = load_split(source)
    missing = [column for column in source.columns.values() if column not in loaded.column_names]
    if missing:
        raise InputError(f"{source.repo}: no column {', '.join(missing)}; found are {', '.join(loaded.column_names)}.")
    # as Arrow has them: `datasets` would decode pictures, also nested ones, and request those that are addresses
    loaded = loaded.select_columns(list(source.columns.values())).with_format("arrow")
    stored = {ours: loaded.select_columns([theirs]) for ours, theirs in source.columns.items() if ours in pictures}
    for start in range(0, len(loaded), ROWS):
        batch = loaded[start : start + ROWS]
        columns = {
            ours: _references(stored[ours], batch.column(theirs), start, f"{source.repo}, row {start + 1}: {ours}")
            if ours in stored
            else batch.column(theirs).to_pylist()
            for ours, theirs in source.columns.items()
        }
        for i, values in enumerate(zip(*columns.values())):
            yield f"row {start + i + 1}", dict(zip(columns, values))


def _references(column: datasets.Dataset, values: pa.ChunkedArray, start: int, where: str) -> list[StoredPicture]:
    """What refers to a batch of pictures whose first row is `start`, without reading them."""
    if not pa.types.is_struct(values.type) or {field.name for field in values.type} != {"bytes", "path"}:
        raise InputError(f"{where} is no picture.")
    paths = pc.struct_field(values, "path").to_pylist()
    has_bytes = pc.struct_field(values, "bytes").is_valid().to_pylist()
    return [StoredPicture(column, start + i, *found) for i, found in enumerate(zip(paths, has_bytes))]


def hub_labels(source: HubSource, column: str) -> list[str]:
    """The names of the classes of a label column. `column` is the name used here."""
    feature = load_split(source).features.get(source.columns[column])
    if not isinstance(feature, datasets.ClassLabel):
        raise InputError(f"{source.repo}: the column {source.columns[column]} does not name its classes.")
    return feature.names
