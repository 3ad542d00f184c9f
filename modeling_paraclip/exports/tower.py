"""What every export shares: the text tower, its tokenizer, and how a copy of it is compared with the original."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ..architectures import DUAL_ENCODERS, embedding_dim, is_text_weight, token_limit
from ..errors import InputError
from ..weights import (
    NOT_WEIGHTS,
    as_bytes,
    find_file,
    open_config,
    open_model,
    open_processor,
    read_json,
    weight_files,
)

# What is compared: 90 queries, then what breaks tokenizers, and what is longer than any text tower of CLIP reads
WHAT = (
    *("a dog", "two dogs running", "a red circle", "children playing football", "an old man with a hat", "a boat"),
    *("a woman reading", "people at a market", "a plate of food", "a yellow bus", "a bird in flight", "a cat asleep"),
    *("a bride and a groom", "snowy mountains", "a blue square above a green triangle"),
)
WHERE = ("", " on a beach", " in the street at night", " near a window", " seen from above", " in black and white")
ODD = (
    *(
        "",
        "  spaces   and\nlines ",
        "ALL CAPITALS!?",
        "it's 3.14 o'clock, isn't it",
        "naïve café in Zürich",
        "犬が走る",
    ),
    *("🐕🏖️", "https://example.org/a_b?c=d", "photograph " * 200, "a man, a plan, a canal; " * 30),
)
TEXTS = [*(what + where for what in WHAT for where in WHERE), *ODD]
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Tower:
    """A model whose text tower is exported, in float32 and in eval mode."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def config(self) -> Any:
        """The configuration of the text tower."""
        return self.model.config.text_config

    @property
    def is_clip(self) -> bool:
        """Whether it is CLIP's: causal, read at the end-of-text token, so that padding needs no mask."""
        return self.config.model_type == "clip_text_model"

    @property
    def is_siglip(self) -> bool:
        """Whether it is SigLIP's: padded to its limit, without a mask, and read at the last position."""
        return self.config.model_type == "siglip_text_model"

    @property
    def limit(self) -> int:
        """How many tokens a text may have."""
        return token_limit(self.model, self.tokenizer)

    @property
    def dim(self) -> int:
        """The length of a vector."""
        return embedding_dim(self.model)

    @property
    def output_name(self) -> str:
        """What readers of ONNX expect the vectors to be called."""
        return "pooler_output" if self.is_siglip else "text_embeds"

    def tokenize(self, texts: Sequence[str], padding: str = "longest") -> dict[str, Tensor]:
        """Texts -> what the tower takes, (n, longest) int64, padded on the right: `input_ids`, and `attention_mask`
        but for SigLIP.
        """
        encoded = self.tokenizer(
            list(texts),
            padding="max_length" if self.is_siglip else padding,
            padding_side="right",
            truncation=True,
            max_length=self.limit,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return {name: encoded[name] for name in ("input_ids", "attention_mask")[: 1 if self.is_siglip else 2]}

    def encode(self, texts: Sequence[str], vectors: str = "embeds") -> np.ndarray:
        """What torch computes, float32.

        Args:
            vectors: "embeds", (n, dim), not normalised; "unit", the same L2-normalised; or "states",
                (n, limit, hidden), the last states of all tokens, padding too, as pipelines of diffusers compute them.
        """
        with torch.inference_mode():
            if vectors == "states":
                input_ids = self.tokenize(texts, "max_length")["input_ids"]
                return self.model.text_model(input_ids=input_ids).last_hidden_state.numpy()
            embeds = self.model.get_text_features(**self.tokenize(texts)).pooler_output
        return (F.normalize(embeds, dim=-1) if vectors == "unit" else embeds).numpy()


def open_tower(folder: str | Path) -> Tower:
    """Open a folder or Hub model.

    Raises:
        InputError: it cannot be opened, or is no dual encoder.
    """
    kind = open_config(folder).model_type
    if kind not in DUAL_ENCODERS:
        raise InputError(
            f"{folder} is a model of type {kind!r}: what is exported is of type {', '.join(DUAL_ENCODERS)}."
        )
    model = open_model(DUAL_ENCODERS[kind], folder, dtype=torch.float32).eval()
    return Tower(model, open_processor(folder, AutoTokenizer))


def need(*packages: str, extra: str = "export") -> None:
    """InputError unless the packages are installed."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise InputError(f"this export needs {', '.join(missing)}: pip install 'paraclip[{extra}]'")


def write_tokenizer(folder: str | Path, tower: Tower, output: Path) -> None:
    """Write `tokenizer.json` as it is, and a `tokenizer_config.json` with what readers of it ask for.

    Raises:
        InputError: there is none, and none can be written (of SentencePiece).
    """
    source = find_file(folder, "tokenizer.json")
    if source is None:  # vocab.json and merges.txt, as in models of 2021
        tower.tokenizer.save_pretrained(output)
        for other in ("special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"):
            (output / other).unlink(missing_ok=True)
        if not (output / "tokenizer.json").is_file():
            raise InputError(f"{folder} has no tokenizer.json, which is all that other applications read of it.")
    else:
        shutil.copyfile(source, output / "tokenizer.json")
    named = find_file(folder, "tokenizer_config.json")
    config = read_json(named) if named else {}
    for private in ("name_or_path", "auto_map"):
        config.pop(private, None)
    config |= {"tokenizer_class": config.get("tokenizer_class") or type(tower.tokenizer).__name__}
    write_json(output / "tokenizer_config.json", config | special_tokens(tower) | {"model_max_length": tower.limit})


def write_config(folder: str | Path, output: Path) -> None:
    """Write the model's `config.json`, without a path of this machine, nor a hook for remote code."""
    source = find_file(folder, "config.json")
    assert source is not None  # the model was opened
    config = read_json(source)
    write_json(output / "config.json", {k: v for k, v in config.items() if k not in ("_name_or_path", "auto_map")})


def special_tokens(tower: Tower) -> dict[str, str]:
    """The special tokens by name, e.g. `pad_token`."""
    return {name: str(token) for name, token in tower.tokenizer.special_tokens_map.items() if name.endswith("_token")}


def write_json(path: Path, content: dict) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def tokenize(folder: Path, texts: Sequence[str], length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Texts -> ids and mask, (n, longest or `length`) int64, as applications do it: with nothing but the two files."""
    config = read_json(folder / "tokenizer_config.json")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    pad = config["pad_token"]
    tokenizer.enable_truncation(config["model_max_length"])
    tokenizer.enable_padding(length=length, pad_token=pad, pad_id=tokenizer.token_to_id(pad))
    encoded = tokenizer.encode_batch(list(texts))
    return np.array([text.ids for text in encoded]), np.array([text.attention_mask for text in encoded])


def largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest absolute difference between two arrays; infinite where they have other shapes, or are not finite."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max())


def ranking_overlap(found: np.ndarray, expected: np.ndarray, k: int = 10) -> float:
    """AO@k in percent: how much two versions of (n, dim) vectors agree on which others of the texts are nearest.

    Each text, in either version, is a query; the gallery is all other texts in the version that is expected.
    """
    gallery = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    ranked = []
    for queries in (found, expected):
        similarity = queries @ gallery.T
        np.fill_diagonal(similarity, -np.inf)
        ranked.append(np.argsort(-similarity, axis=1, kind="stable")[:, :k])
    shared = [len({*a[:d]} & {*b[:d]}) / d for a, b in zip(*ranked) for d in range(1, k + 1)]
    return 100 * float(np.mean(shared))


def check_image_tower(folder: str | Path, base: str | Path) -> int:
    """Find out whether all but the text tower is the base's, byte for byte. Returns how many tensors were compared.

    Raises:
        InputError: it is not.
    """
    ours, theirs = _image_side(folder), _image_side(base)
    differing = sorted(ours.keys() ^ theirs.keys())
    for name in ours.keys() & theirs.keys():
        mine, other = _read(ours[name], name), _read(theirs[name], name)
        if mine.dtype != other.dtype or mine.shape != other.shape or not torch.equal(as_bytes(mine), as_bytes(other)):
            differing.append(name)
    if differing:
        raise InputError(
            f"the image tower of {folder} is not that of {base}: {differing[0]} differs. Pictures that were embedded "
            f"with {base} would have to be embedded again; name the base that {folder} was trained from."
        )
    return len(ours)


def _image_side(name: str | Path) -> dict[str, Path]:
    """The file of each tensor that training never changes."""
    found = {}
    for file in weight_files(name):
        with safe_open(file, "pt") as weights:
            keys = weights.keys()
        found.update({key: file for key in keys if not is_text_weight(key) and not NOT_WEIGHTS.search(key)})
    return found


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, "pt") as weights:
        return weights.get_tensor(name)
