"""Evaluation data: local files, or the Hub at pinned revisions. Each row is checked; an error names file and line."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sized
from pathlib import Path
from typing import Any

from modeling_paraclip.errors import InputError, one_line

from .files import SHOWN, MissingData, Rows, file_rows, sha256_of
from .hub import HubSource, StoredPicture, hub_rows
from .statistics import About

SURROGATE = re.compile("[\ud800-\udfff]")


def rows_of(
    file: Path | None,
    source: HubSource | None,
    texts: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
    lists: tuple[str, ...] = (),
    pictures: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
    quoted: bool = False,
) -> list[dict]:
    """The rows of a local file (see `files.file_rows`) or, where `file` is None, of `source`.

    Args:
        texts, numbers, lists: columns that every row must have: text that is not empty, a finite number (returned as
            a float), a list of texts that is not empty.
        pictures: columns of `source` that have to be pictures; returned as `embed_pictures` takes them.
        optional: columns that are kept where a row has them: text, number or null, as names and ids are.
        quoted: see `files.file_rows`.

    Raises:
        MissingData: there is no such file, or no Hub data set is known, or the Hub cannot be reached.
        InputError: wrong encoding, a missing column, or a row with a wrong value.
    """
    if file is None:
        if source is None:
            raise MissingData("is not on the Hub in a form that can be loaded; give local files with --data")
        return _checked(hub_rows(source, pictures), source.repo, texts, numbers, lists, pictures, optional)
    return _checked(file_rows(file, quoted), file, texts, numbers, lists, pictures, optional)


def read_tsv(file: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = ()) -> list[dict]:
    """`rows_of` for a tab-separated file; `numbers` are among `columns`."""
    return rows_of(file, None, tuple(column for column in columns if column not in numbers), numbers)


def file_about(data_dir: Path, *files: Path, **facts: Any) -> About:
    """The origin of figures on local files; `facts` are further arguments of `About`. Pictures are not hashed."""
    names = ", ".join(file.relative_to(data_dir).as_posix() for file in files)
    return About(names, sha256_of(list(files)), **facts)


def share_of(rows: Sized, published: int | None) -> tuple[int, int] | None:
    """For `About`: (rows here, rows published) where these are a part of the data set."""
    return (len(rows), published) if published is not None and len(rows) != published else None


def _checked(rows: Rows, source, texts, numbers, lists, pictures, optional) -> list[dict]:
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
            {column: _name(row[column], f"{where}: {column}") for column in optional if column in row}
            | {column: checked_text(row[column], f"{where}: {column}") for column in texts}
            | {column: _number(row[column], f"{where}: {column}") for column in numbers}
            | {column: _list(row[column], f"{where}: {column}") for column in lists}
            | {column: _picture(row[column], f"{where}: {column}") for column in pictures}
        )
    if not checked:
        raise InputError(f"{source} has no rows.")
    return checked


def checked_text(value: Any, where: str) -> str:
    """`value` if it is a text that is not empty. InputError, beginning with `where`, if not."""
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


def _name(value: Any, where: str) -> Any:
    if isinstance(value, (list, dict)):  # these can be no keys
        raise InputError(f"{where} is {SHOWN.repr(value)}, not a text or a number.")
    return value


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
    return [checked_text(text, f"{where}, text {number}") for number, text in enumerate(value, start=1)]


def _picture(value: StoredPicture, where: str) -> StoredPicture:
    if not value.has_bytes and not value.path:
        raise InputError(f"{where} is no picture.")
    if not value.has_bytes and "://" in str(value.path):
        shown = SHOWN.repr(value.path)
        raise InputError(f"{where} is the address {shown}. Nothing is requested; give its bytes or a file.")
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
    missing = [name for name in distinct if not os.path.isfile(folder / name)]
    if missing:
        shown = ", ".join(name[:80] for name in missing[:3])
        raise InputError(f"{folder}: {len(missing)} of {len(distinct)} pictures are missing, e.g. {shown}.")
    boxes = box or [None] * len(names)
    return [{"path": str(folder / name), "bytes": None, "box": b} for name, b in zip(names, boxes)]
