"""Tar shards as img2dataset and webdataset write them: a sample's files follow one another and share their name."""

from __future__ import annotations

import itertools
import re
import tarfile
from collections.abc import Collection, Iterator
from pathlib import Path

from .errors import InputError
from .files import COMPRESSION, LONGEST_LINE, checked_file, parsed_json

PICTURES = ("jpg", "jpeg", "png", "webp")
LARGEST_PICTURE = 2**28  # bytes; more is no picture, but a header that lies or an archive that fills the memory


def samples(file: str | Path) -> Iterator[dict | None]:
    """Yield what the texts of each sample say: the fields of its JSON, its `key` and, from its .txt, its `caption`.

    Pictures are skipped. A sample whose JSON cannot be parsed is None.

    Raises:
        InputError: the shard is cut or damaged.
    """
    for key, parts in read_samples(file, ("json", "txt")):
        yield texts_of(key, parts)


def texts_of(key: str, parts: dict[str, bytes]) -> dict | None:
    """The texts of a sample, as `samples` yields them."""
    row = parsed_json(parts["json"]) if "json" in parts else {}
    if not isinstance(row, dict):
        return None
    return {"key": key, **row} | ({"caption": parts["txt"].decode(errors="replace").strip()} if "txt" in parts else {})


def read_samples(file: str | Path, suffixes: Collection[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (key, contents by suffix) of each sample, without other files. The key has no "./" at its beginning, and
    ends at the first dot after the last slash.

    Raises:
        InputError: the shard is cut or damaged; the message names the last whole sample.
    """
    key = None
    try:
        with _opened(checked_file(file)) as tar:
            for key, group in itertools.groupby(_members(tar, suffixes), key=lambda item: item[0]):
                yield key, {suffix: data for _, suffix, data in group if suffix}
            while rest := tar.fileobj.read(2**16):  # type: ignore[union-attr]
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("more follows its end, as if two shards were joined")
    except (tarfile.TarError, OSError, TypeError, ValueError, OverflowError, *COMPRESSION) as error:
        if isinstance(error, InputError):
            raise
        place = "before the first sample" if key is None else f"after sample {key}"
        raise InputError(
            f"{file}, {place}: cannot be read as a tar file: {error}. The shard is cut or damaged: download it again."
        ) from error


def _opened(file: Path) -> tarfile.TarFile:
    """The tar. Pictures that are not wanted can be skipped, but not in a compressed one."""
    with open(file, "rb") as opened:
        is_compressed = opened.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0"))
    return tarfile.open(file, "r|*", tarinfo=_Member) if is_compressed else tarfile.open(file, "r:", tarinfo=_Member)


class _Member(tarfile.TarInfo):
    """A header. Without this class, tarfile takes a damaged header or the end of the file for the end of the tar."""

    @classmethod
    def frombuf(cls, *args, **kwargs):
        member = super().frombuf(*args, **kwargs)
        if member.size < 0 or (member.size > LONGEST_LINE and not member.isreg()):
            raise tarfile.ReadError("a header says an impossible size")
        return member

    @classmethod
    def fromtarfile(cls, tarfile_):
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            if tarfile_.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("its end marker is cut") from None
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it has no end marker ({error})") from error


def _members(tar: tarfile.TarFile, suffixes: Collection[str]) -> Iterator[tuple[str, str, bytes]]:
    """(key, suffix, content) of each file; without suffix and content if it is none that is wanted.

    Links, folders and devices are not read.
    """
    for member in iter(tar.next, None):
        tar.members.clear()  # type: ignore[attr-defined]  # or all headers of a shard stay in memory
        name = re.fullmatch(r"(?:\./)*((?:.*/)?[^./][^./]*)\.([^/]*)", member.name, re.DOTALL)
        if name is None or not member.isreg() or (suffix := name[2].lower()) not in ("json", "txt", *PICTURES):
            continue
        if member.size > (LARGEST_PICTURE if suffix in PICTURES else LONGEST_LINE):
            raise tarfile.ReadError(f"{member.name} is said to have {member.size:,} bytes")
        if suffix not in suffixes:
            yield name[1], "", b""
            continue
        content = tar.extractfile(member)
        assert content is not None  # it is a regular file
        data = content.read()
        if len(data) != member.size:
            raise tarfile.ReadError(f"{member.name} is cut")
        yield name[1], suffix, data
