"""Vectors computed once and kept: the frozen tower's of every picture, and those of texts.

There is one SQLite file for each tower, keyed by content. The file's name hashes the tower's weights, its
configuration and the preprocessing, so nothing stale is ever found. A run that is killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from huggingface_hub.constants import HF_HOME
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import BaseImageProcessor, PreTrainedModel

from .architectures import image_tower, text_tower
from .errors import InputError
from .pictures import DECODER, Decoder, read_file

DEFAULT_CACHE_DIR = Path(HF_HOME) / "paraclip"
FEW = 256  # up to this many pictures are decoded in this process: starting workers would take longer
TEXTS = 4096  # how many texts are encoded between two writes
SCHEMA = """
CREATE TABLE IF NOT EXISTS embeddings (digest TEXT PRIMARY KEY, vector BLOB NOT NULL, crc32 INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    digest TEXT NOT NULL
);
"""
Stat = tuple[int, int, int]  # size, time of change in ns, inode
# A file that was changed within this time of being read may change again without a new time stamp (git: "racy").
RACY_NS = 2 * 10**9


def weights_key(modules: Sequence[nn.Module], *descriptions: str) -> str:
    """Hash of all that decides an embedding: weights with their dtypes, configuration, preprocessing."""
    digest = hashlib.sha256("\n".join(descriptions).encode())
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def image_key(model: PreTrainedModel, image_processor: BaseImageProcessor) -> str:
    """`weights_key` of the image tower of a dual encoder: weights, configuration, image processor, decoder."""
    described = model.config.vision_config.to_json_string() + image_processor.to_json_string() + DECODER
    return weights_key(image_tower(model), described)


def text_key(model: PreTrainedModel, tokenizer) -> str:
    """`weights_key` of the text tower of a dual encoder: weights, configuration, tokenizer."""
    return weights_key(text_tower(model), model.config.text_config.to_json_string(), describe_tokenizer(tokenizer))


def describe_tokenizer(tokenizer) -> str:
    """All that decides the ids of a text, without the truncation and padding that its last call left in it."""
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    return json.dumps({**described, "truncation": None, "padding": None}, sort_keys=True)


class EmbeddingCache:
    """A SQLite file of vectors by the digest of what they embed. Every `put` is durable.

    Args:
        path: of the file.
        dtype: of the vectors.
        model: what makes them, for errors.

    Raises:
        InputError: the file cannot be opened, read or written; the message has its path.
    """

    def __init__(self, path: Path, dtype: type, model: str = ""):
        self._path, self._dtype, self._model = path, dtype, model or "the model"
        with self._explained():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60)
            self._connection.execute("PRAGMA journal_mode=DELETE")  # WAL does not work on network file systems
            self._connection.executescript(SCHEMA)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"the cache of embeddings {self._path} cannot be used: {error}. Remove the file (it can be "
                "computed again), or name another folder for the cache."
            ) from error

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, *_) -> None:
        self._connection.close()

    def known(self) -> set[str]:
        """The digests that are there."""
        with self._explained():
            return {digest for (digest,) in self._connection.execute("SELECT digest FROM embeddings")}

    def put(self, digests: Sequence[str], vectors: np.ndarray, names: Sequence[str]) -> None:
        """Keep `vectors`, (n, dim), one row for each digest.

        Raises:
            InputError: one of them is not finite, or zero; `names` says of what. None of them is kept.
        """
        vectors = vectors.astype(self._dtype)
        finite, longer = np.isfinite(vectors).all(axis=1), vectors.any(axis=1)
        if not (finite & longer).all():
            i = int((finite & longer).argmin())
            raise InputError(
                f"{self._model}'s vector of {names[i]!r} is {'zero' if finite[i] else 'not finite'}. Its weights are "
                "broken, or too large for the precision asked for."
            )
        rows = [(digest, blob, zlib.crc32(blob)) for digest, blob in zip(digests, map(np.ndarray.tobytes, vectors))]
        with self._explained(), self._connection:  # one transaction
            self._connection.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?)", rows)

    def get(self, digests: Sequence[str]) -> np.ndarray:
        """(n, dim). KeyError where one is not there."""
        rows = []
        select = "SELECT vector, crc32 FROM embeddings WHERE digest = ?"
        with self._explained():
            for digest in digests:
                found = self._connection.execute(select, (digest,)).fetchone()
                if found is None:
                    raise KeyError(digest)
                vector, crc32 = found
                if not isinstance(vector, bytes) or zlib.crc32(vector) != crc32:
                    raise InputError(
                        f"the cache of embeddings {self._path} is damaged: a vector is not as it was written. Remove "
                        "the file: it can be computed again."
                    )
                rows.append(vector)
        if len({len(row) for row in rows}) > 1:
            raise InputError(f"the cache of embeddings {self._path} is damaged: vectors differ in length. Remove it.")
        return np.frombuffer(b"".join(rows), self._dtype).reshape(len(rows), -1).copy()

    def unchanged_files(self, paths: Sequence[str]) -> dict[str, str]:
        """path -> digest of those files whose size, time and inode are those that `put_files` saw, as git does it."""
        with self._explained():
            seen = {row[0]: row[1:] for row in self._connection.execute("SELECT * FROM files")}
        found = {}
        for path in paths:
            if path in seen and _stat(path) == seen[path][:3]:
                found[path] = seen[path][3]
        return found

    def put_files(self, files: dict[str, tuple[Stat, str]]) -> None:
        """Keep path -> (what the file looked like before it was read, digest), but for files changed just before."""
        recent = time.time_ns() - RACY_NS
        rows = [(path, *stat, digest) for path, (stat, digest) in files.items() if stat[1] < recent]
        with self._explained(), self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)", rows)


def _stat(path: str) -> Stat | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def embed_texts(texts: Sequence[str], encode: Callable[[list[str]], np.ndarray], cache: EmbeddingCache) -> np.ndarray:
    """(n, dim) of n texts, in order. `encode` sees each distinct text that the cache lacks once."""
    digests = {text: hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest() for text in dict.fromkeys(texts)}
    known = cache.known()
    new = [text for text, digest in digests.items() if digest not in known]
    for start in range(0, len(new), TEXTS):
        piece = new[start : start + TEXTS]
        cache.put([digests[text] for text in piece], encode(piece), piece)
    row = {text: i for i, text in enumerate(digests)}
    return cache.get(list(digests.values()))[[row[text] for text in texts]]


def embed_pictures(
    pictures: Sequence[Mapping],
    preprocess: Callable[[Image.Image], Tensor],
    embed: Callable[[Tensor], Tensor],
    cache: EmbeddingCache,
    *,
    batch_size: int = 64,
    num_workers: int | None = None,
    files: Sequence[str | None] | None = None,
    read: Callable[[str], bytes] = read_file,
) -> tuple[list[str], dict[str, str]]:
    """Embed what the cache does not know yet. Decoding runs in worker processes next to the model.

    A file whose size, time and inode are known is not read again.

    Args:
        pictures: each `{"path": str | None, "bytes": bytes | None}`, as `datasets.Image(decode=False)` gives them, and
            optionally `"box"`: (left, upper, right, lower) to crop to.
        preprocess: RGB picture -> (3, height, width). Must be picklable.
        embed: (n, 3, height, width) -> (n, dim).
        num_workers: decoding processes. None: one less than there are cores, at most 8. Few pictures are decoded in
            this process.
        files: for each picture the file to read it from, or None. Default: what `pictures` say.
        read: path -> content.

    Returns:
        The digest of each picture, and what is wrong with those that could not be read: digest -> one sentence.
    """
    known = cache.known()
    if files is None:
        files = [p["path"] if p["bytes"] is None and not p.get("box") else None for p in pictures]
    files = [os.path.abspath(file) if file else None for file in files]
    unchanged = cache.unchanged_files([file for file in files if file])
    digests = [digest if (digest := unchanged.get(file or "")) in known else "" for file in files]
    unread = [i for i, digest in enumerate(digests) if not digest]
    problems: dict[str, str] = {}
    batch: dict[str, Tensor] = {}
    names: list[str] = []  # of the pictures of the batch
    seen: dict[str, tuple[Stat, str]] = {}

    def flush() -> None:
        if batch:
            # convolutions on a CPU take half the time where a pixel's channels lie together
            pixel_values = torch.stack(list(batch.values())).to(memory_format=torch.channels_last)
            with torch.inference_mode():
                vectors = embed(pixel_values).float().cpu().numpy()
            cache.put(list(batch), vectors, names)
        cache.put_files(seen)
        batch.clear()
        names.clear()
        seen.clear()

    decoded = _decoded(Decoder(pictures, preprocess, frozenset(known), read), unread, batch_size, num_workers)
    stats = {i: _stat(file) for i in unread if (file := files[i])}  # before they are read: a change after it shows
    for i, (digest, pixel_values, problem) in zip(unread, tqdm(decoded, desc="Embedding pictures", leave=False)):
        digests[i] = digest
        if problem:
            problems[digest] = problem
            continue
        if (file := files[i]) and (stat := stats[i]):
            seen[file] = stat, digest
        if digest not in known:
            known.add(digest)
            batch[digest] = pixel_values
            names.append(files[i] or pictures[i]["path"] or f"picture {i + 1}")
            if len(batch) == batch_size:
                flush()
    flush()
    return digests, problems


def _decoded(decoder: Decoder, order: list[int], prefetch: int, num_workers: int | None) -> DataLoader:
    """The items of `decoder`, in `order`, from worker processes where there are many."""
    if num_workers is None:
        num_workers = 0 if len(order) <= FEW else min(8, (os.cpu_count() or 1) - 1)
    return DataLoader(
        decoder,
        sampler=order,
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=prefetch if num_workers else None,
    )
