"""diffusers: `text_encoder/` of a pipeline that takes a `CLIPTextModel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoTokenizer, CLIPTextModel

from ..errors import InputError
from ..weights import WEIGHTS, weight_files
from .tower import Tower, write_json, write_tokenizer

NEEDS = ()
VECTORS = "states"
MARKS = ("text_encoder/config.json",)
INSTALL = """\
pipeline.text_encoder = CLIPTextModel.from_pretrained("{output}/text_encoder"): the base has to be the pipeline's own
text encoder, e.g. ViT-L/14 of OpenAI for Stable Diffusion 1.5.
Pipelines read the states of all tokens, but only the one at the end was trained: look at pictures first."""


def export(folder: str | Path, tower: Tower, output: Path) -> None:
    """Write `text_encoder/`, in the dtype that the weights have, and `tokenizer/`.

    Raises:
        InputError: the text tower is not CLIP's.
    """
    if not tower.is_clip:
        raise InputError(f"the text tower of {folder} is not CLIP's, which pipelines of diffusers take.")
    encoder, tokenizer = output / "text_encoder", output / "tokenizer"
    encoder.mkdir()
    tokenizer.mkdir()
    weights: dict[str, torch.Tensor] = {}
    for file in weight_files(folder):
        with safe_open(file, "pt") as source:
            names = [name for name in source.keys() if name.startswith("text_model.")]  # noqa: SIM118
            weights |= {name: source.get_tensor(name) for name in names if not name.endswith("position_ids")}
    save_file(weights, encoder / WEIGHTS, metadata={"format": "pt"})
    config = tower.config.to_dict()
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    for private in ("_name_or_path", "transformers_version"):
        config.pop(private, None)
    write_json(encoder / "config.json", config | {"architectures": ["CLIPTextModel"], "dtype": dtype})
    write_tokenizer(folder, tower, tokenizer)


def encode(output: Path, texts: Sequence[str]) -> dict[str, np.ndarray]:
    """Texts -> (n, limit, hidden), the last states of all tokens, which a pipeline reads."""
    model = CLIPTextModel.from_pretrained(output / "text_encoder", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(output / "tokenizer")
    inputs = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return {"text_encoder": model(inputs["input_ids"]).last_hidden_state.numpy()}
