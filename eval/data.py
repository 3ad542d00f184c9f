"""Evaluation data: local files, or the Hub at pinned revisions. Each row is checked; an error names file and line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HTTPError  # that of httpx or httpx2, whichever huggingface_hub uses

from modeling_paraclip.errors import InputError


class MissingData(InputError):  # noqa: N818 (it names what happened)
    """A task's data are not there. With `--tasks all` the task is listed as not run."""


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hub at one revision; `columns` maps the names used here to those used there."""

    repo: str
    revision: str
    split: str
    columns: dict[str, str]
    name: str | None = None


def rows_of(
    file: Path | None,
    source: HubSource | None,
    texts: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
    lists: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> list[dict]:
    """The rows of a local file (`.tsv`, `.jsonl` or a `.json` list) or, where `file` is None, of `source`.

    Args:
        texts, numbers, lists: columns that every row must have: text that is not empty, a finite number (returned as
            a float), a list of texts that is not empty.
        optional: columns that are kept unchecked where a row has them.

    Raises:
        MissingData: there is no such file, or no Hub data set is known, or the Hub cannot be reached.
        InputError: wrong encoding, a missing column, or a row with a wrong value.
    """
    if file is None:
        if source is None:
            raise MissingData("is not on the Hub in a form that can be loaded; give local files with --data")
        return _checked(_hub_rows(source), source.repo, texts, numbers, lists, optional)
    if not file.is_file():
        raise MissingData(f"{file} is not there")
    read = {".tsv": _tsv_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}[file.suffix]
    return _checked(read(file), file, texts, numbers, lists, optional)


def read_tsv(file: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = ()) -> list[dict]:
    """`rows_of` for a tab-separated file; `numbers` are among `columns`."""
    return rows_of(file, None, tuple(column for column in columns if column not in numbers), numbers)


def read_json(file: Path) -> Any:
    """What a JSON file holds. InputError, naming the line, where it is not JSON."""
    text = _text_of(file)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{file}, line {error.lineno}: is not JSON: {error.msg}.") from error


def _text_of(file: Path) -> str:
    """Without byte order mark, with `\\n` at line ends."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{file} is not UTF-8: line {line} has other bytes. Convert it.") from error
    if not text.strip():
        raise InputError(f"{file} is empty.")
    return text


def _tsv_rows(file: Path) -> Iterable[tuple[str, dict]]:
    header, *lines = (line.split("\t") if line else [] for line in _text_of(file).rstrip("\n").split("\n"))
    for name, separator in (("comma", ","), ("semicolon", ";")):
        if len(header) == 1 and separator in header[0]:
            raise InputError(
                f"{file}, line 1: the header is {header[0]!r}. It looks {name}-separated; tabs are needed."
            )
    repeated = [name for name in header if header.count(name) > 1]
    if repeated:
        raise InputError(f"{file}, line 1: the column {repeated[0]} is there twice.")
    yield "header", dict.fromkeys(header)
    for number, values in enumerate(lines, start=2):
        if len(values) != len(header):
            raise InputError(f"{file}, line {number}: {len(values)} fields, but the header has {len(header)}.")
        yield f"line {number}", dict(zip(header, values))


def _jsonl_rows(file: Path) -> Iterable[tuple[str, dict]]:
    for number, line in enumerate(_text_of(file).split("\n"), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{file}, line {number}: is not JSON: {error.msg}.") from error


def _json_rows(file: Path) -> Iterable[tuple[str, dict]]:
    rows = read_json(file)
    if not isinstance(rows, list):
        raise InputError(f"{file}: a list of rows is needed, not {type(rows).__name__}.")
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def hub_labels(source: HubSource, column: str) -> list[str]:
    """The names of the classes of a label column of a Hub data set. `column` is the name used here."""
    with _loading(source):
        builder = datasets.load_dataset_builder(source.repo, source.name, revision=source.revision)
    return builder.info.features[source.columns[column]].names


@contextmanager
def _loading(source: HubSource) -> Iterator[None]:
    try:
        yield
    # not found, gated, offline, no space left (OSError); no such configuration or split (ValueError); a data set that
    # is still a script (RuntimeError)
    except (DatasetsError, HTTPError, OSError, ValueError, RuntimeError) as error:
        raise MissingData(f"{source.repo} cannot be loaded from the Hub: {error}") from error


def _hub_rows(source: HubSource) -> Iterable[tuple[str, dict]]:
    with _loading(source):
        loaded = datasets.load_dataset(source.repo, source.name, split=source.split, revision=source.revision)
    for name, feature in loaded.features.items():
        if isinstance(feature, datasets.Image):
            loaded = loaded.cast_column(name, datasets.Image(decode=False))
    missing = [column for column in source.columns.values() if column not in loaded.column_names]
    if missing:
        raise InputError(f"{source.repo}: no column {', '.join(missing)}; found are {', '.join(loaded.column_names)}.")
    for number, row in enumerate(loaded, start=1):
        yield f"row {number}", {ours: row[theirs] for ours, theirs in source.columns.items()}


def _checked(rows: Iterable[tuple[str, dict]], source, texts, numbers, lists, optional) -> list[dict]:
    """The wanted columns of each row. `rows` are pairs of a place to name in errors ("line 3") and a row."""
    checked, needed = [], (*texts, *numbers, *lists)
    for place, row in rows:
        where = f"{source}, {place}"
        if not isinstance(row, dict):
            raise InputError(f"{where}: a JSON object is needed, not {str(row)[:40]}.")
        missing = [column for column in needed if column not in row]
        if missing:
            found = ", ".join(map(str, row)) or "none"
            raise InputError(f"{where}: no column {', '.join(missing)}; found are {found}.")
        if place == "header":
            continue
        checked.append(
            {column: row[column] for column in optional if column in row}
            | {column: _text(row[column], f"{where}: {column}") for column in texts}
            | {column: _number(row[column], f"{where}: {column}") for column in numbers}
            | {column: _list(row[column], f"{where}: {column}") for column in lists}
        )
    if not checked:
        raise InputError(f"{source} has no rows.")
    return checked


def _text(value: Any, where: str) -> str:
    if not value or not str(value).strip():
        raise InputError(f"{where} is empty.")
    if not isinstance(value, str):
        raise InputError(f"{where} is {value!r}, not a text.")
    return value


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where} is {value!r}, not a number.") from error
    if not math.isfinite(number):
        raise InputError(f"{where} is {value}, not a finite number.")
    return number


def _list(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
        raise InputError(f"{where} has to be a list of texts that are not empty.")
    return value


def pictures_in(folder: Path, names: list[str], box: list[tuple | None] | None = None) -> list[dict]:
    """Files as `embed_pictures` takes them.

    Raises:
        MissingData: there is no such folder.
        InputError: files are missing in it.
    """
    if not folder.is_dir():
        raise MissingData(f"pictures are needed in {folder}")
    distinct = dict.fromkeys(names)
    missing = [name for name in distinct if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder}: {len(missing)} of {len(distinct)} pictures are missing, e.g. {', '.join(missing[:3])}."
        )
    boxes = box or [None] * len(names)
    return [{"path": str(folder / name), "bytes": None, "box": b} for name, b in zip(names, boxes)]
