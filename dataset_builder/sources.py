"""Every kind of file and data set that captions and triples come in, read one row at a time."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub.errors import HTTPError  # that of httpx or httpx2, whichever huggingface_hub uses

from .errors import InputError

csv.field_size_limit(2**24)
# what `datasets` raises; TypeError on a line of JSON that is no object, before 5.2
UNREADABLE = (datasets.exceptions.DatasetsError, HTTPError, OSError, TypeError, ValueError)
READERS = (".txt", ".jsonl", ".csv", ".parquet")
Source = tuple[int, str, object]  # idx, image_id, caption (a caption that is no usable string is rejected, not lost)


# ------------------------------------------------------------------------------------------------------- captions
def read_captions(
    path: str | Path, caption_column: str = "caption", image_id_column: str = "image_id"
) -> Iterator[Source]:
    """Yield (row number from 0, image_id, caption) for each row of a file.

    A line that cannot be parsed comes with None as its caption, to be counted as rejected. Without a column
    `image_id_column`, e.g. in a text file with one caption per line, the row number takes its place.

    Raises:
        InputError: no such file, it cannot be read, its type is unknown, or it has no column `caption_column`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"--captions {path}: no such file. Check the path.")
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise InputError(f"--captions {path}: unknown file type {suffix!r}. The known types are {', '.join(READERS)}.")
    if path.stat().st_size == 0:
        raise InputError(f"--captions {path}: the file is empty.")
    found = _columns(path, suffix)
    if suffix != ".txt" and caption_column not in found:
        raise InputError(
            f"--captions {path}: no column {caption_column!r}; found: {', '.join(map(repr, found)) or 'none'}. "
            + (separator_hint(found) or "Name the right one with --caption_column.")
        )
    rows: Iterator[object]
    if suffix == ".txt":
        rows = ({caption_column: line.rstrip("\r\n")} for line in _text(path))
    elif suffix == ".parquet":
        rows = parquet_rows(path, (caption_column, image_id_column))
    else:
        rows = jsonl_rows(path) if suffix == ".jsonl" else _csv(path)
    return _numbered(rows, caption_column, image_id_column)


def _columns(path: Path, suffix: str) -> list[str]:
    if suffix == ".parquet":
        return _open_parquet(path).schema_arrow.names
    if suffix == ".csv":
        return _header(line.replace("\0", "\ufffd") for line in _text(path))
    if suffix == ".jsonl":
        return next((list(row) for row in jsonl_rows(path) if isinstance(row, dict)), [])
    return []


def separator_hint(columns: list[str]) -> str | None:
    """What to do about a CSV whose columns are separated by something else than commas; None if they are not."""
    if len(columns) == 1:
        for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if separator in columns[0]:
                return f"The columns are separated by {name}: save the file with commas."
    return None


def count_rows(path: str | Path) -> int:
    """How many rows a file has, by its lines (a CSV whose captions hold line breaks has somewhat fewer)."""
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        return pq.read_metadata(path).num_rows
    with open(path, "rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    return lines - (path.suffix.lower() == ".csv")


def read_dataset(
    name: str, split: str = "train", caption_column: str = "caption", image_id_column: str = "image_id"
) -> Iterator[Source]:
    """Do as `read_captions` for a data set: a folder or a Hub id, streamed."""
    dataset = open_dataset(name, split, streaming=True)
    columns = dataset.column_names or list(next(_streamed(dataset, name), ()))
    if caption_column not in columns:
        raise InputError(
            f"--dataset_name {name}: no column {caption_column!r}; found: {', '.join(map(repr, columns))}. "
            "Name the right one with --caption_column."
        )
    wanted = [column for column in (caption_column, image_id_column) if column in columns]
    return _numbered(_streamed(dataset.select_columns(wanted), name), caption_column, image_id_column)


def _streamed(dataset: datasets.IterableDataset, name: str) -> Iterator[dict]:
    try:
        yield from dataset
    except UNREADABLE as error:
        raise InputError(
            f"--dataset_name {name}: cannot be read any further: {error.__cause__ or error}. "
            "Check the connection and give the same command again."
        ) from error


def open_dataset(name: str, split: str, streaming: bool = False) -> Any:
    """`datasets.load_dataset`, with what a user can cause told in one sentence."""
    try:
        return datasets.load_dataset(name, split=split, streaming=streaming)
    except UNREADABLE as error:
        raise InputError(
            f"{name}: split {split!r} of this data set cannot be opened: {error.__cause__ or error}. "
            "Check the name, the split and the connection; log in with `hf auth login` if it is private."
        ) from error


def _numbered(rows: Iterator[object], caption_column: str, image_id_column: str) -> Iterator[Source]:
    for idx, row in enumerate(rows):
        row = row if isinstance(row, dict) else {}
        image_id = row.get(image_id_column)
        yield idx, str(idx) if image_id in (None, "") else str(image_id), row.get(caption_column)


# ---------------------------------------------------------------------------------------- tolerant: bad rows are kept
def _text(path: str | Path) -> Iterator[str]:
    """The lines, with their ends; bytes that are not UTF-8 become U+FFFD."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            yield from file
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def jsonl_rows(path: str | Path) -> Iterator[object]:
    """Yield one value per line, or None for a line that cannot be parsed."""
    for line in _text(path):
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            yield None


def _csv(path: Path) -> Iterator[object]:
    # a NUL makes the csv module stop; as a control character it is rejected with its row
    reader = csv.DictReader(line.replace("\0", "\ufffd") for line in _text(path))
    try:
        yield from reader
    except csv.Error as error:  # a text of many megabytes: a quotation mark that is never closed
        raise InputError(
            f"{path}, line {reader.line_num + 1}: is not CSV: {error}. Check the quotation marks up to that line."
        ) from error


def parquet_rows(path: str | Path, columns: tuple[str, ...]) -> Iterator[dict]:
    """Yield the rows of a file, with those of `columns` that it has: pictures next to the texts are not read."""
    parquet = _open_parquet(path)
    found = [name for name in columns if name in parquet.schema_arrow.names]
    try:
        for batch in parquet.iter_batches(batch_size=10_000, columns=found):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:  # damaged further on
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def _open_parquet(path: str | Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


# --------------------------------------------------------------------------------------- strict: bad rows are refused
def file_rows(path: Path) -> Iterator[tuple[str, object]]:
    """Yield ("line 7", row) for each row of a JSONL, JSON or CSV file, by the line on which the row begins.

    Lines count from 1, as in an editor: the header of a CSV and blank lines count too. The rows of a JSON file that is
    one list are ("row 7", row).

    Raises:
        InputError: with the line of what cannot be parsed.
    """
    if path.suffix.lower() == ".csv":
        return _strict_csv(path)
    if path.suffix.lower() == ".json":
        with open(path, "rb") as file:
            if file.read(2**16).lstrip().startswith(b"["):
                return _json_list(path)
    return _strict_jsonl(path)


def csv_columns(path: Path) -> list[str]:
    """The columns that the header names. Raises InputError where that is not possible."""
    try:
        return _header(_strict_text(path))
    except csv.Error as error:
        raise InputError(f"{path}, line 1: is not CSV: {error}. Save the file as CSV again.") from error


def _header(lines: Iterable[str]) -> list[str]:
    """The first row that is not blank, as the readers of CSV do."""
    return next((cells for cells in csv.reader(lines) if cells), [])


def _strict_text(path: Path) -> Iterator[str]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{path}, line {number}: is not UTF-8. Save the file as UTF-8.") from error


def _strict_jsonl(path: Path) -> Iterator[tuple[str, object]]:
    for number, line in enumerate(_strict_text(path), start=1):
        if line.strip():
            try:
                yield f"line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{path}, line {number}: is not JSON: {_json_problem(error)}. "
                    "Each line must be one JSON object; fix or remove it."
                ) from error


def _json_list(path: Path) -> Iterator[tuple[str, object]]:
    try:
        rows = json.loads("".join(_strict_text(path)))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise InputError(f"{path}, line {line}: is not JSON: {_json_problem(error)}. Fix it.") from error
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


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
                repeated = next((name for name in cells if name and cells.count(name) > 1), None)
                if repeated is not None:
                    raise InputError(f"{path}, line 1: names the column {repeated!r} twice. Rename one of the two.")
            elif len(cells) > 1 or "".join(cells).strip():  # no blank line
                if len(cells) != len(columns):
                    raise InputError(
                        f"{path}, line {start}: has {len(cells)} columns, the header has {len(columns)}. "
                        "Put texts that contain commas in double quotation marks."
                    )
                yield f"line {start}", dict(zip(columns, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {start}: is not CSV: {error}. Check the quotation marks of the row that begins there."
        ) from error
