"""Immich: `textual/` and `config.json` of a model's folder in its cache, read in its ONNX path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from .onnx import NEEDS, run, write_onnx
from .tower import Tower, tokenize, write_json, write_tokenizer

__all__ = ["INSTALL", "MARKS", "NEEDS", "VECTORS", "encode", "export"]

VECTORS = "unit"
MODEL = "textual/model.onnx"
MARKS = (MODEL,)
INSTALL = """\
Replace CACHE/clip/NAME/textual by {output}/textual. NAME is the model that Immich uses now, and must be the base.
Keep that NAME: another one makes Immich delete all embeddings. Keep the config.json that lies there, if there is one.
Restart immich-machine-learning. It reads these files in its ONNX path only, so not with armnn or rknpu."""


def export(folder: str | Path, tower: Tower, output: Path) -> None:
    """Write the folder: `text`, int32 (1, limit) -> `text_embedding`, float (1, dim), normalised.

    Raises:
        InputError: it is a SigLIP.
    """
    if tower.is_siglip:
        raise InputError(
            f"{folder} is a SigLIP: Immich changes such a model's texts by rules that are not tested here."
        )
    (output / "textual").mkdir()
    write_onnx(tower, output / MODEL, output_name="text_embedding", unit=True, fixed="text")
    write_tokenizer(folder, tower, output / "textual")
    text_cfg = {"context_length": tower.limit, "vocab_size": tower.config.vocab_size}
    write_json(output / "config.json", {"embed_dim": tower.dim, "text_cfg": text_cfg})


def encode(output: Path, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Texts -> (n, dim), one at a time and padded to the limit, as Immich does it."""
    length = json.loads((output / "config.json").read_text())["text_cfg"]["context_length"]
    ids, _ = tokenize(output / "textual", [" ".join(text.split()) for text in texts], length)
    return {MODEL: run(output / MODEL, [{"text": row[None].astype(np.int32)} for row in ids])}
