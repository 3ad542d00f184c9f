"""The join of a corpus with its pictures: texts from files of triples, pictures from tar shards, by their keys."""

from __future__ import annotations

import logging
import re
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset, DatasetDict

from .shards import PICTURES

NAMED = 20  # of what has no partner
FIELDS = ("image_id", "key", "url", "uid")  # of a sample's JSON that a corpus may know its picture by
logger = logging.getLogger(__name__)


class Paraphrases:
    """Triples that are found by the names of their pictures, in 12 bytes of memory per triple.

    Args:
        triples: columns `image_id` and the texts; they stay on the disk.
    """

    def __init__(self, triples: Dataset):
        self.triples = triples
        self._compared = self._others = 0
        batches = triples.select_columns(["image_id"]).iter(batch_size=10_000)
        hashes = np.array([_hash(name) for batch in batches for name in batch["image_id"]], np.uint32)
        self._rows = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._rows]

    def of(self, key: str, sample: dict) -> list[dict]:
        """The triples of a sample: those whose `image_id` is its key, or else one of the `FIELDS` of its JSON."""
        names = (key, *(sample.get(field) for field in FIELDS))
        for name in dict.fromkeys(_plain(name) for name in names if isinstance(name, str)):
            first, last = (np.searchsorted(self._hashes, _hash(name), side) for side in ("left", "right"))
            rows = (self.triples[int(row)] for row in sorted(self._rows[first:last]))
            if found := [row for row in rows if _plain(row["image_id"]) == name]:
                self._compare(sample.get("caption"), found)
                return found
        return []

    def _compare(self, caption: object, found: list[dict]) -> None:
        if isinstance(caption, str):
            self._compared += 1
            self._others += _bare(caption) not in {_bare(row["caption"]) for row in found}

    def report_others(self) -> None:
        """Warn where most samples have other captions than their triples, as if the names agreed by chance."""
        if 2 * self._others > self._compared:
            logger.warning(
                "%d of %d samples have another caption in the shards than in the paraphrases. %s",
                *(self._others, self._compared, "Are these the same pictures?"),
            )

    def report_missing(self, joined: DatasetDict) -> None:
        """Count and name the triples whose picture is in none of the shards."""
        names = pa.chunked_array([chunk for split in joined.values() for chunk in split.data["image_id"].chunks])
        missing = pc.invert(pc.is_in(self.triples.data["image_id"], value_set=names))
        count = pc.sum(missing).as_py() or 0
        if count:
            examples = pc.unique(self.triples.data["image_id"].filter(missing))[:NAMED].to_pylist()
            logger.warning(
                "%d of %d triples left out: their pictures are not in the shards, or cannot be read: %s%s",
                count, len(self.triples), ", ".join(examples), " ..." if count > len(examples) else "",
            )  # fmt: skip


def _bare(text: str) -> str:
    return " ".join(text.casefold().split())


def _plain(name: str) -> str:
    """A picture's name without "./" at the beginning and the suffix of a picture at the end."""
    return re.sub(rf"^(?:\./)+|\.(?:{'|'.join(PICTURES)})$", "", name, flags=re.IGNORECASE)


def _hash(name: str) -> int:
    return zlib.crc32(_plain(name).encode(errors="replace"))
