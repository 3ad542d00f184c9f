"""Parquet: only the columns that are wanted, and never a value that fills the memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .errors import one_sentence
from .files import checked_file, is_address, open_address

LONGEST_KEPT = 2**16  # characters of a caption, many more than the filters allow
ROWS, BATCH = 1000, 2**16  # of Parquet: as Python's values, and as read


def columns(path: str | Path) -> list[str]:
    """The names of the columns, but for those of structures, as pictures are. Raises InputError."""
    with _opened(path) as file:
        return [field.name for field in file.schema_arrow if not pa.types.is_struct(field.type)]


def count(path: str | Path) -> int:
    """How many rows there are. Raises InputError."""
    with _opened(path) as file:
        return file.metadata.num_rows


def rows(path: str | Path, columns: Sequence[str]) -> Iterator[tuple]:
    """Yield the values of `columns`, which the file has, for each row: pictures next to the texts are not read.

    A value that cannot be read, e.g. a text that is not UTF-8 or a time after the year 9999, is None.

    Raises:
        InputError: the file is cut or damaged.
    """
    for lists in _lists(path, columns):
        yield from zip(*(lists[name] for name in columns))


def _lists(path: str | Path, columns: Sequence[str]) -> Iterator[dict[str, list]]:
    """Yield the values of up to ROWS rows at a time, by column."""
    read = 0
    with _opened(path, columns) as file:
        # each batch brings the texts of its row group again, so it has many rows, unless their values may be large
        kinds = [file.schema_arrow.field(name).type for name in columns]
        size = BATCH if all(pa.types.is_primitive(kind) or _is_text(kind) for kind in kinds) else ROWS
        for batch in file.iter_batches(batch_size=size, columns=list(columns)):
            short = [_is_short(column) for column in batch.columns]
            for start in range(0, len(batch), ROWS):
                part = batch.slice(start, ROWS)
                yield {name: _values(*column) for name, *column in zip(part.schema.names, part.columns, short)}
            read += len(batch)
        if read < file.metadata.num_rows:
            raise ValueError(f"it ends after row {read} of {file.metadata.num_rows}")


@contextlib.contextmanager
def _opened(path: str | Path, texts: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """The open file. Raises InputError whatever is wrong with it, also while its rows are read."""
    remedy = "Check the connection and give the same command again." if is_address(path) else "Write it again."
    with one_sentence(f"{path}: cannot be read as Parquet", remedy), contextlib.ExitStack() as opened:
        # of an address, only what is asked for is requested, in one piece per row group
        file = opened.enter_context(open_address(path, "none")) if is_address(path) else checked_file(path)
        metadata = pq.read_metadata(file)
        # a text that is there once and meant a million times stays one text
        schema = metadata.schema.to_arrow_schema()
        shared = [field.name for field in schema if field.name in texts and not pa.types.is_nested(field.type)]
        options = {"metadata": metadata, "read_dictionary": shared, "pre_buffer": is_address(path)}
        yield opened.enter_context(pq.ParquetFile(file, **options))


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
