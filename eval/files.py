"""Text files: evaluation data, as rows with the places that errors name; and what is written, whole or not at all."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from modeling_paraclip.errors import CheckpointError, InputError

MAX_LINE = 2**20  # bytes of a line of a .tsv, .csv or .jsonl file
MAX_FILE = 2**26  # bytes of a file that is read as a whole: JSON, a card
SHOWN = reprlib.Repr()  # a wrong value in an error: its beginning and end
SHOWN.maxstring = SHOWN.maxother = 60
Rows = Iterator[tuple[str, Any]]  # a place to name in errors ("line 3") and what should be a row


class MissingData(InputError):  # noqa: N818 (it names what happened)
    """A task's data are not there. With `--tasks all` the task is listed as not run."""


def file_rows(file: Path, quoted: bool = False) -> Rows:
    """The rows of a `.tsv`, `.csv`, `.jsonl` or `.json` file; of a table its header first, with the place "header".

    Args:
        quoted: whether the quotation marks of a `.tsv` are those of a `.csv`, as pandas writes them, and not text.

    Raises:
        MissingData: there is no such file.
        InputError: it cannot be read, or is of no such format.
    """
    if quoted:
        return _csv_rows(file, "\t")
    return {".tsv": _tsv_rows, ".csv": _csv_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}[file.suffix](file)


def read_json(file: Path, limit: int = MAX_FILE) -> Any:
    """What a JSON file of at most `limit` bytes holds. InputError, naming the line, where it is not JSON."""
    return parsed(read_text(file, limit), str(file), first_line=1)


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


def read_text(file: Path, limit: int = MAX_FILE) -> str:
    """A whole UTF-8 file without byte order mark, with its own line ends.

    Raises:
        MissingData: there is no such file.
        InputError: it cannot be read, is no plain file, is empty, not UTF-8, or larger than `limit` bytes.
    """
    with _opened(file) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise InputError(f"{file} is larger than {limit:,} bytes. Split it.")
    text = _decoded(data, file, 1)
    if not text.strip():
        raise InputError(f"{file} is empty.")
    return text


def sha256_of(files: list[Path]) -> str:
    """ "sha256:" and the first 16 hexadecimal digits of the hash of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with _opened(file) as stream:
            while data := stream.read(2**20):
                digest.update(data)
    return f"sha256:{digest.hexdigest()[:16]}"


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
    """The lines with their numbers, one at a time. InputError where all are blank."""
    number, is_empty = 0, True
    with _opened(file) as stream:
        while data := stream.readline(MAX_LINE + 1):
            number += 1
            if len(data) > MAX_LINE:
                raise InputError(f"{file}, line {number}: is longer than {MAX_LINE:,} bytes. Shorten or split it.")
            line = _decoded(data, file, number).rstrip("\r\n")
            is_empty = is_empty and not line.strip(" ")
            yield number, line
    if is_empty:
        raise InputError(f"{file} is empty.")


def _tsv_rows(file: Path) -> Rows:
    """Fields between tabs; quotation marks are text."""
    for number, line in _lines(file):
        for name, separator in (("comma", ","), ("semicolon", ";")):
            if number == 1 and "\t" not in line and separator in line:
                shown = SHOWN.repr(line)
                raise InputError(f"{file}, line 1: the header is {shown}. It looks {name}-separated; tabs are needed.")
        break
    return _table(file, ((number, line.split("\t")) for number, line in _lines(file)))


def _csv_rows(file: Path, separator: str = ",") -> Rows:
    """Fields between separators, in quotation marks where they have these or line ends themselves (RFC 4180)."""

    def fields() -> Iterator[tuple[int, list[str]]]:
        lines = (f"{line}\n" for _, line in _lines(file))
        reader = csv.reader(lines, delimiter=separator, strict=True)
        while True:
            number = reader.line_num + 1
            try:
                yield number, next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(f"{file}, line {number}: is not CSV: {error}.") from error

    return _table(file, fields())


def _table(file: Path, lines: Iterator[tuple[int, list[str]]]) -> Rows:
    header: list[str] = []
    blank = 0
    for number, values in lines:
        if not "".join(values).strip(" ") and len(values) < 2:
            blank = blank or number
            continue
        if blank:
            raise InputError(f"{file}, line {blank}: 0 fields, but the header has {len(header)}.")
        if not header:
            header = values
            if repeated := [name for name in header if header.count(name) > 1]:
                raise InputError(f"{file}, line 1: the column {repeated[0][:60]} is there twice.")
            yield "header", dict.fromkeys(header)
        elif len(values) != len(header):
            raise InputError(f"{file}, line {number}: {len(values)} fields, but the header has {len(header)}.")
        else:
            yield f"line {number}", dict(zip(header, values))


def _jsonl_rows(file: Path) -> Rows:
    for number, line in _lines(file):
        if line.strip():
            yield f"line {number}", parsed(line, f"{file}, line {number}")


def _json_rows(file: Path) -> Rows:
    """A list of rows, or an object of them, as SugarCrepe's files are: `{"0": {...}, "1": {...}}`."""
    rows = read_json(file)
    if isinstance(rows, dict) and rows and all(isinstance(row, dict) for row in rows.values()):
        return ((f"row {number} ({key[:60]!r})", row) for number, (key, row) in enumerate(rows.items(), start=1))
    if not isinstance(rows, list):
        raise InputError(f"{file}: a list of rows is needed, not {type(rows).__name__}.")
    return ((f"row {number}", row) for number, row in enumerate(rows, start=1))


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A file to write in place of `path`, moved there when it is whole: what is there stays until then.

    Raises:
        CheckpointError: it could not be written, e.g. because the disk is full.
    """
    target = Path(os.path.realpath(path))  # not a link to it
    is_special = target.exists() and not target.is_file()  # e.g. /dev/stdout, which nothing may replace
    aside = target if is_special else target.with_name(f".eval-{os.getpid()}.part")
    try:
        yield aside
        if not is_special:
            os.replace(aside, target)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        if not is_special:
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """`written` with UTF-8 text, whose line ends stay as they are."""
    with written(path) as aside, open(aside, "w", encoding="utf-8", newline="") as stream:
        stream.write(text)
