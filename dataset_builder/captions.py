"""Captions in, a row at a time: text, JSONL, CSV and Parquet files, and data sets of the Hub, of any size."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from .paraphrase import Source

csv.field_size_limit(2**24)
READERS = (".txt", ".jsonl", ".csv", ".parquet")


def read_captions(
    path: str | Path, caption_column: str = "caption", image_id_column: str = "image_id"
) -> Iterator[Source]:
    """(row number from 0, image_id, caption) of a file.

    A line that cannot be parsed comes with None for its caption, to be counted as rejected. Where there is no column
    `image_id_column`, as in a text file with one caption a line, the row number stands for it.

    Raises:
        ValueError: no such file, an unknown type, or no column `caption_column`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"--captions {path}: no such file.")
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise ValueError(f"--captions {path}: unknown file type {suffix!r}; known are {', '.join(READERS)}.")
    if suffix == ".parquet":
        found = pq.read_schema(path).names
    elif suffix == ".csv":
        with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
            found = next(csv.reader(file), [])
    elif suffix == ".jsonl":
        found = next((list(row) for row in jsonl_rows(path) if isinstance(row, dict)), [])
    else:
        found = [caption_column]
    if caption_column not in found:
        raise ValueError(
            f"--captions {path}: no column {caption_column!r}; found are {', '.join(map(repr, found)) or 'none'}. "
            "Name the right one with --caption_column."
        )
    if suffix == ".txt":
        rows = ({caption_column: line} for line in _text(path))
    elif suffix == ".parquet":
        rows = parquet_rows(path, (caption_column, image_id_column))
    else:
        rows = jsonl_rows(path) if suffix == ".jsonl" else _csv(path)
    return _numbered(rows, caption_column, image_id_column)


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
    """The same of a data set's folder or Hub id, streamed."""
    dataset = datasets.load_dataset(name, split=split, streaming=True)
    columns = dataset.column_names or list(next(iter(dataset)))
    if caption_column not in columns:
        raise ValueError(
            f"--dataset_name {name}: no column {caption_column!r}; found are {', '.join(map(repr, columns))}. "
            "Name the right one with --caption_column."
        )
    wanted = [column for column in (caption_column, image_id_column) if column in columns]
    return _numbered(iter(dataset.select_columns(wanted)), caption_column, image_id_column)


def _numbered(rows: Iterator[object], caption_column: str, image_id_column: str) -> Iterator[Source]:
    for idx, row in enumerate(rows):
        row = row if isinstance(row, dict) else {}
        image_id = row.get(image_id_column)
        yield idx, str(idx) if image_id in (None, "") else str(image_id), row.get(caption_column)


def _text(path: str | Path) -> Iterator[str]:
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            yield line.rstrip("\r\n")


def jsonl_rows(path: str | Path) -> Iterator[object]:
    """A value a line; None where a line cannot be parsed."""
    for line in _text(path):
        try:
            yield json.loads(line)
        except ValueError:
            yield None


def _csv(path: Path) -> Iterator[object]:
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        # a NUL makes the csv module stop; as a control character it is rejected with its row
        yield from csv.DictReader(line.replace("\0", "\ufffd") for line in file)


def parquet_rows(path: str | Path, columns: tuple[str, ...]) -> Iterator[dict]:
    """The rows of a file, with those of `columns` that it has: pictures beside the texts are not read."""
    try:
        parquet = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error
    columns = [name for name in columns if name in parquet.schema_arrow.names]
    for batch in parquet.iter_batches(batch_size=10_000, columns=columns):
        yield from batch.to_pylist()
