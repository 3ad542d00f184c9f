"""Where captions come from: files of every kind, or a data set, read one row at a time."""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import hub
from .errors import InputError, check_range
from .files import checked_file, kind_of
from .filters import LeftOut
from .formats import KINDS, Table, open_table, separator_hint
from .parquet import LONGEST_KEPT
from .where import Where

CaptionRow = tuple[int, str, object]  # idx, image_id, caption (one that is no usable text is rejected, and not lost)
# what these are called in LAION, DataComp, COYO, RedCaps, Flickr, COCO and webdataset; the most telling name first
CAPTIONS = ("caption", "text", "txt", "captions", "raw_caption", "sentence", "sentences", "raw", "alt_text",
            "description")  # fmt: skip
PICTURES = ("image_id", "key", "__key__", "file_name", "filename", "image_name", "image_path", "filepath", "image_url",
            "url", "uid", "sample_id", "cocoid", "img_id", "imgid", "id", "image")  # fmt: skip
SPLITS = {"train": ("train", "restval")}  # of Karpathy's: what COCO trains on
ENDS = 2**16  # bytes at both ends of a file that its fingerprint reads


@dataclass(frozen=True)
class Source:
    """Captions to read, which `open_source` has found. It can be pickled."""

    files: tuple[str, ...] = ()
    dataset_name: str | None = None
    dataset_config: str | None = None
    split: str = "train"
    revision: str | None = None
    caption_column: str | None = None
    image_id_column: str | None = None
    where: str | None = None
    limit: int | None = None

    def rows(self) -> Iterator[CaptionRow]:
        """Yield (row number from 0, image_id, caption); a list of captions gives as many rows.

        A row that `where` or `split` leaves out comes with its caption as `LeftOut`, and one that cannot be parsed
        with None, so that both can be counted. Without a column that names the picture, the row number is its name.

        Raises:
            InputError: the captions cannot be read any further.
        """
        return itertools.islice(self._numbered(), self.limit)

    def total(self) -> int | None:
        """How many rows there are, if that can be known before they are read."""
        counts = [table.count() for _, table in self._tables()]
        known = [sum(count for count in counts if count is not None)] if None not in counts else []
        return min([*known, *([self.limit] if self.limit is not None else [])], default=None)

    def fingerprint(self) -> dict[str, Any]:
        """What the captions are, without the paths of this machine. It takes milliseconds, whatever their size.

        A file is known by its name, its size and the SHA-256 of its first and last 64 KiB.
        """
        found: dict[str, Any] = {"files": [_fingerprint(file) for file in self.files]} if self.files else {}
        if self.dataset_name is not None:
            is_local = os.path.isdir(self.dataset_name)
            found["dataset"] = os.path.basename(os.path.abspath(self.dataset_name)) if is_local else self.dataset_name
            found |= {"config": self.dataset_config, "split": self.split, "revision": self.revision}
        found |= {name: getattr(self, name) for name in ("caption_column", "image_id_column", "where", "limit")}
        return {name: value for name, value in found.items() if value is not None}

    def check(self) -> None:
        """Raises InputError if a file lacks a column that is read, or if a column cannot be told from the others."""
        for name, table in self._tables():
            self._columns(name, table)

    def _tables(self) -> Iterator[tuple[str, Table]]:
        if self.dataset_name is None:
            yield from ((f"--captions {file}", open_table(file)) for file in self.files)
        else:
            table = hub.open_table(self.dataset_name, self.dataset_config, self.split, self.revision)
            yield f"--dataset_name {self.dataset_name}", table

    def _columns(self, name: str, table: Table) -> tuple[str, str | None]:
        """The columns of the captions and of what names the pictures."""
        known = {column.lower(): column for column in reversed(table.columns)}
        listed = f"found: {', '.join(map(repr, table.columns)) or 'none'}"
        for option, wanted in (("--caption_column", self.caption_column), ("--image_id_column", self.image_id_column)):
            if wanted is not None and wanted not in table.columns:
                raise InputError(f"{name}: no column {wanted!r}; {listed}. {_remedy(table.columns, option)}")
        caption = self.caption_column or next((known[column] for column in CAPTIONS if column in known), None)
        if caption is None:
            remedy = _remedy(table.columns, "--caption_column")
            raise InputError(f"{name}: it is not clear which column holds the captions; {listed}. {remedy}")
        picture = self.image_id_column or next((known[column] for column in PICTURES if column in known), None)
        if self.where is not None:
            for column in Where(self.where).columns:
                if column not in table.columns:
                    raise InputError(f"{name}: --where {self.where} needs a column {column!r}; {listed}.")
        return caption, picture

    def _numbered(self) -> Iterator[CaptionRow]:
        numbers = itertools.count()
        for name, table in self._tables():
            for image_id, caption in self._captions(name, table):
                idx = next(numbers)
                if image_id is None or image_id == "" or image_id != image_id:  # NaN: a missing one of pandas
                    image_id = idx
                yield idx, str(image_id)[:LONGEST_KEPT], caption

    def _captions(self, name: str, table: Table) -> Iterator[tuple[object, object]]:
        """(image_id, caption) of each row."""
        caption_column, image_id_column = self._columns(name, table)
        where = Where(self.where) if self.where is not None else None
        splits = SPLITS.get(self.split, (self.split,)) if self.files and "split" in table.columns else None
        wanted = [caption_column, image_id_column, *(where.columns if where else ()), "split" if splits else None]
        columns = list(dict.fromkeys(column for column in wanted if column is not None))
        position = columns.index(image_id_column) if image_id_column else None
        for values in table.rows(columns):
            if values is None:
                yield None, None
                continue
            is_out = False
            if where or splits:
                row = dict(zip(columns, values))
                is_out = (splits is not None and row["split"] not in splits) or (where is not None and not where(row))
            image_id = None if position is None else values[position]
            for caption in _as_list(values[0]):
                if not isinstance(caption, str) or len(caption) > LONGEST_KEPT:
                    caption = _bounded(caption)
                yield image_id, LeftOut(caption) if is_out and isinstance(caption, str) else caption


def open_source(
    captions: Iterable[str] | None = None,
    dataset_name: str | None = None,
    dataset_config: str | None = None,
    split: str = "train",
    revision: str | None = None,
    caption_column: str | None = None,
    image_id_column: str | None = None,
    where: str | None = None,
    limit: int | None = None,
) -> Source:
    """Find the captions, and check that their columns are there.

    Args:
        captions: files, folders and patterns such as `shards/*.tar`; or
        dataset_name: a data set's folder or Hub id, which is streamed, with its config, split and revision.
        split: also of files with a column `split`; the other rows are left out.
        caption_column, image_id_column: the columns; by default those of a known name.
        where: which rows to take, as an expression over the columns (`where.Where`).
        limit: how many rows to read at most.

    Raises:
        InputError: they cannot be found or opened, or lack a column.
    """
    if (captions is None) == (dataset_name is None):
        raise InputError("Name the captions with --captions or --dataset_name.")
    check_range("--limit", limit, 0, 10**15)
    files = tuple(dict.fromkeys(file for given in captions or () for file in _files(given)))
    if dataset_name is not None:
        revision = hub.commit_of(dataset_name, revision)
    source = Source(
        files, dataset_name, dataset_config, split, revision, caption_column, image_id_column, where, limit
    )
    source.check()
    return source


def _files(given: str) -> list[str]:
    """The files that are meant: one, those of a folder, or those that fit a pattern."""
    is_folder = os.path.isdir(given)
    if not is_folder and (os.path.exists(given) or not glob.has_magic(given)):
        checked_file(given, "--captions ")
        return [given]
    paths = Path(given).rglob("*") if is_folder else map(Path, glob.glob(given, recursive=True))
    found = sorted(path for path in paths if path.is_file() and kind_of(path) in KINDS)
    if is_folder:  # a pattern leaves hidden files out by itself
        found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(given).parts)]
    found = [path for path in found if not path.name.endswith("_stats.json")]  # img2dataset's
    kinds = sorted({kind_of(path) for path in found})
    if len(kinds) > 1:
        raise InputError(
            f"--captions {given}: has files of several kinds ({', '.join(kinds)}), which may hold the same captions. "
            f"Name one kind, e.g. '{found[0].with_name('*' + kind_of(found[0]))}'."
        )
    if not found:
        what = "this folder has no file" if is_folder else "no file fits this pattern that is one"
        raise InputError(f"--captions {given}: {what} of the types {', '.join(KINDS)}.")
    return [str(path) for path in found]


def _remedy(columns: list[str], option: str) -> str:
    return separator_hint(columns) or f"Name the right one with {option}."


def _fingerprint(file: str) -> dict[str, Any]:
    size = os.path.getsize(file)
    with open(file, "rb") as opened:
        ends = opened.read(ENDS)
        opened.seek(max(ENDS, size - ENDS))
        ends += opened.read(ENDS)
    return {"name": os.path.basename(file), "bytes": size, "sha256_of_ends": hashlib.sha256(ends).hexdigest()}


def _as_list(caption: object) -> list:
    """The captions of a row: one, or each of a list, e.g. the five sentences of a picture of Flickr30k."""
    if not isinstance(caption, list):
        return [caption]
    return [sentence.get("raw") if isinstance(sentence, dict) else sentence for sentence in caption] or [None]


def _bounded(caption: object) -> object:
    """The caption; one that will be rejected for its length is cut, so that a thousand of them fit into memory."""
    if isinstance(caption, str):
        return " ".join(caption.split())[:LONGEST_KEPT]
    return None if len(str(caption)) > LONGEST_KEPT else caption
