"""The models under test, any CLIP or a sentence encoder to anchor with: texts and pictures in, vectors out.

| a model                                          | its towers                             |
|--------------------------------------------------|----------------------------------------|
| `clip`, `vision-text-dual-encoder`, `siglip`     | `TransformersTowers`                   |
| a sentence encoder                               | `sentence_encoders.SentenceTowers`     |
| `openclip:...`                                   | `open_clip.OpenClipTowers`             |

Each distinct text and picture is encoded once per model, whatever the number of tasks and of runs: vectors are kept in
files keyed by the weights and the content (`modeling_paraclip.embedding_cache`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedModel

from modeling_paraclip.architectures import CHUNK_TOKENS, DUAL_ENCODERS, encode_texts
from modeling_paraclip.compatibility import check_compatible
from modeling_paraclip.embedding_cache import (
    DEFAULT_CACHE_DIR,
    EmbeddingCache,
    embed_pictures,
    embed_texts,
    image_key,
    text_key,
)
from modeling_paraclip.errors import InputError, one_line
from modeling_paraclip.pictures import PixelValues
from modeling_paraclip.publish import interpolate
from modeling_paraclip.weights import commit_of, open_config, open_model, open_processor

from .data import is_unicode
from .open_clip import PREFIX, OpenClipTowers
from .sentence_encoders import SentenceTowers


class TransformersTowers:
    """A dual encoder of `architectures.DUAL_ENCODERS`. Texts go through the encoder that training uses."""

    def __init__(self, model: PreTrainedModel, tokenizer, image_processor, max_tokens: int = CHUNK_TOKENS):
        self.model = model.eval()
        self._tokenizer, self._max_tokens = tokenizer, max_tokens
        self.preprocess: Callable[[Image.Image], Tensor] = PixelValues(image_processor)
        self.text_key, self.image_key = text_key(model, tokenizer), image_key(model, image_processor)

    def embed_texts(self, texts: list[str], name: str) -> np.ndarray:
        """(n, dim), L2-normalised. `name` is shown on the progress bar."""
        return encode_texts(self.model, self._tokenizer, texts, max_tokens=self._max_tokens, name=name).numpy()

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n, dim)."""
        pixel_values = pixel_values.to(self.model.device, self.model.dtype)
        return self.model.get_image_features(pixel_values=pixel_values).pooler_output


Towers: TypeAlias = TransformersTowers | SentenceTowers | OpenClipTowers


class Encoder:
    """A name and its towers: `texts(list)` and `pictures(list)` give L2-normalised float32 arrays.

    Attributes:
        about: where its figures come from: `model`, a Hub id or the name of a folder; `revision`, a commit of the Hub
            or a hash of the weights and of all else that decides a vector; `dtype` and `device`.

    Args:
        name: shown in tables.
        towers: what encodes.
        source: for `about`. Default: `name`.
        revision: for `about`. Default: the hash.
        cache_dir: folder of the caches of embeddings.
        keep_texts: whether texts are kept between runs. A model in training would leave one file per evaluation.
        num_workers: decoding processes, see `embed_pictures`.
    """

    def __init__(
        self,
        name: str,
        towers: Towers,
        *,
        source: str | None = None,
        revision: str | None = None,
        cache_dir: str | Path = DEFAULT_CACHE_DIR,
        keep_texts: bool = True,
        num_workers: int | None = None,
    ):
        self.name = name
        self.has_images = towers.preprocess is not None
        self._towers, self._num_workers = towers, num_workers
        weight = next(towers.model.parameters())
        hashes = dict.fromkeys(key for key in (towers.text_key, towers.image_key) if key)
        self.about = {
            "model": source or name,
            "revision": revision or f"sha256:{'+'.join(hashes)}",
            "dtype": str(weight.dtype).removeprefix("torch."),
            "device": weight.device.type,
        }
        cache_dir = Path(cache_dir)
        # keyed by the image tower alone: a base and what was tuned from it share their pictures
        self._image_file = cache_dir / f"eval-image-{towers.image_key}.sqlite"
        if not keep_texts:
            self._temporary = tempfile.TemporaryDirectory()
            cache_dir = Path(self._temporary.name)
        self._text_file = cache_dir / f"eval-text-{towers.text_key}.sqlite"

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, dim) of n texts.

        Raises:
            InputError: one is empty or no Unicode, e.g. the name of a folder of a class; or its vector is not finite,
                or zero.
        """
        for text in texts:
            if not text.strip():
                raise InputError("an empty text cannot be encoded.")
            if not is_unicode(text):
                raise InputError(f"{text[:80]!r} cannot be encoded: it has bytes that are not UTF-8.")
        with EmbeddingCache(self._text_file, np.float32, self.name) as cache:
            return embed_texts(texts, lambda new: self._towers.embed_texts(new, one_line(self.name)), cache)

    def pictures(self, pictures: Sequence[Mapping]) -> np.ndarray:
        """(n, dim) of n pictures as `embed_pictures` takes them.

        Raises:
            InputError: there is no image tower; pictures cannot be read; or a vector is not finite, or zero.
        """
        towers = self._towers
        if isinstance(towers, SentenceTowers):
            raise InputError(f"{self.name} has no image tower.")
        with EmbeddingCache(self._image_file, np.float32, self.name) as cache:
            digests, problems = embed_pictures(
                pictures,
                towers.preprocess,
                lambda pixel_values: F.normalize(towers.embed_images(pixel_values).float(), dim=-1),
                cache,
                num_workers=self._num_workers,
            )
            if problems:
                shown = "; ".join(list(problems.values())[:3])
                raise InputError(f"{len(problems)} bad pictures: {shown}. Repair or remove them.")
            return cache.get(digests)


def load_encoder(
    name: str,
    *,
    device: str | None = None,
    dtype: str = "float32",
    max_tokens: int = CHUNK_TOKENS,
    **kwargs,
) -> Encoder:
    """Open a model from a folder or the Hub, or one of open_clip by its `openclip:` name, see there. No remote code.

    Weights are safetensors, or what torch's `weights_only` reads where open_clip has nothing else.

    Args:
        device: by default a GPU where there is one.
        dtype: "float32" or "bfloat16".
        max_tokens: how many tokens of text are encoded at a time.
        kwargs: of `Encoder`.

    Raises:
        InputError: it cannot be opened.
    """
    if name.startswith(PREFIX):
        folder = name.removeprefix(f"{PREFIX}local-dir:")
        shown = name if folder == name else _name_of(folder)
        return Encoder(shown, _placed(OpenClipTowers(name, dtype, max_tokens), device), **kwargs)
    config = open_config(name)
    towers: Towers
    if config.model_type in DUAL_ENCODERS:
        model, tokenizer, image_processor = _open(name, dtype)
        towers = TransformersTowers(model, tokenizer, image_processor, max_tokens)
    elif hasattr(config, "vision_config") or config.model_type.endswith("_text_model"):
        raise InputError(
            f"{name} is a model of type {config.model_type!r}; models with pictures have to be of type "
            f"{' or '.join(DUAL_ENCODERS)}, or of open_clip."
        )
    else:
        towers = SentenceTowers(name, config, dtype, max_tokens)
    if not os.path.isdir(name):
        kwargs |= {"source": name, "revision": commit_of(name)}
    return Encoder(_name_of(name), _placed(towers, device), **kwargs)


def load_between(
    base: str,
    tuned: str,
    alpha: float,
    *,
    device: str | None = None,
    dtype: str = "float32",
    max_tokens: int = CHUNK_TOKENS,
    **kwargs,
) -> Encoder:
    """`load_encoder` of the model whose text tower lies at `alpha` between two (WiSE-FT): 0 is `base`, 1 is `tuned`.

    Raises:
        InputError: one cannot be opened, or they are not of one base.
    """
    for name in (base, tuned):
        if name.startswith(PREFIX) or open_config(name).model_type not in DUAL_ENCODERS:
            raise InputError(f"{name} is not a dual encoder of transformers: only these are interpolated.")
    model, tokenizer, image_processor = _open(base, "float32")
    model.load_state_dict(interpolate(model, _open(tuned, "float32")[0], alpha), strict=False)
    towers = TransformersTowers(model.to(getattr(torch, dtype)), tokenizer, image_processor, max_tokens)
    return Encoder(f"{_name_of(tuned)}@{alpha:g}", _placed(towers, device), **kwargs)


def _name_of(model: str) -> str:
    """The last part of a path or Hub id, also of "." and "models/..": what tables show."""
    return os.path.basename(os.path.abspath(model)) or model


def _open(name: str, dtype: str) -> tuple:
    """(model, tokenizer, image processor) of a dual encoder."""
    model = open_model(DUAL_ENCODERS[open_config(name).model_type], name, dtype=getattr(torch, dtype))
    tokenizer, image_processor = (open_processor(name, part) for part in (AutoTokenizer, AutoImageProcessor))
    check_compatible(name, model, tokenizer, image_processor, may_collapse=True)
    return model, tokenizer, image_processor


def _placed(towers: Towers, device: str | None) -> Towers:
    """On a device. Not in another dtype: that of the weights is part of the keys."""
    towers.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return towers
