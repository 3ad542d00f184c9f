"""Every kind of file and data set that captions and triples come in, read one row at a time."""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from huggingface_hub import get_session

from .errors import InputError, one_sentence

LONGEST_LINE = 2**24  # bytes or characters; a line that is longer is not held in memory
LONGEST_KEPT = 2**16  # characters of a caption, many more than the filters allow
ROWS, BATCH = 1000, 2**16  # of Parquet: as Python's values, and as read
DEEPEST = 60  # JSON in JSON: pyarrow refuses some more, and crashes at some thousands
csv.field_size_limit(LONGEST_LINE)
HUB_TIMEOUT = 30.0  # seconds to connect, and between two bytes
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
    path = checked_file(path, "--captions ")
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise InputError(f"--captions {path}: unknown file type {suffix!r}. The known types are {', '.join(READERS)}.")
    found = _columns(path, suffix)
    if suffix != ".txt" and caption_column not in found:
        raise InputError(
            f"--captions {path}: no column {caption_column!r}; found: {', '.join(map(repr, found)) or 'none'}. "
            + (separator_hint(found) or "Name the right one with --caption_column.")
        )
    if suffix == ".txt":
        return _numbered((None, line and line.rstrip("\r\n")) for line in _text(path))
    if suffix == ".parquet":
        return _numbered(_parquet_captions(path, caption_column, image_id_column))
    rows = jsonl_rows(path) if suffix == ".jsonl" else _csv(path)
    return _numbered(_pairs(rows, caption_column, image_id_column))


def checked_file(path: str | Path, option: str = "") -> Path:
    """A file that can be read again and again, and holds something. Raises InputError."""
    path = Path(path)
    try:
        if not path.exists():
            raise InputError(f"{option}{path}: no such file. Check the path.")
        if not path.is_file():
            raise InputError(f"{option}{path}: is a folder, a device or a pipe. Give a file.")
        with open(path, "rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(
            f"{option}{path}: cannot be opened: {error.strerror}. Check the path and its rights."
        ) from error
    if not start:
        raise InputError(f"{option}{path}: the file is empty.")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)):
        raise InputError(f"{option}{path}, line 1: is not UTF-8 but UTF-16 or UTF-32. Save the file as UTF-8.")
    return path


def _columns(path: Path, suffix: str) -> list[str]:
    if suffix == ".parquet":
        with _parquet(path) as file:
            return file.schema_arrow.names
    if suffix == ".csv":
        return next((row for row in _csv_cells(path) if row), [])
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
        with _parquet(path) as parquet:
            return parquet.metadata.num_rows
    with open(path, "rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    return lines - (path.suffix.lower() == ".csv")


def read_dataset(
    name: str, split: str = "train", caption_column: str = "caption", image_id_column: str = "image_id"
) -> Iterator[Source]:
    """Do as `read_captions` for a data set: a folder or a Hub id, streamed."""
    dataset = open_dataset(name, split, (caption_column, image_id_column), streaming=True)
    columns = dataset.column_names or list(next(_streamed(dataset, name), ()))
    if caption_column not in columns:
        raise InputError(
            f"--dataset_name {name}: no column {caption_column!r}; found: {', '.join(map(repr, columns))}. "
            "Name the right one with --caption_column."
        )
    wanted = [column for column in (caption_column, image_id_column) if column in columns]
    return _numbered(_pairs(_streamed(dataset.select_columns(wanted), name), caption_column, image_id_column))


def _streamed(dataset: datasets.IterableDataset, name: str) -> Iterator[dict]:
    problem = f"--dataset_name {name}: cannot be read any further"
    with one_sentence(problem, "Check the connection and give the same command again."):
        yield from dataset


def open_dataset(name: str, split: str, texts: Iterable[str] = (), streaming: bool = False) -> Any:
    """`datasets.load_dataset`, with what a user can cause told in one sentence.

    In a CSV, the columns `texts` are read as they stand: ids keep their leading zeros, and "NA" is a text.
    """
    options: dict[str, Any] = {}
    with one_sentence(
        f"{name}: split {split!r} of this data set cannot be opened",
        "Check the name, the split and the connection; log in with `hf auth login` if it is private.",
    ):
        get_session().timeout = HUB_TIMEOUT  # the client would wait for ever
        if os.path.isdir(name):
            for path in sorted(Path(name).rglob("*.json*")):
                if path.suffix in (".json", ".jsonl") and path.is_file():
                    check_json_lines(path)
        if hasattr(datasets.load_dataset_builder(name).config, "converters"):
            options = {"converters": dict.fromkeys(texts, str), "keep_default_na": False}
        return datasets.load_dataset(name, split=split, streaming=streaming, **options)


def _pairs(rows: Iterable[object], caption_column: str, image_id_column: str) -> Iterator[tuple[object, object]]:
    """The image_id and the caption of each row; a row that is no object has none."""
    for row in rows:
        yield (row.get(image_id_column), row.get(caption_column)) if isinstance(row, dict) else (None, None)


def _numbered(pairs: Iterable[tuple[object, object]]) -> Iterator[Source]:
    """What `read_captions` yields, from (image_id, caption)."""
    for idx, (image_id, caption) in enumerate(pairs):
        if image_id is None or image_id == "" or image_id != image_id:  # NaN: what pandas writes for a missing one
            image_id = idx
        if not isinstance(caption, str) or len(caption) > LONGEST_KEPT:
            caption = _bounded(caption)
        yield idx, str(image_id)[:LONGEST_KEPT], caption


def _bounded(caption: object) -> object:
    """The caption; one that will be rejected for its length is cut, so that a thousand of them fit into memory."""
    if isinstance(caption, str):
        return " ".join(caption.split())[:LONGEST_KEPT]
    return None if len(str(caption)) > LONGEST_KEPT else caption


# ---------------------------------------------------------------------------------------- tolerant: bad rows are kept
def _text(path: str | Path) -> Iterator[str | None]:
    """The lines, with their ends, or None for one over LONGEST_LINE; bytes that are not UTF-8 become U+FFFD."""
    try:
        with open(checked_file(path), encoding="utf-8-sig", errors="replace", newline="") as file:
            while line := file.readline(LONGEST_LINE):
                too_long = False
                while len(line) == LONGEST_LINE and not line.endswith(("\n", "\r")):
                    line, too_long = file.readline(LONGEST_LINE), True
                yield None if too_long else line
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def parsed_json(text: str | bytes | None) -> Any:
    """What the text says, or None where it cannot be parsed."""
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def jsonl_rows(path: str | Path) -> Iterator[object]:
    """Yield one value per line, or None for a line that cannot be parsed."""
    return map(parsed_json, _text(path))


def _csv_cells(path: Path) -> Iterator[list[str]]:
    def lines() -> Iterator[str]:
        for number, line in enumerate(_text(path), start=1):
            if line is None:
                raise InputError(
                    f"{path}, line {number}: has more than {LONGEST_LINE:,} characters. Check its line breaks."
                )
            # a NUL makes the csv module stop; as a control character it is rejected with its row
            yield line.replace("\0", "\ufffd")

    reader = csv.reader(lines())
    try:
        yield from reader
    except csv.Error as error:  # a text of many megabytes: a quotation mark that is never closed
        raise InputError(
            f"{path}, line {reader.line_num + 1}: is not CSV: {error}. Check the quotation marks up to that line."
        ) from error


def _csv(path: Path) -> Iterator[object]:
    rows = (cells for cells in _csv_cells(path) if cells)
    columns = next(rows, [])
    return (dict(itertools.zip_longest(columns, cells[: len(columns)])) for cells in rows)


def parquet_rows(path: str | Path, columns: tuple[str, ...]) -> Iterator[dict]:
    """Yield the rows of a file, with those of `columns` that it has: pictures next to the texts are not read.

    A value that cannot be read, e.g. a text that is not UTF-8 or a time after the year 9999, is None.
    """
    for lists in _parquet_lists(path, columns):
        for values in zip(*lists.values()):
            yield dict(zip(lists, values))


def _parquet_captions(path: Path, caption_column: str, image_id_column: str) -> Iterator[tuple[object, object]]:
    for lists in _parquet_lists(path, (caption_column, image_id_column)):
        yield from zip(lists.get(image_id_column) or itertools.repeat(None), lists[caption_column])


def _parquet_lists(path: str | Path, columns: tuple[str, ...]) -> Iterator[dict[str, list]]:
    """Yield the values of up to ROWS rows at a time, by column."""
    count = 0
    with _parquet(path, columns) as file:
        schema = file.schema_arrow
        found = [name for name in columns if name in schema.names]
        # each batch brings the texts of its row group again, so it has many rows, unless their values may be large
        kinds = [schema.field(name).type for name in found]
        size = BATCH if all(pa.types.is_primitive(kind) or _is_text(kind) for kind in kinds) else ROWS
        for batch in file.iter_batches(batch_size=size, columns=found):
            short = [_is_short(column) for column in batch.columns]
            for start in range(0, len(batch), ROWS):
                part = batch.slice(start, ROWS)
                yield {name: _values(*column) for name, *column in zip(part.schema.names, part.columns, short)}
            count += len(batch)
        if count < file.metadata.num_rows:
            raise ValueError(f"it ends after row {count} of {file.metadata.num_rows}")


@contextlib.contextmanager
def _parquet(path: str | Path, texts: tuple[str, ...] = ()) -> Iterator[pq.ParquetFile]:
    """The open file. Raises InputError whatever is wrong with it, also while its rows are read."""
    with one_sentence(f"{path}: cannot be read as Parquet", "Write it again."):
        schema = pq.read_schema(checked_file(path))
        # a text that is there once and meant a million times stays one text
        shared = [field.name for field in schema if field.name in texts and not pa.types.is_nested(field.type)]
        with pq.ParquetFile(path, read_dictionary=shared) as file:
            yield file


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        check(kind)
        for check in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    )


def _is_short(column: pa.Array) -> bool:
    """Whether its texts may be copied for each of ROWS rows: a thousand rows may mean one large text."""
    if not pa.types.is_dictionary(column.type):
        return True
    return _is_text(column.type) and (pc.max(pc.binary_length(column.dictionary)).as_py() or 0) <= LONGEST_KEPT


def _values(column: pa.Array, short: bool = True) -> list:
    if pa.types.is_dictionary(column.type):
        if not short:  # each text once
            indices = column.indices.to_pylist()
            needed = list({index for index in indices if index is not None})
            texts = dict(zip(needed, _values(column.dictionary.take(pa.array(needed, pa.int64())))))
            return [texts.get(index) for index in indices]
        column = column.dictionary_decode()
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError):
        return [_python(scalar) for scalar in column]
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [value and value.decode(errors="replace") for value in values]
    return values


def _python(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        return None


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
    return _json_list(path) if _is_json_list(path) else _strict_jsonl(path)


def check_json_lines(path: Path) -> None:
    """Raises InputError for lines of JSON that would fill the memory or crash pyarrow, and for what is not UTF-8."""
    for number, line in enumerate(_strict_text(path, whole=_is_json_list(path)), start=1):
        if line.count("[") + line.count("{") > DEEPEST and _is_deep(line):
            raise InputError(f"{path}, line {number}: is nested more than {DEEPEST} deep. Fix or remove it.")


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


def _is_json_list(path: Path) -> bool:
    """Whether a .json file is one list, which may be one line."""
    with open(path, "rb") as file:
        start = file.read(2**16).removeprefix(codecs.BOM_UTF8).lstrip()
    return path.suffix.lower() == ".json" and start.startswith(b"[")


def csv_columns(path: Path) -> list[str]:
    """The columns that the header names: the first row that is not blank. Raises InputError without one."""
    try:
        return next((cells for cells in csv.reader(_strict_text(path)) if cells), [])
    except csv.Error as error:
        raise InputError(f"{path}, line 1: is not CSV: {error}. Save the file as CSV again.") from error


def _strict_text(path: Path, whole: bool = False) -> Iterator[str]:
    """The lines, with their ends. Raises InputError for one over LONGEST_LINE, unless the `whole` file is wanted."""
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(-1 if whole else LONGEST_LINE), b""), start=1):
            if not whole and len(line) == LONGEST_LINE:
                raise InputError(f"{path}, line {number}: has {LONGEST_LINE:,} bytes or more. Check its line breaks.")
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{path}, line {number}: is not UTF-8. Save the file as UTF-8.") from error


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
