"""Files that people give: opened, decompressed and read a line at a time, so that none of them fills the memory."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.compression import compr
from fsspec.utils import infer_compression

from .errors import InputError

LONGEST_LINE = 2**24  # bytes or characters; a line that is longer is not held in memory
COMPRESSION = (EOFError, zlib.error, lzma.LZMAError)  # what a compressed file that is cut or damaged raises


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


def kind_of(path: str | Path) -> str:
    """The suffix in lower case, without that of a compression: ".jsonl" of captions.JSONL.gz."""
    name = Path(path)
    return (name.with_suffix("") if infer_compression(name.name) else name).suffix.lower()


def is_address(path: str | Path) -> bool:
    """Whether it is no path, but e.g. hf://datasets/org/name/file.jsonl."""
    return isinstance(path, str) and "://" in path


def open_address(address: str | Path, cache_type: str = "readahead") -> BinaryIO:
    """Open a file of the Hub; `cache_type` is how fsspec reads ahead."""
    file_system, path = fsspec.url_to_fs(str(address))
    return file_system.open(path, "rb", cache_type=cache_type)


@contextlib.contextmanager
def open_bytes(path: str | Path, name: str | Path | None = None) -> Iterator[BinaryIO]:
    """A file, or the address of one, decompressed by its suffix.

    Args:
        path: what is opened.
        name: what it was called, where `path` is a copy in a cache.

    Raises:
        InputError: it cannot be read, also while it is being read.
    """
    name = name or path
    with contextlib.ExitStack() as opened:
        try:
            file: BinaryIO = open_address(path) if is_address(path) else checked_file(path).open("rb")
            opened.enter_context(file)
            if coding := infer_compression(str(name)):
                file = opened.enter_context(compr[coding](file, mode="rb"))
            yield file
        except (OSError, *COMPRESSION) as error:  # OSError: also gzip's and bz2's own
            said = getattr(error, "strerror", None) or error
            raise InputError(f"{name}: cannot be read: {said}. Check it, or download it again.") from error


def lines(path: str | Path) -> Iterator[str | None]:
    """The lines, with their ends, or None for one over LONGEST_LINE; bytes that are not UTF-8 become U+FFFD."""
    with open_bytes(path) as file, io.TextIOWrapper(file, "utf-8-sig", errors="replace", newline="") as text:
        while line := text.readline(LONGEST_LINE):
            too_long = False
            while len(line) == LONGEST_LINE and not line.endswith(("\n", "\r")):
                line, too_long = text.readline(LONGEST_LINE), True
            yield None if too_long else line


def parsed_json(text: str | bytes | None) -> Any:
    """What the text says, or None where it cannot be parsed."""
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
