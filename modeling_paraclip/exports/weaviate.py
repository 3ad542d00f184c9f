"""Weaviate's multi2vec-clip: a folder of sentence-transformers, as the version in its container reads it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPModel, CLIPProcessor

from ..errors import InputError
from ..publish import COPIED
from ..weights import find_file, read_json, weight_files
from .tower import Tower, write_config, write_json, write_tokenizer

NEEDS = ()
VECTORS = "embeds"
CLIP = "0_CLIPModel"
MARKS = (f"{CLIP}/config.json",)
INSTALL = """\
Mount {output} at /app/models/text of the multi2vec-clip container, and restart it. /app/models/clip stays as it is: it
embeds the pictures, and must be the base. (TEXT_MODEL_NAME is read when an image is built, not when it is started.)
Nothing is imported again: the vectors in Weaviate stay valid."""


def export(folder: str | Path, tower: Tower, output: Path) -> None:
    """Write the folder, with the model's own weights and with the files that transformers 4 asks for.

    Raises:
        InputError: it is not a CLIP: the container knows no other dual encoder.
    """
    if tower.model.config.model_type != "clip":
        raise InputError(f"{folder} is no CLIP, and the sentence-transformers of Weaviate's container reads no other.")
    clip = output / CLIP
    clip.mkdir()
    for file in weight_files(folder):
        shutil.copyfile(file, clip / file.name)
    for name in ("model.safetensors.index.json", *COPIED):
        if source := find_file(folder, name):
            shutil.copyfile(source, clip / name)
    write_tokenizer(folder, tower, clip)
    write_config(folder, clip)
    _write_older(clip)
    write_json(output / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
    modules = [{"idx": 0, "name": "0", "path": CLIP, "type": "sentence_transformers.models.CLIPModel"}]
    (output / "modules.json").write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")


def encode(output: Path, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Texts -> (n, dim), as sentence-transformers does it with this folder."""
    model = CLIPModel.from_pretrained(output / CLIP, dtype=torch.float32).eval()
    processor = CLIPProcessor.from_pretrained(output / CLIP)
    inputs = processor.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        states = model.text_model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        return {CLIP: model.text_projection(states.pooler_output).numpy()}


def _write_older(clip: Path) -> None:
    """Write what older versions of transformers read instead of `processor_config.json` and `tokenizer.json`."""
    processor = clip / "processor_config.json"
    if processor.is_file() and not (clip / "preprocessor_config.json").is_file():
        images = read_json(processor).get("image_processor", {})
        write_json(clip / "preprocessor_config.json", images)
    bpe = read_json(clip / "tokenizer.json")["model"]
    if "merges" in bpe and not (clip / "vocab.json").is_file():
        write_json(clip / "vocab.json", bpe["vocab"])
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in bpe["merges"]]
        (clip / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
