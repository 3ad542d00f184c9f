"""Evaluation data: local files, or the Hub at pinned revisions. Each row is checked; an error names file and line."""

from __future__ import annotations

import json
import math
import os
import re
import reprlib
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import datasets
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HTTPError  # that of httpx or httpx2, whichever huggingface_hub uses
from yaml import YAMLError

from modeling_paraclip.errors import InputError, one_line, said

MAX_LINE = 2**20  # bytes of a line of a .tsv or .jsonl file
MAX_FILE = 2**26  # bytes of a file that is read as a whole: JSON, a card
ROWS = 1000  # of a Hub data set, read at a time
SURROGATE = re.compile("[\ud800-\udfff]")
SHOWN = reprlib.Repr()  # a wrong value in an error: its beginning and end
SHOWN.maxstring = SHOWN.maxother = 60


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
    pictures: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> list[dict]:
    """The rows of a local file (`.tsv`, `.jsonl` or a `.json` list) or, where `file` is None, of `source`.

    Args:
        texts, numbers, lists: columns that every row must have: text that is not empty, a finite number (returned as
            a float), a list of texts that is not empty.
        pictures: columns of `source` that have to be pictures; returned as `embed_pictures` takes them.
        optional: columns that are kept unchecked where a row has them.

    Raises:
        MissingData: there is no such file, or no Hub data set is known, or the Hub cannot be reached.
        InputError: wrong encoding, a missing column, or a row with a wrong value.
    """
    if file is None:
        if source is None:
            raise MissingData("is not on the Hub in a form that can be loaded; give local files with --data")
        return _checked(_hub_rows(source), source.repo, texts, numbers, lists, pictures, optional)
    read = {".tsv": _tsv_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}[file.suffix]
    return _checked(read(file), file, texts, numbers, lists, pictures, optional)


def read_tsv(file: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = ()) -> list[dict]:
    """`rows_of` for a tab-separated file; `numbers` are among `columns`."""
    return rows_of(file, None, tuple(column for column in columns if column not in numbers), numbers)


def read_json(file: Path) -> Any:
    """What a JSON file holds. InputError, naming the line, where it is not JSON."""
    return parsed(read_text(file), str(file), first_line=1)


def parsed(text: str, where: str, first_line: int | None = None) -> Any:
    """What JSON text holds. InputError, beginning with `where`, if it is not JSON. Lines are named if they count."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {first_line + error.lineno - 1}" if first_line else ""
        raise InputError(f"{where}{line}: is not JSON: {error.msg}.") from error
    except RecursionError as error:
        raise InputError(f"{where}: is JSON, but nested too deeply.") from error
    except ValueError as error:  # a number of thousands of digits
        raise InputError(f"{where}: is JSON, but cannot be read: {error}.") from error


def read_text(file: Path) -> str:
    """A whole UTF-8 file without byte order mark, with its own line ends.

    Raises:
        MissingData: there is no such file.
        InputError: it cannot be read, is no plain file, is empty, not UTF-8, or larger than `MAX_FILE`.
    """
    with _opened(file) as stream:
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise InputError(f"{file} is larger than {MAX_FILE:,} bytes. Split it.")
    text = _decoded(data, file, 1)
    if not text.strip():
        raise InputError(f"{file} is empty.")
    return text


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    """A plain file, open for reading. What goes wrong is an InputError, also while it is read."""
    try:
        mode = os.stat(file).st_mode
        if not stat.S_ISREG(mode):  # a pipe would wait for ever, a device may never end
            raise InputError(f"{file} is {'a folder' if stat.S_ISDIR(mode) else 'no plain file'}; a file is needed.")
        with open(file, "rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise MissingData(f"{file} is not there") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error


def _decoded(data: bytes, file: Path, first_line: int) -> str:
    """UTF-8 as text. `first_line` is the number of the first line of `data`."""
    try:
        text = data.decode("utf-8-sig" if first_line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        line = first_line + data[: error.start].count(b"\n")
        raise InputError(f"{file} is not UTF-8: line {line} has other bytes. Convert it.") from error
    if "\0" in text:  # UTF-16 without a mark, or no text at all
        line = first_line + text[: text.index("\0")].count("\n")
        raise InputError(f"{file}, line {line}: has a NUL character. Convert the file to UTF-8 text.")
    return text


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers, one at a time. InputError where all are blank."""
    number, is_empty = 0, True
    with _opened(file) as stream:
        while data := stream.readline(MAX_LINE + 1):
            number += 1
            if len(data) > MAX_LINE:
                raise InputError(f"{file}, line {number}: is longer than {MAX_LINE:,} bytes. Shorten or split it.")
            line = _decoded(data, file, number).rstrip("\r\n")
            if line.strip(" "):
                is_empty = False
                yield number, line
    if is_empty:
        raise InputError(f"{file} is empty.")


def _tsv_rows(file: Path) -> Iterable[tuple[str, dict]]:
    header: list[str] = []
    for expected, (number, line) in enumerate(_lines(file), start=1):
        values = line.split("\t")
        if number > expected:
            raise InputError(f"{file}, line {expected}: 0 fields, but the header has {len(header)}.")
        if not header:
            header = values
            _check_header(file, header)
            yield "header", dict.fromkeys(header)
        elif len(values) != len(header):
            raise InputError(f"{file}, line {number}: {len(values)} fields, but the header has {len(header)}.")
        else:
            yield f"line {number}", dict(zip(header, values))


def _check_header(file: Path, header: list[str]) -> None:
    for name, separator in (("comma", ","), ("semicolon", ";")):
        if len(header) == 1 and separator in header[0]:
            raise InputError(
                f"{file}, line 1: the header is {SHOWN.repr(header[0])}. It looks {name}-separated; tabs are needed."
            )
    if len(set(header)) < len(header):
        repeated = next(name for name in header if header.count(name) > 1)
        raise InputError(f"{file}, line 1: the column {repeated[:60]} is there twice.")


def _jsonl_rows(file: Path) -> Iterable[tuple[str, dict]]:
    for number, line in _lines(file):
        if line.strip():
            yield f"line {number}", parsed(line, f"{file}, line {number}")


def _json_rows(file: Path) -> Iterable[tuple[str, dict]]:
    rows = read_json(file)
    if not isinstance(rows, list):
        raise InputError(f"{file}: a list of rows is needed, not {type(rows).__name__}.")
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def hub_labels(source: HubSource, column: str) -> list[str]:
    """The names of the classes of a label column of a Hub data set. `column` is the name used here."""
    with _loading(source):
        builder = datasets.load_dataset_builder(source.repo, source.name, revision=source.revision)
    feature = dict(builder.info.features or ()).get(source.columns[column])
    if not isinstance(feature, datasets.ClassLabel):
        raise InputError(f"{source.repo}: the column {source.columns[column]} does not name its classes.")
    return feature.names


@contextmanager
def _loading(source: HubSource) -> Iterator[None]:
    try:
        yield
    # not found, gated, offline, no space left (OSError); no such configuration or split (ValueError); a data set that
    # is still a script (RuntimeError); a card whose metadata are broken (YAMLError)
    except (DatasetsError, HTTPError, OSError, ValueError, RuntimeError, YAMLError) as error:
        reason = said(error)  # the client's messages have many lines
        raise MissingData(f"{source.repo} cannot be loaded from the Hub: {reason}") from error


def _hub_rows(source: HubSource) -> Iterable[tuple[str, dict]]:
    with _loading(source):
        loaded = datasets.load_dataset(source.repo, source.name, split=source.split, revision=source.revision)
    missing = [column for column in source.columns.values() if column not in loaded.column_names]
    if missing:
        raise InputError(f"{source.repo}: no column {', '.join(missing)}; found are {', '.join(loaded.column_names)}.")
    # as Arrow has them: `datasets` would decode pictures, also nested ones, and request those that are addresses
    plain, number = loaded.select_columns(list(source.columns.values())).with_format("arrow"), 0
    for batch in plain.iter(ROWS):
        for row in batch.to_pylist():
            number += 1
            yield f"row {number}", {ours: row[theirs] for ours, theirs in source.columns.items()}


def _checked(rows: Iterable[tuple[str, dict]], source, texts, numbers, lists, pictures, optional) -> list[dict]:
    """The wanted columns of each row. `rows` are pairs of a place to name in errors ("line 3") and a row."""
    checked, needed = [], (*texts, *numbers, *lists, *pictures)
    for place, row in rows:
        where = f"{source}, {place}"
        if not isinstance(row, dict):
            raise InputError(f"{where}: a JSON object is needed, not {SHOWN.repr(row)}.")
        missing = [column for column in needed if column not in row]
        if missing:
            found = one_line(", ".join(row))[:200] or "none"
            raise InputError(f"{where}: no column {', '.join(missing)}; found are {found}.")
        if place == "header":
            continue
        checked.append(
            {column: row[column] for column in optional if column in row}
            | {column: _text(row[column], f"{where}: {column}") for column in texts}
            | {column: _number(row[column], f"{where}: {column}") for column in numbers}
            | {column: _list(row[column], f"{where}: {column}") for column in lists}
            | {column: _picture(row[column], f"{where}: {column}") for column in pictures}
        )
    if not checked:
        raise InputError(f"{source} has no rows.")
    return checked


def _text(value: Any, where: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise InputError(f"{where} is empty.")
    if not isinstance(value, str):
        raise InputError(f"{where} is {SHOWN.repr(value)}, not a text.")
    if not is_unicode(value):
        raise InputError(f"{where} is {SHOWN.repr(value)}: half of a surrogate pair is no text.")
    return value


def is_unicode(text: str) -> bool:
    r"""False where a text has a lone surrogate, e.g. from `"\ud800"` in JSON: no tokenizer takes it."""
    return not SURROGATE.search(text)


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
        if isinstance(value, bool):
            raise TypeError
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where} is {SHOWN.repr(value)}, not a number.") from error
    if not math.isfinite(number):
        raise InputError(f"{where} is {value}, not a finite number.")
    return number


def _list(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{where} has to be a list of texts that is not empty.")
    return [_text(text, f"{where}, text {number}") for number, text in enumerate(value, start=1)]


def _picture(value: Any, where: str) -> dict:
    """`{"path", "bytes"}`, of a picture or of the first of a list of them."""
    if isinstance(value, list) and value:
        value = value[0]
    path, data = (value.get("path"), value.get("bytes")) if isinstance(value, dict) else (None, None)
    if data is None and (not path or not isinstance(path, str)):
        raise InputError(f"{where} is no picture.")
    if data is None and "://" in str(path):
        raise InputError(f"{where} is the address {SHOWN.repr(path)}. Nothing is requested; give its bytes or a file.")
    return {"path": path, "bytes": data}


def pictures_in(folder: Path, names: list[str], box: list[tuple | None] | None = None) -> list[dict]:
    """Files as `embed_pictures` takes them.

    Raises:
        MissingData: there is no such folder.
        InputError: files are missing in it.
    """
    if not folder.is_dir():
        raise MissingData(f"pictures are needed in {folder}")
    distinct = dict.fromkeys(names)
    missing = [name for name in distinct if not os.path.isfile(folder / name)]
    if missing:
        shown = ", ".join(name[:80] for name in missing[:3])
        raise InputError(f"{folder}: {len(missing)} of {len(distinct)} pictures are missing, e.g. {shown}.")
    boxes = box or [None] * len(names)
    return [{"path": str(folder / name), "bytes": None, "box": b} for name, b in zip(names, boxes)]
