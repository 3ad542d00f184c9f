"""Evaluation data: local files, or the Hub at pinned revisions; checked row by row, errors name file and row."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import datasets


class MissingData(ValueError):
    """A task's data is not there: `--tasks all` lists the task as not run."""


@dataclass(frozen=True)
class HubSource:
    """A data set of the Hub at one revision; `columns` maps the names used here to those there."""

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
        texts, numbers, lists: columns that every row must have: text that is not empty, a finite number (a float in
            what is returned), a list of texts that is not empty.
        optional: columns that are kept where they are, as they are.

    Raises:
        MissingData: no such file, or nothing is known of it on the Hub, or the Hub cannot be reached.
        ValueError: wrong encoding, a missing column, a row that does not hold what it must.
    """
    if file is None:
        if source is None:
            raise MissingData("is not on the Hub in a form that can be loaded; give local files with --data")
        return _checked(_hub_rows(source), source.repo, texts, numbers, lists, optional)
    if not file.is_file():
        raise MissingData(f"{file} is not there")
    read = {".tsv": _tsv_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}[file.suffix]
    try:
        return _checked(read(file), file, texts, numbers, lists, optional)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8: {error}. Convert it.") from error


def read_tsv(file: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = ()) -> list[dict]:
    """`rows_of` of a tab-separated file; `numbers` are among `columns`."""
    return rows_of(file, None, tuple(column for column in columns if column not in numbers), numbers)


def _tsv_rows(file: Path) -> Iterable[tuple[str, dict]]:
    with open(file, encoding="utf-8-sig", newline="") as opened:
        lines = csv.reader(opened, delimiter="\t", quoting=csv.QUOTE_NONE)
        header = next(lines, [])
        if len(header) == 1 and ("," in header[0] or ";" in header[0]):
            raise ValueError(f"{file}: the header is {header[0]!r}. It looks comma-separated; tabs are needed.")
        repeated = {name for name in header if header.count(name) > 1}
        if repeated:
            raise ValueError(f"{file}: the column {repeated.pop()} is there twice.")
        yield "header", dict.fromkeys(header)
        for number, values in enumerate(lines, start=2):
            if len(values) != len(header):
                raise ValueError(f"{file}, line {number}: {len(values)} fields, but the header has {len(header)}.")
            yield f"line {number}", dict(zip(header, values))


def _jsonl_rows(file: Path) -> Iterable[tuple[str, dict]]:
    with open(file, encoding="utf-8") as opened:
        for number, line in enumerate(opened, start=1):
            try:
                yield f"line {number}", json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{file}, line {number}: is not JSON: {error}") from error


def _json_rows(file: Path) -> Iterable[tuple[str, dict]]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}: is not JSON: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{file}: a list of rows is needed, found is {type(rows).__name__}.")
    return [(f"row {i}", row) for i, row in enumerate(rows)]


def _hub_rows(source: HubSource) -> Iterable[tuple[str, dict]]:
    try:
        loaded = datasets.load_dataset(source.repo, source.name, split=source.split, revision=source.revision)
    except Exception as error:  # many kinds: not found, gated, offline, disk
        raise MissingData(f"{source.repo} cannot be loaded from the Hub: {error}") from error
    for name, feature in loaded.features.items():
        if isinstance(feature, datasets.Image):
            loaded = loaded.cast_column(name, datasets.Image(decode=False))
    missing = [column for column in source.columns.values() if column not in loaded.column_names]
    if missing:
        raise ValueError(f"{source.repo}: no column {', '.join(missing)}; found are {', '.join(loaded.column_names)}.")
    for i, row in enumerate(loaded):
        yield f"row {i}", {ours: row[theirs] for ours, theirs in source.columns.items()}


def _checked(rows: Iterable[tuple[str, dict]], source, texts, numbers, lists, optional) -> list[dict]:
    checked, needed = [], (*texts, *numbers, *lists)
    found_any = False
    for where, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"{source}, {where}: a JSON object is needed, found is {str(row)[:40]}")
        missing = [column for column in needed if column not in row]
        if missing:
            found = ", ".join(map(str, row)) or "none"
            raise ValueError(f"{source}, {where}: no column {', '.join(missing)}; found are {found}.")
        if where == "header":
            found_any = True
            continue
        kept = {column: row[column] for column in optional if column in row}
        for column in texts:
            if not isinstance(row[column], str) or not row[column].strip():
                raise ValueError(
                    f"{source}, {where}: {column} is empty."
                    if not row[column] or not str(row[column]).strip()
                    else f"{source}, {where}: {column} is {row[column]!r}, not a text."
                )
            kept[column] = row[column]
        for column in numbers:
            try:
                kept[column] = float(row[column])
            except (TypeError, ValueError) as error:
                raise ValueError(f"{source}, {where}: {column} is {row[column]!r}, not a number.") from error
            if not math.isfinite(kept[column]):
                raise ValueError(f"{source}, {where}: {column} is {row[column]}, not a finite number.")
        for column in lists:
            value = row[column]
            if not isinstance(value, list) or not value or not all(isinstance(v, str) and v.strip() for v in value):
                raise ValueError(f"{source}, {where}: {column} has to be a list of texts that are not empty.")
            kept[column] = value
        checked.append(kept)
    if not checked:
        hint = "" if found_any or not needed else f": no column {', '.join(needed)}; found are none"
        raise ValueError(f"{source}{hint or ': has no rows'}.")
    return checked


def pictures_in(folder: Path, names: list[str], box: list[tuple | None] | None = None) -> list[dict]:
    """Files as `embed_pictures` takes them. MissingData: no such folder; ValueError: files are missing in it."""
    if not folder.is_dir():
        raise MissingData(f"pictures are needed in {folder}")
    distinct = dict.fromkeys(names)
    missing = [name for name in distinct if not (folder / name).is_file()]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(distinct)} pictures are missing, as {', '.join(missing[:3])}."
        )
    boxes = box or [None] * len(names)
    return [{"path": str(folder / name), "bytes": None, "box": b} for name, b in zip(names, boxes)]
