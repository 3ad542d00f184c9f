"""The frozen vision tower's output, computed once a picture and kept as data.

Kept in one SQLite file a tower, keyed by the bytes of each picture. The file's name hashes the tower's weights, its
configuration and the image processor's, so nothing stale is ever found. A run that is killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import io
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import datasets
import numpy as np
import torch
from huggingface_hub.constants import HF_HOME
from PIL import Image
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import BaseImageProcessor, CLIPModel

logger = logging.getLogger(__name__)
DEFAULT_CACHE_DIR = Path(HF_HOME) / "paraclip"


def tower_key(model: CLIPModel, image_processor: BaseImageProcessor) -> str:
    """Hash of all that decides a picture's embedding: vision weights, vision configuration, image processor."""
    digest = hashlib.sha256(model.config.vision_config.to_json_string().encode())
    digest.update(image_processor.to_json_string().encode())
    for module in (model.vision_model, model.visual_projection):
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:32]


def add_image_embeds(
    dataset: datasets.Dataset,
    model: CLIPModel,
    image_processor: BaseImageProcessor,
    *,
    cache_dir: str | Path = DEFAULT_CACHE_DIR,
    batch_size: int = 64,
    skip_bad_images: bool = False,
) -> datasets.Dataset:
    """Add the column `image_embeds`, float16[projection_dim], L2-normalised, from the column `image`, which it drops.

    A dataset that has `image_embeds` already is returned as it is, but for `image`.

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

    cache_dir = Path(cache_dir)
    cache_dir.mkdir(parents=True, exist_ok=True)
    bad: dict[str, str] = {}  # digest -> what is wrong with it
    with closing(sqlite3.connect(cache_dir / f"image_embeds-{tower_key(model, image_processor)}.sqlite")) as cache:
        cache.execute("PRAGMA journal_mode=WAL")
        cache.execute("CREATE TABLE IF NOT EXISTS embeds (picture TEXT PRIMARY KEY, embed BLOB NOT NULL)")
        encoded = dataset.select_columns("image").cast_column("image", datasets.Image(decode=False))
        known = {digest for (digest,) in cache.execute("SELECT picture FROM embeds")}
        row_digests: list[str] = []
        batch: dict[str, Image.Image] = {}
        for name, digest, data in tqdm(_pictures(encoded), total=len(encoded), desc="Embedding pictures"):
            row_digests.append(digest)
            if digest in known or digest in bad:
                continue
            try:
                batch[digest] = Image.open(io.BytesIO(data)).convert("RGB")
            # what Pillow raises for broken files: OSError mostly, others from single decoders
            except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
                problem = f"cannot read picture {name}: {error}" if data else f"cannot find picture {name}"
                if not skip_bad_images:
                    raise ValueError(
                        f"{problem}. Repair it, or pass --skip_bad_images to leave out the rows of such pictures."
                    ) from error
                bad[digest] = problem
                continue
            known.add(digest)
            if len(batch) == batch_size:
                _embed(batch, model, image_processor, cache)
                batch = {}
        if batch:
            _embed(batch, model, image_processor, cache)
        good = [row for row, digest in enumerate(row_digests) if digest not in bad]
        for problem in bad.values():
            logger.warning("%s: its rows are left out", problem)
        if bad:
            logger.warning("%d bad pictures, %d rows left out", len(bad), len(dataset) - len(good))
            dataset = dataset.select(good)
        if not good:
            raise ValueError("no picture could be read, so there is nothing to train on")
        embeds = np.stack([_fetch(cache, row_digests[row]) for row in good])
    feature = datasets.List(datasets.Value("float16"), length=embeds.shape[1])
    return dataset.remove_columns("image").add_column("image_embeds", list(embeds), feature=feature)


def _pictures(encoded: datasets.Dataset) -> Iterator[tuple[str, str, bytes]]:
    """(name to show, digest, file content) a row. A file that many rows share is read once while they are adjacent."""
    last_path, last = None, None
    for i, row in enumerate(encoded):
        path, data = row["image"]["path"], row["image"]["bytes"]
        if data is None and path == last_path and last is not None:
            yield last
            continue
        name = path or f"of row {i}"
        if data is None:
            try:
                data = Path(path).read_bytes()
            except OSError:
                data = b""
        digest = hashlib.sha256(data or name.encode()).hexdigest()  # missing files stay apart by name
        last_path, last = path, (name, digest, data)
        yield last


def _embed(batch: dict[str, Image.Image], model, image_processor, cache: sqlite3.Connection) -> None:
    pixel_values = image_processor(list(batch.values()), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        embeds = model.get_image_features(pixel_values=pixel_values.to(model.device, model.dtype)).pooler_output
    rows = F.normalize(embeds.float(), dim=-1).half().cpu().numpy()
    with cache:  # one transaction
        cache.executemany("INSERT OR REPLACE INTO embeds VALUES (?, ?)", zip(batch, map(np.ndarray.tobytes, rows)))


def _fetch(cache: sqlite3.Connection, digest: str) -> np.ndarray:
    (blob,) = cache.execute("SELECT embed FROM embeds WHERE picture = ?", (digest,)).fetchone()
    return np.frombuffer(blob, dtype=np.float16)
