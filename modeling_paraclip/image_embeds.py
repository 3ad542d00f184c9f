"""The column `image_embeds`: the frozen tower's output for every picture, computed once and kept as data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

from .architectures import embedding_dim, encode_texts
from .embedding_cache import DEFAULT_CACHE_DIR, EmbeddingCache, embed_pictures, embed_texts, image_key, text_key
from .errors import InputError
from .pictures import PixelValues, read_file
from .ray_runner import embed_pictures_on_ray
from .remote import read_file_or_url

logger = logging.getLogger(__name__)


def add_image_embeds(
    dataset: datasets.Dataset,
    model: PreTrainedModel,
    image_processor: BaseImageProcessor,
    *,
    cache_dir: str | Path = DEFAULT_CACHE_DIR,
    batch_size: int = 64,
    num_workers: int | None = None,
    skip_bad_images: bool = False,
    bf16: bool = False,
    runner: str = "local",
    allow_remote_images: bool = False,
) -> datasets.Dataset:
    """Add the column `image_embeds`, float16[dim], L2-normalised, from the column `image`, which it drops.

    A data set that already has `image_embeds` is returned as it is, without `image`.

    Args:
        num_workers: see `embed_pictures`; of the local runner only.
        bf16: run the tower under bfloat16 autocast. These embeddings are cached apart from those in float32.
        runner: "ray" spreads the pictures over the machines of a Ray cluster.
        allow_remote_images: whether pictures that are named by a URL are requested, see `remote.read_file_or_url`.

    Raises:
        InputError: a picture cannot be read (named); with `skip_bad_images` its rows are dropped and counted instead.
            Or the embeddings that are there cannot be used.
    """
    if "image_embeds" in dataset.column_names:
        _check_embeds(dataset, embedding_dim(model))
        return dataset.remove_columns([name for name in dataset.column_names if name == "image"])

    def embed(pixel_values: Tensor) -> Tensor:
        pixel_values = pixel_values.to(model.device, model.dtype)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            embeds = model.get_image_features(pixel_values=pixel_values).pooler_output
        return F.normalize(embeds.float(), dim=-1)

    pictures, files, picture_of_row = _distinct(dataset)
    file = Path(cache_dir) / f"image_embeds-{image_key(model, image_processor)}{'-bf16' * bf16}.sqlite"
    with EmbeddingCache(file, np.float16, model.name_or_path) as cache:
        given = pictures, PixelValues(image_processor), embed, cache
        read = read_file_or_url if allow_remote_images else read_file
        if runner == "ray":
            digests, problems = embed_pictures_on_ray(*given, batch_size=batch_size, read=read)
        else:
            digests, problems = embed_pictures(
                *given, batch_size=batch_size, num_workers=num_workers, files=files, read=read
            )
        if problems and not skip_bad_images:
            raise InputError(
                f"{next(iter(problems.values()))} ({len(problems)} bad in total). Repair it, or pass "
                "--skip_bad_images to leave out the rows of such pictures."
            )
        for problem in problems.values():
            logger.warning("%s: its rows are left out", problem)
        good = [row for row, picture in enumerate(picture_of_row) if digests[picture] not in problems]
        if problems:
            logger.warning("%d bad pictures, %d rows left out", len(problems), len(dataset) - len(good))
            dataset = dataset.select(good)
        if not good:
            raise InputError("no picture could be read, so there is nothing to train on.")
        embeds = cache.get([digests[picture_of_row[row]] for row in good])
    feature = datasets.List(datasets.Value("float16"), length=embeds.shape[1])
    return dataset.remove_columns("image").add_column("image_embeds", list(embeds), feature=feature)


def _check_embeds(dataset: datasets.Dataset, dim: int) -> None:
    """Name the first row whose vector cannot be trained on, before training does."""
    first = 1
    kind = dataset.features["image_embeds"].feature
    if not (isinstance(kind, datasets.Value) and kind.dtype.startswith(("float", "int", "uint"))):
        raise InputError(f"the column image_embeds holds lists of {kind}. Each row of it must be a list of numbers.")
    for batch in dataset.select_columns("image_embeds").with_format("arrow").iter(batch_size=10_000):
        column = batch["image_embeds"].combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        if (lengths != dim).any():
            row = int((lengths != dim).argmax())
            raise InputError(
                f"the column image_embeds has a vector of {lengths[row]} numbers in row {first + row}, but the model "
                f"projects to {dim}. If it was made with another model, remove the column to compute it again."
            )
        # a null among the numbers becomes NaN
        vectors = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
        bad = ~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1)
        if bad.any():
            raise InputError(
                f"the vector image_embeds of row {first + int(bad.argmax())} is all zeros, or not all finite numbers. "
                "Repair or remove that row."
            )
        first += len(column)


class _ImageColumn(Sequence):
    """The pictures of some rows of a data set, undecoded."""

    def __init__(self, encoded: datasets.Dataset, rows: list[int]):
        self._encoded, self._rows = encoded, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i):
        picture = self._encoded[self._rows[i]]["image"]
        return picture if picture["path"] else {**picture, "path": f"of row {self._rows[i] + 1}"}


def _distinct(dataset: datasets.Dataset) -> tuple[_ImageColumn, list[str | None], list[int]]:
    """The pictures to look at, the files they are to be read from (None where the data set holds the bytes) and, for
    each row, which of them is its own. A file that many rows name is read once."""
    encoded = dataset.select_columns("image").cast_column("image", datasets.Image(decode=False))
    rows: list[int] = []
    files: list[str | None] = []
    picture_of_row: list[int] = []
    seen: dict[str | None, int] = {}
    for row, (path, is_file) in enumerate(_paths(encoded)):
        picture = seen.setdefault(path, len(rows)) if is_file else len(rows)
        if picture == len(rows):
            rows.append(row)
            files.append(path if is_file else None)
        picture_of_row.append(picture)
    return _ImageColumn(encoded, rows), files, picture_of_row


def _paths(encoded: datasets.Dataset) -> Iterator[tuple[str | None, bool]]:
    """For each row its path and whether it holds no bytes of its own, without touching the bytes."""
    for batch in encoded.with_format("arrow").iter(batch_size=10_000):
        for chunk in batch["image"].chunks:  # combining them would copy the bytes
            yield from zip(chunk.field("path").to_pylist(), chunk.field("bytes").is_null().to_pylist())


def add_base_caption_embeds(
    dataset: datasets.Dataset,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    cache_dir: str | Path = DEFAULT_CACHE_DIR,
) -> datasets.Dataset:
    """Add the column `base_caption_embeds`, float16[dim], which the distillation term needs.

    The vectors are kept in the cache, so that only one process per machine has to compute them.
    """

    def encode(texts: list[str]) -> np.ndarray:
        return encode_texts(base, tokenizer, texts).numpy()

    file = Path(cache_dir) / f"text_embeds-{text_key(base, tokenizer)}.sqlite"
    with EmbeddingCache(file, np.float16, base.name_or_path) as cache:
        embeds = embed_texts(dataset["caption"][:], encode, cache)
    feature = datasets.List(datasets.Value("float16"), length=embeds.shape[1])
    return dataset.add_column("base_caption_embeds", list(embeds), feature=feature)
