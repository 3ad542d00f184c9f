"""Evaluation data out of tab-separated files, with errors that name the file, the row and the remedy."""

from __future__ import annotations

import csv
from pathlib import Path


def read_tsv(path: Path, columns: tuple[str, ...], numbers: tuple[str, ...] = ()) -> list[dict]:
    """The rows of a file with a header; those of `columns` only, `numbers` as floats.

    Raises:
        ValueError: not UTF-8, a missing column, a row of another length, an empty text, no number, or no row at all.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}. Convert it.") from error
    header = rows[0] if rows else []
    missing = [column for column in columns if column not in header]
    if missing:
        hint = " It looks comma-separated; tabs are needed." if len(header) == 1 and "," in header[0] else ""
        raise ValueError(f"{path}: no column {', '.join(missing)}; found are {', '.join(header) or 'none'}.{hint}")
    if len(rows) == 1:
        raise ValueError(f"{path}: has no rows.")
    table = []
    for number, values in enumerate(rows[1:], start=2):
        if len(values) != len(header):
            raise ValueError(f"{path}, line {number}: {len(values)} fields, but the header has {len(header)}.")
        row = {name: value for name, value in zip(header, values) if name in columns}
        for name, value in row.items():
            if not value.strip():
                raise ValueError(f"{path}, line {number}: {name} is empty.")
            if name in numbers:
                try:
                    row[name] = float(value)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number}: {name} is {value!r}, not a number.") from error
        table.append(row)
    return table
