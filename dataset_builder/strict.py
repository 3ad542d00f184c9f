"""Files of triples, read strictly: what cannot be parsed is refused with its line, as training must not guess."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError
from .files import LONGEST_LINE, kind_of, open_bytes

DEEPEST = 60  # JSON in JSON: pyarrow refuses some more, and crashes at some thousands


def file_rows(path: Path) -> Iterator[tuple[str, object]]:
    """Yield ("line 7", row) for each row of a JSONL, JSON or CSV file, by the line on which the row begins.

    Lines count from 1, as in an editor: the header of a CSV and blank lines count too. The rows of a JSON file that is
    one list are ("row 7", row).

    Raises:
        InputError: with the line of what cannot be parsed.
    """
    if kind_of(path) == ".csv":
        return _strict_csv(path)
    return _json_list(path) if _is_json_list(path) else _strict_jsonl(path)


def check_json_lines(path: str | Path, name: str | Path | None = None) -> None:
    """Raises InputError for lines of JSON that would fill the memory or crash pyarrow, and for what is not UTF-8.

    Args:
        path: the file.
        name: what it was called, where `path` is a copy in a cache.
    """
    name = name or path
    for number, line in enumerate(_strict_text(path, name, whole=_is_json_list(path, name)), start=1):
        if line.count("[") + line.count("{") > DEEPEST and _is_deep(line):
            raise InputError(f"{name}, line {number}: is nested more than {DEEPEST} deep. Fix or remove it.")


def _is_deep(text: str) -> bool:
    depth, in_string = 0, False
    for match in re.finditer(r'\\.|["\[\]{}]', text):
        if match[0] == '"':
            in_string = not in_string
        elif not in_string and len(match[0]) == 1:
            depth += 1 if match[0] in "[{" else -1
            if depth > DEEPEST:
                return True
    return False


def _is_json_list(path: str | Path, name: str | Path | None = None) -> bool:
    """Whether a .json file is one list, which may be one line."""
    with open_bytes(path, name) as file:
        start = file.read(2**16).removeprefix(codecs.BOM_UTF8).lstrip()
    return kind_of(name or path) == ".json" and start.startswith(b"[")


def csv_columns(path: Path) -> list[str]:
    """The columns that the header names: the first row that is not blank. Raises InputError without one."""
    try:
        return next((cells for cells in csv.reader(_strict_text(path)) if cells), [])
    except csv.Error as error:
        raise InputError(f"{path}, line 1: is not CSV: {error}. Save the file as CSV again.") from error


def _strict_text(path: str | Path, name: str | Path | None = None, whole: bool = False) -> Iterator[str]:
    """The lines, with their ends. Raises InputError for one over LONGEST_LINE, unless the `whole` file is wanted."""
    name = name or path
    with open_bytes(path, name) as file:
        for number, line in enumerate(iter(lambda: file.readline(-1 if whole else LONGEST_LINE), b""), start=1):
            if not whole and len(line) == LONGEST_LINE:
                raise InputError(f"{name}, line {number}: has {LONGEST_LINE:,} bytes or more. Check its line breaks.")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{name}, line {number}: is not UTF-8. Save the file as UTF-8.") from error


def _strict_jsonl(path: Path) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(_strict_text(path), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line, object_pairs_hook=_unique)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}, line {number}: is not JSON: {_json_problem(error)}. "
                    "Each line must be one JSON object; fix or remove it."
                ) from error


def _json_list(path: Path) -> Iterator[tuple[str, object]]:
    try:
        rows = json.loads("".join(_strict_text(path, whole=True)), object_pairs_hook=_unique)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise InputError(f"{path}, line {line}: is not JSON: {_json_problem(error)}. Fix it.") from error
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON. Raises ValueError if it has a key twice, as pyarrow does."""
    found = dict(pairs)
    if len(found) < len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"an object has {name!r} twice")
    return found


def _json_problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return str(error)  # e.g. a number of too many digits


def _strict_csv(path: Path) -> Iterator[tuple[str, object]]:
    reader = csv.reader(_strict_text(path), strict=True)
    columns: list[str] = []
    start = 1
    try:
        for cells in reader:
            if not columns:
                columns = cells
                repeated = next((name for name, count in Counter(cells).items() if name and count > 1), None)
                if repeated is not None:
                    raise InputError(f"{path}, line 1: names the column {repeated!r} twice. Rename one of the two.")
            elif len(cells) > 1 or "".join(cells).strip():  # no blank line
                if len(cells) != len(columns):
                    raise InputError(
                        f"{path}, line {start}: has {len(cells)} columns, the header has {len(columns)}. "
                        "Put texts that contain commas in double quotation marks."
                    )
                if cells == columns:
                    raise InputError(f"{path}, line {start}: is the header once more. Remove that line.")
                yield f"line {start}", dict(zip(columns, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {start}: is not CSV: {error}. Check the quotation marks of the row that begins there."
        ) from error
