"""fastembed, Qdrant's client: the folder that `TextEmbedding` reads for its CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from .onnx import NEEDS, run, write_onnx
from .tower import Tower, special_tokens, tokenize, write_config, write_json, write_tokenizer

__all__ = ["INSTALL", "MARKS", "NEEDS", "VECTORS", "encode", "export"]

VECTORS = "unit"  # as the vectors of Qdrant's own export are
MODEL = "model.onnx"
MARKS = (MODEL, "config.json")  # the second is not in the folder of Immich that has the first
INSTALL = """\
model = TextEmbedding("Qdrant/clip-ViT-B-32-text", specific_model_path="{output}")
vector = next(iter(model.embed([query])))  # {dim} numbers, normalised
Search the collection that holds the base's vectors of pictures; it stays as it is."""


def export(folder: str | Path, tower: Tower, output: Path) -> None:
    """Write the folder: `input_ids`, int64 (n, length) -> `text_embeds`, float (n, dim), normalised.

    Raises:
        InputError: it is a SigLIP.
    """
    if tower.is_siglip:
        raise InputError(f"{folder} is a SigLIP, and fastembed reads none.")
    write_onnx(tower, output / MODEL, unit=True)
    write_tokenizer(folder, tower, output)
    write_json(output / "special_tokens_map.json", special_tokens(tower))
    write_config(folder, output)


def encode(output: Path, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Texts -> (n, dim)."""
    ids, mask = tokenize(output, texts)
    return {MODEL: run(output / MODEL, [{"input_ids": ids, "attention_mask": mask}])}
