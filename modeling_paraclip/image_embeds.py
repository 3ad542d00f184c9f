"""Embeddings computed once and kept as data: above all the frozen vision tower's, of every picture.

Kept in one SQLite file a tower, keyed by the bytes of each picture. The file's name hashes the tower's weights, its
configuration and the preprocessing, so nothing stale is ever found. A run that is killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import sqlite3
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import numpy as np
import torch
from huggingface_hub.constants import HF_HOME
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm
from transformers import BaseImageProcessor, CLIPModel

logger = logging.getLogger(__name__)
DEFAULT_CACHE_DIR = Path(HF_HOME) / "paraclip"
FEW = 256  # so many pictures are decoded here: starting workers would take longer


def weights_key(modules: Sequence[nn.Module], *descriptions: str) -> str:
    """Hash of all that decides an embedding: weights with their dtypes, configuration, preprocessing."""
    digest = hashlib.sha256("\n".join(descriptions).encode())
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def tower_key(model: CLIPModel, image_processor: BaseImageProcessor) -> str:
    """`weights_key` of a CLIP's vision tower: weights, vision configuration, image processor."""
    return weights_key(
        (model.vision_model, model.visual_projection),
        model.config.vision_config.to_json_string() + image_processor.to_json_string(),
    )


class EmbeddingCache:
    """A SQLite file of vectors by the digest of what they embed. Every `put` is durable."""

    def __init__(self, path: Path, dtype: type):
        path.parent.mkdir(parents=True, exist_ok=True)
        self._dtype = dtype
        self._connection = sqlite3.connect(path, timeout=60)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS embeds (picture TEXT PRIMARY KEY, embed BLOB NOT NULL)")

    def __enter__(self) -> EmbeddingCache:
        return self

    def __exit__(self, *_) -> None:
        self._connection.close()

    def known(self) -> set[str]:
        return {digest for (digest,) in self._connection.execute("SELECT picture FROM embeds")}

    def put(self, digests: Sequence[str], embeds: np.ndarray) -> None:
        """`embeds` is (n, dim), a row a digest."""
        rows = map(np.ndarray.tobytes, embeds.astype(self._dtype))
        with self._connection:  # one transaction
            self._connection.executemany("INSERT OR REPLACE INTO embeds VALUES (?, ?)", zip(digests, rows))

    def get(self, digests: Sequence[str]) -> np.ndarray:
        """(n, dim). KeyError where one is not there."""
        rows = []
        for digest in digests:
            found = self._connection.execute("SELECT embed FROM embeds WHERE picture = ?", (digest,)).fetchone()
            if found is None:
                raise KeyError(digest)
            rows.append(np.frombuffer(found[0], dtype=self._dtype))
        return np.stack(rows)


def embed_pictures(
    pictures: Sequence[dict],
    preprocess: Callable[[Image.Image], Tensor],
    embed: Callable[[Tensor], Tensor],
    cache: EmbeddingCache,
    *,
    batch_size: int = 64,
    num_workers: int | None = None,
) -> tuple[list[str], dict[str, str]]:
    """Embed into `cache` what it does not know yet; decoding runs in worker processes beside the model.

    Args:
        pictures: each `{"path": str | None, "bytes": bytes | None}`, as `datasets.Image(decode=False)` gives them, and
            optionally `"box"`: (left, upper, right, lower) to crop to.
        preprocess: RGB picture -> (3, height, width). Must be picklable.
        embed: (n, 3, height, width) -> (n, dim).
        num_workers: decoding processes; None: one a core but one, at most 8. Few pictures are decoded in this process.

    Returns:
        the digest of each picture, and what is wrong with those that could not be read: digest -> one sentence.
    """
    if num_workers is None:
        num_workers = 0 if len(pictures) <= FEW else min(8, (os.cpu_count() or 1) - 1)
    known = cache.known()
    digests, problems, batch = [], {}, {}

    def flush() -> None:
        with torch.inference_mode():
            cache.put(list(batch), embed(torch.stack(list(batch.values()))).float().cpu().numpy())
        batch.clear()

    decoded = DataLoader(
        Decoder(pictures, preprocess, frozenset(known)),
        batch_size=None,
        num_workers=num_workers,
        prefetch_factor=batch_size if num_workers else None,
    )
    for digest, pixel_values, problem in tqdm(decoded, desc="Embedding pictures", leave=False):
        digests.append(digest)
        if problem:
            problems[digest] = problem
        elif digest not in known:
            known.add(digest)
            batch[digest] = pixel_values
            if len(batch) == batch_size:
                flush()
    if batch:
        flush()
    return digests, problems


class Decoder(Dataset):
    """Item i: (digest, pixel values or None where the digest is known, problem or "")."""

    def __init__(self, pictures: Sequence[dict], preprocess: Callable, known: frozenset[str]):
        self._pictures, self._preprocess, self._known = pictures, preprocess, known

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, i: int) -> tuple[str, Tensor | None, str]:
        picture = self._pictures[i]
        name, data, box = picture["path"] or f"of row {i}", picture["bytes"], picture.get("box")
        if data is None:
            try:
                data = Path(name).read_bytes()
            except OSError:
                # missing files stay apart by name
                return hashlib.sha256(name.encode()).hexdigest(), None, f"cannot find picture {name}"
        digest = hashlib.sha256(data + repr(box).encode() if box else data).hexdigest()
        if digest in self._known:
            return digest, None, ""
        try:
            image = open_picture(data)
            return digest, self._preprocess(image.crop(box) if box else image), ""
        # what Pillow raises for broken files: OSError mostly, others from single decoders
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, Warning) as error:
            return digest, None, f"cannot read picture {name}: {error}"


def open_picture(data: bytes) -> Image.Image:
    """Decode to RGB. A decompression bomb (over 89 megapixels, Pillow's limit) is refused before it is decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data)).convert("RGB")


class PixelValues:
    """An image processor as `preprocess` of `embed_pictures`; a class, so that worker processes can be given it."""

    def __init__(self, image_processor: BaseImageProcessor):
        self._image_processor = image_processor

    def __call__(self, image: Image.Image) -> Tensor:
        return self._image_processor(image, return_tensors="pt")["pixel_values"][0]


def add_image_embeds(
    dataset: datasets.Dataset,
    model: CLIPModel,
    image_processor: BaseImageProcessor,
    *,
    cache_dir: str | Path = DEFAULT_CACHE_DIR,
    batch_size: int = 64,
    num_workers: int | None = None,
    skip_bad_images: bool = False,
    bf16: bool = False,
    runner: str = "local",
) -> datasets.Dataset:
    """Add the column `image_embeds`, float16[projection_dim], L2-normalised, from the column `image`, which it drops.

    A dataset that has `image_embeds` already is returned as it is, but for `image`.

    Args:
        num_workers: see `embed_pictures`; of the local runner only.
        bf16: run the tower under bfloat16 autocast. These embeddings are cached apart from those in float32.
        runner: "ray" spreads the pictures over the machines of a Ray cluster.

    Raises:
        ValueError: a picture cannot be read (named); with `skip_bad_images` its rows are dropped and counted instead.
    """
    if "image_embeds" in dataset.column_names:
        dim = len(dataset[0]["image_embeds"])
        if dim != model.config.projection_dim:
            raise ValueError(
                f"the column image_embeds holds vectors of {dim} numbers, but the model projects to "
                f"{model.config.projection_dim}: they were made with another model. Remove the column to embed anew."
            )
        return dataset.remove_columns([name for name in dataset.column_names if name == "image"])

    def embed(pixel_values: Tensor) -> Tensor:
        pixel_values = pixel_values.to(model.device, model.dtype)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            embeds = model.get_image_features(pixel_values=pixel_values).pooler_output
        return F.normalize(embeds.float(), dim=-1)

    pictures, picture_of_row = _distinct(dataset)
    file = Path(cache_dir) / f"image_embeds-{tower_key(model, image_processor)}{'-bf16' * bf16}.sqlite"
    with EmbeddingCache(file, np.float16) as cache:
        given = pictures, PixelValues(image_processor), embed, cache
        if runner == "ray":
            from .ray_runner import embed_pictures_on_ray  # ray is an extra

            digests, problems = embed_pictures_on_ray(*given, batch_size=batch_size)
        else:
            digests, problems = embed_pictures(*given, batch_size=batch_size, num_workers=num_workers)
        if problems and not skip_bad_images:
            raise ValueError(
                f"{next(iter(problems.values()))} ({len(problems)} bad in all). Repair it, or pass "
                "--skip_bad_images to leave out the rows of such pictures."
            )
        for problem in problems.values():
            logger.warning("%s: its rows are left out", problem)
        good = [row for row, picture in enumerate(picture_of_row) if digests[picture] not in problems]
        if problems:
            logger.warning("%d bad pictures, %d rows left out", len(problems), len(dataset) - len(good))
            dataset = dataset.select(good)
        if not good:
            raise ValueError("no picture could be read, so there is nothing to train on")
        embeds = cache.get([digests[picture_of_row[row]] for row in good])
    feature = datasets.List(datasets.Value("float16"), length=embeds.shape[1])
    return dataset.remove_columns("image").add_column("image_embeds", list(embeds), feature=feature)


class _ImageColumn(Sequence):
    """The pictures of some rows of a data set, undecoded."""

    def __init__(self, encoded: datasets.Dataset, rows: list[int]):
        self._encoded, self._rows = encoded, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> dict:
        picture = self._encoded[self._rows[i]]["image"]
        return picture if picture["path"] else {**picture, "path": f"of row {self._rows[i]}"}


def _distinct(dataset: datasets.Dataset) -> tuple[_ImageColumn, list[int]]:
    """The pictures to look at and, for each row, which of them is its own: a file that many rows name is read once."""
    encoded = dataset.select_columns("image").cast_column("image", datasets.Image(decode=False))
    rows, picture_of_row, seen = [], [], {}
    for row, (path, is_file) in enumerate(_paths(encoded)):
        picture = seen.setdefault(path, len(rows)) if is_file else len(rows)
        if picture == len(rows):
            rows.append(row)
        picture_of_row.append(picture)
    return _ImageColumn(encoded, rows), picture_of_row


def _paths(encoded: datasets.Dataset):
    """(path, whether the row holds no bytes of its own) a row, without touching the bytes."""
    for batch in encoded.with_format("arrow").iter(batch_size=10_000):
        column = batch["image"].combine_chunks()
        yield from zip(column.field("path").to_pylist(), column.field("bytes").is_null().to_pylist())
