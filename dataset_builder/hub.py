"""Data sets, of a folder or of the Hub, with what a user can cause told in one sentence."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import datasets
from huggingface_hub import HfApi, constants, get_session

from . import formats
from .errors import InputError, one_sentence
from .files import kind_of
from .formats import Table
from .strict import check_json_lines

TIMEOUT = 120.0  # seconds to connect to the Hub, and between two bytes
READ_HERE = {".parquet", ".jsonl", ".json", ".csv", ".tsv"}
MEDIA = (datasets.Image, datasets.Audio, datasets.Video)


def bound_waits() -> None:
    """Make the Hub's client give up after `TIMEOUT` seconds without a byte, where it would wait for ever.

    As in `modeling_paraclip.weights`, which this package does not import.
    """
    hooks = get_session().event_hooks["request"]
    if _bounded not in hooks:
        hooks.append(_bounded)


def _bounded(request: Any) -> None:
    """A hook of the HTTP client: many calls of the Hub's client ask for no time-out at all."""
    asked = request.extensions.get("timeout", {})
    for phase in ("connect", "read", "write", "pool"):
        if asked.get(phase) is None:
            asked[phase] = TIMEOUT
    request.extensions["timeout"] = asked


def commit_of(name: str, revision: str | None) -> str | None:
    """The commit of a data set of the Hub, so that another run reads the same; None for a folder, or if offline."""
    if os.path.isdir(name) or constants.HF_HUB_OFFLINE:
        return revision
    with _told(f"{name}: this data set"):
        return HfApi().dataset_info(name, revision=revision).sha


def open_table(name: str, config: str | None, split: str, revision: str | None) -> Table:
    """A split of a data set as a table of captions, read as a stream, and only the columns that are wanted.

    Parquet, JSON and CSV are read by `formats`: of a shard with pictures only the texts are requested, and a broken
    line is counted, where `datasets` would request all of a shard or stop.

    Raises:
        InputError: it cannot be opened; or, while it is read, it cannot be read any further.
    """
    with _told(f"{name}: split {split!r} of this data set"):
        builder = datasets.load_dataset_builder(name, config, revision=revision)
        splits = builder.config.data_files or {}
        info = (builder.info.splits or {}).get(split)
        if splits and split not in splits:
            raise InputError(f"{name}: has no split {split!r}; its splits are {', '.join(map(str, splits))}.")
        files = splits.get(split, [])
        kinds = {kind_of(file) for file in files}
        options = (getattr(builder.config, "field", None), getattr(builder.config, "sep", ","))
        is_plain = kinds <= READ_HERE and options == (None, "\t" if kinds == {".tsv"} else ",")
        if files and is_plain:
            columns = formats.open_table(files[0]).columns
        else:
            stream = datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)
            found: dict[str, Any] = stream.features or next(iter(stream), {})
            columns = [column for column, kind in found.items() if not isinstance(kind, (dict, *MEDIA))]

    def rows(wanted: Sequence[str]) -> Iterator[tuple | None]:
        problem = f"--dataset_name {name}: cannot be read any further"
        with one_sentence(problem, "Check the connection and give the same command again."):
            if files and is_plain:
                for file in files:
                    yield from formats.open_table(file).rows(wanted)
            else:
                for row in stream.select_columns(list(wanted)):
                    yield tuple(row[column] for column in wanted)

    return Table(columns, rows, lambda: info and info.num_examples)


def open_dataset(name: str, split: str, texts: Iterable[str] = ()) -> datasets.Dataset:
    """Do as `datasets.load_dataset`. JSON, compressed or not, is checked before pyarrow sees it.

    In a CSV, the columns `texts` are read as they stand: ids keep their leading zeros, and "NA" is a text.

    Raises:
        InputError: it cannot be opened.
    """
    with _told(f"{name}: split {split!r} of this data set"):
        builder = datasets.load_dataset_builder(name)
        files = [file for file in _all(builder.config.data_files or {}) if _is_json(file)]
        for file, path in zip(files, datasets.DownloadManager().download(files)):  # to the cache, for load_dataset too
            if os.path.getsize(path):
                check_json_lines(path, file)
        is_csv = hasattr(builder.config, "converters")
        options: dict[str, Any] = {"converters": dict.fromkeys(texts, str), "keep_default_na": False} if is_csv else {}
        return datasets.load_dataset(name, split=split, **options)


def _all(files: dict[str, list[str]]) -> list[str]:
    return [file for split in files.values() for file in split]


def _is_json(file: str) -> bool:
    return kind_of(file) in (".json", ".jsonl")


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    with one_sentence(
        f"{what} cannot be opened",
        "Check the name, the split and the connection; log in with `hf auth login` if it is private.",
    ):
        bound_waits()
        yield
