"""The kinds of files that captions come in, read tolerantly: a row that cannot be read is counted, and not lost.

`open_table` finds the columns of a file. What is read of a row are the values of the columns that are wanted.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import parquet
from .errors import InputError
from .files import LONGEST_LINE, kind_of, lines, open_bytes, parsed_json
from .shards import samples

KINDS = (".txt", ".jsonl", ".csv", ".tsv", ".parquet", ".json", ".tar")  # all but Parquet may be compressed
FIRST = 100  # rows of JSON whose columns are looked at
csv.field_size_limit(LONGEST_LINE)


@dataclass(frozen=True)
class Table:
    """A file of captions.

    `rows(columns)` yields a tuple of the values of these columns for each row, or None for a row that cannot be
    parsed; a value that a row lacks is None. `count()` says how many rows there are, about, or None where that would
    take as long as reading them.
    """

    columns: list[str]
    rows: Callable[[Sequence[str]], Iterator[tuple | None]]
    count: Callable[[], int | None]


def open_table(path: str | Path) -> Table:
    """Find out what a file holds. `path` may be an address that fsspec opens.

    Raises:
        InputError: there is no such file, it cannot be read, or its type is unknown.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        return Table(parquet.columns(path), lambda columns: parquet.rows(path, columns), lambda: parquet.count(path))
    if kind == ".txt":
        return _text(path)
    if kind in (".csv", ".tsv"):
        return _csv(path)
    if kind in (".json", ".jsonl"):
        return _document(path) if kind == ".json" and not _is_json_lines(path) else _json_lines(path)
    if kind == ".tar":
        return _of_objects(lambda: samples(path), lambda: None)
    raise InputError(f"{path}: unknown file type {kind!r}. The known types are {', '.join(KINDS)}.")


def _of_objects(read: Callable[[], Iterable[object]], count: Callable[[], int | None]) -> Table:
    """A table of rows that are dictionaries; the columns are those of the first ones."""
    firsts = (row for row in itertools.islice(read(), FIRST) if isinstance(row, dict))
    columns = dict.fromkeys(name for row in firsts for name in row)

    def rows(wanted: Sequence[str]) -> Iterator[tuple | None]:
        return (tuple(map(row.get, wanted)) if isinstance(row, dict) else None for row in read())

    return Table(list(columns), rows, count)


# ------------------------------------------------------------------------------------------------------ text, JSON
def _text(path: str | Path) -> Table:
    first = next(lines(path), "") or ""
    if "\t" in first or first.lower().startswith(("image,caption", "image|")):
        raise InputError(f"{path}: a .txt file has one caption per line; this is a table. Rename it to .tsv or .csv.")
    return Table(["caption"], lambda _: ((line and line.rstrip("\r\n"),) for line in lines(path)), _line_count(path))


def _json_lines(path: str | Path) -> Table:
    return _of_objects(lambda: map(parsed_json, lines(path)), _line_count(path))


def _line_count(path: str | Path, without: int = 0) -> Callable[[], int]:
    """Counts lines, the last one also without an end (a CSV whose captions hold line breaks has fewer rows)."""

    def count() -> int:
        found, last = 0, b"\n"
        with open_bytes(path) as file:
            for block in iter(lambda: file.read(2**20), b""):
                found, last = found + block.count(b"\n"), block
        return max(0, found + (not last.endswith(b"\n")) - without)

    return count


def _is_json_lines(path: str | Path) -> bool:
    """Whether a .json file has one object per line."""
    start = (line for line in lines(path) if line is None or line.strip())
    return isinstance(parsed_json(next(start, None)), dict) and next(start, None) is not None


def _document(path: str | Path) -> Table:
    """A list of objects, COCO's `captions_*.json`, or Karpathy's `dataset_*.json`."""
    with open_bytes(path) as file:
        try:
            rows = list(_rows_of(json.loads(file.read())))
        except (ValueError, TypeError, RecursionError) as error:  # TypeError: lists where names should be, or the like
            raise InputError(f"{path}: is no such JSON: {error}. Check it, or download it again.") from error
    if not rows:
        raise InputError(
            f"{path}: holds no captions that are known here. It may be a list of objects, captions of COCO "
            "(annotations and images) or Karpathy's splits (images with sentences)."
        )
    return _of_objects(lambda: rows, lambda: len(rows))


def _rows_of(document: object) -> Iterator[object]:
    if isinstance(document, list):
        yield from document
    elif isinstance(document, dict):
        pictures = [picture for picture in document.get("images") or () if isinstance(picture, dict)]
        named = {picture.get("id"): picture for picture in pictures}
        for annotation in document.get("annotations") or ():
            if isinstance(annotation, dict) and "caption" in annotation:
                picture = named.get(annotation.get("image_id"), {})
                yield {**picture, **annotation, "image_id": picture.get("file_name", annotation.get("image_id"))}
        for picture in pictures:
            for sentence in picture.get("sentences") or ():
                raw = sentence.get("raw") if isinstance(sentence, dict) else sentence
                yield {**picture, "image_id": picture.get("filename"), "caption": raw}


# ------------------------------------------------------------------------------------------------------------- CSV
def _csv(path: str | Path) -> Table:
    cells = _csv_cells if kind_of(path) == ".csv" else _tsv_cells
    first = next(filter(None, cells(path)), [])
    is_address = [cell.startswith(("http://", "https://")) for cell in first]
    has_header = not (len(first) == 2 and sum(is_address) == 1)  # CC3M and CC12M have none
    columns = first if has_header else ["url" if yes else "caption" for yes in is_address]
    positions = {name: position for position, name in enumerate(columns)}

    def rows(wanted: Sequence[str]) -> Iterator[tuple]:
        chosen = [positions[name] for name in wanted]
        for row in itertools.islice(filter(None, cells(path)), int(has_header), None):
            yield tuple(row[position] if position < len(row) else None for position in chosen)

    return Table(columns, rows, _line_count(path, int(has_header)))


def separator_hint(columns: list[str]) -> str | None:
    """What to do about a CSV whose columns are separated by something else than commas; None if they are not."""
    if len(columns) == 1:
        for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if separator in columns[0]:
                return f"The columns are separated by {name}: save the file with commas."
    return None


def _tsv_cells(path: str | Path) -> Iterator[list[str]]:
    """A row per line. Quotation marks are letters, as in CC3M, unless they are around a whole cell, as of pandas."""
    quoted = re.compile(r'"(?:[^"]|"")*"')
    for line in _whole_lines(path):
        yield [
            cell[1:-1].replace('""', '"') if quoted.fullmatch(cell) else cell
            for cell in (line.rstrip("\r\n").split("\t") if line.strip() else ())
        ]


def _csv_cells(path: str | Path) -> Iterator[list[str]]:
    # a NUL makes the csv module stop; as a control character it is rejected with its row
    reader = csv.reader(line.replace("\0", "\ufffd") for line in _whole_lines(path))
    try:
        yield from reader
    except csv.Error as error:  # a text of many megabytes: a quotation mark that is never closed
        raise InputError(
            f"{path}, line {reader.line_num + 1}: is not CSV: {error}. Check the quotation marks up to that line."
        ) from error


def _whole_lines(path: str | Path) -> Iterator[str]:
    for number, line in enumerate(lines(path), start=1):
        if line is None:
            raise InputError(
                f"{path}, line {number}: has more than {LONGEST_LINE:,} characters. Check its line breaks."
            )
        yield line
