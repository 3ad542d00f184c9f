"""The models under test, any CLIP or a sentence encoder to anchor with: texts and pictures in, vectors out.

Each distinct text and picture is encoded once per model, whatever the number of tasks and of runs: vectors are kept in
files keyed by the weights and the content (`modeling_paraclip.embedding_cache`).
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, PreTrainedModel

from modeling_paraclip.architectures import CHUNK_TOKENS, DUAL_ENCODERS, encode_texts
from modeling_paraclip.compatibility import check_compatible
from modeling_paraclip.embedding_cache import (
    DEFAULT_CACHE_DIR,
    EmbeddingCache,
    describe_tokenizer,
    embed_pictures,
    embed_texts,
    image_key,
    text_key,
    weights_key,
)
from modeling_paraclip.errors import InputError, one_line
from modeling_paraclip.pictures import PixelValues
from modeling_paraclip.publish import interpolate
from modeling_paraclip.weights import open_config, open_model, open_processor

from .data import is_unicode


class TransformersTowers:
    """A dual encoder of `architectures.DUAL_ENCODERS` or, without image processor, a text encoder."""

    def __init__(self, model: PreTrainedModel, tokenizer, image_processor=None, max_tokens: int = CHUNK_TOKENS):
        self.model = model.eval()
        self._tokenizer, self._max_tokens = tokenizer, max_tokens
        self.preprocess: Callable[[Image.Image], Tensor] | None = None
        self.image_key = ""
        if image_processor is None:
            self.text_key = weights_key([model], model.config.to_json_string(), describe_tokenizer(tokenizer))
        else:
            self.preprocess = PixelValues(image_processor)
            self.text_key, self.image_key = text_key(model, tokenizer), image_key(model, image_processor)

    def embed_texts(self, texts: list[str], name: str) -> np.ndarray:
        """(n, dim), L2-normalised. `name` is shown on the progress bar."""
        return encode_texts(self.model, self._tokenizer, texts, max_tokens=self._max_tokens, name=name).numpy()

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n, dim)."""
        pixel_values = pixel_values.to(self.model.device, self.model.dtype)
        return self.model.get_image_features(pixel_values=pixel_values).pooler_output


class OpenClipTowers:
    """A model of open_clip (`pip install open_clip_torch`), named as there: architecture and pretrained weights."""

    def __init__(self, architecture: str, pretrained: str, max_tokens: int = CHUNK_TOKENS):
        if importlib.util.find_spec("open_clip") is None:
            raise InputError("models of open_clip need a package that is not installed: pip install open_clip_torch")
        import open_clip

        self.model, _, self.preprocess = open_clip.create_model_and_transforms(
            architecture, pretrained=pretrained or None, weights_only=True
        )
        self.model.eval()
        self._tokenizer = open_clip.get_tokenizer(architecture)
        # all texts have the length of the context: some of its models read the last position
        self._batch = max(1, max_tokens // self._tokenizer(["a"]).shape[1])
        self.text_key = self.image_key = weights_key([self.model], f"openclip:{architecture} {self.preprocess!r}")

    @torch.inference_mode()
    def embed_texts(self, texts: list[str], name: str) -> np.ndarray:
        """(n, dim), L2-normalised. `name` is shown on the progress bar."""
        rows, device = [], next(self.model.parameters()).device
        for start in tqdm(range(0, len(texts), self._batch), desc=f"{name}: texts", leave=False):
            ids = self._tokenizer(texts[start : start + self._batch]).to(device)
            rows.append(F.normalize(self.model.encode_text(ids).float(), dim=-1).cpu().numpy())
        return np.concatenate(rows)

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n, dim)."""
        parameter = next(self.model.parameters())
        return self.model.encode_image(pixel_values.to(parameter.device, parameter.dtype))


class Encoder:
    """A name and its towers: `texts(list)` and `pictures(list)` give L2-normalised float32 arrays.

    Args:
        name: shown in tables.
        towers: `TransformersTowers` or `OpenClipTowers`.
        cache_dir: folder of the caches of embeddings.
        keep_texts: whether texts are kept between runs. A model in training would leave one file per evaluation.
        num_workers: decoding processes, see `embed_pictures`.
    """

    def __init__(
        self,
        name: str,
        towers: TransformersTowers | OpenClipTowers,
        *,
        cache_dir: str | Path = DEFAULT_CACHE_DIR,
        keep_texts: bool = True,
        num_workers: int | None = None,
    ):
        self.name = name
        self.has_images = towers.preprocess is not None
        self._towers, self._num_workers = towers, num_workers
        cache_dir = Path(cache_dir)
        # keyed by the image tower alone: a base and what was tuned from it share their pictures
        self._image_file = cache_dir / f"eval-image-{towers.image_key}.sqlite"
        if not keep_texts:
            self._temporary = tempfile.TemporaryDirectory()
            cache_dir = Path(self._temporary.name)
        self._text_file = cache_dir / f"eval-text-{towers.text_key}.sqlite"

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, dim) of n texts. InputError where one is empty or no Unicode, e.g. the name of a folder of a class."""
        for text in texts:
            if not text.strip():
                raise InputError("an empty text cannot be encoded.")
            if not is_unicode(text):
                raise InputError(f"{text[:80]!r} cannot be encoded: it has bytes that are not UTF-8.")
        with EmbeddingCache(self._text_file, np.float32) as cache:
            return embed_texts(texts, lambda new: self._towers.embed_texts(new, one_line(self.name)), cache)

    def pictures(self, pictures: Sequence[dict]) -> np.ndarray:
        """(n, dim) of n pictures as `embed_pictures` takes them. InputError names those that cannot be read."""
        if self._towers.preprocess is None:
            raise InputError(f"{self.name} has no image tower.")
        with EmbeddingCache(self._image_file, np.float32) as cache:
            digests, problems = embed_pictures(
                pictures,
                self._towers.preprocess,
                lambda pixel_values: F.normalize(self._towers.embed_images(pixel_values).float(), dim=-1),
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
    """Open a model from a folder or the Hub, or `openclip:ARCH/PRETRAINED`. Safetensors only, no remote code.

    Args:
        device: by default a GPU where there is one.
        dtype: "float32" or "bfloat16".
        max_tokens: how many tokens of text are encoded at a time.
        kwargs: of `Encoder`.

    Raises:
        InputError: it cannot be opened.
    """
    towers: TransformersTowers | OpenClipTowers
    if name.startswith("openclip:"):
        architecture, _, pretrained = name.removeprefix("openclip:").partition("/")
        try:
            towers = OpenClipTowers(architecture, pretrained, max_tokens)
        except InputError:
            raise
        # open_clip raises nearly anything on an unknown name or a broken file
        except Exception as error:
            raise InputError(f"{name} cannot be opened as a model: {error}") from error
    else:
        model, tokenizer, image_processor = _open(name, dtype)
        towers = TransformersTowers(model, tokenizer, image_processor, max_tokens)
    _place(towers, device, dtype)
    return Encoder(name if name.startswith("openclip:") else _name_of(name), towers, **kwargs)


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
        if name.startswith("openclip:") or open_config(name).model_type not in DUAL_ENCODERS:
            raise InputError(f"{name} is not a dual encoder of transformers: only these are interpolated.")
    model, tokenizer, image_processor = _open(base, "float32")
    model.load_state_dict(interpolate(model, _open(tuned, "float32")[0], alpha), strict=False)
    towers = TransformersTowers(model, tokenizer, image_processor, max_tokens)
    _place(towers, device, dtype)
    return Encoder(f"{_name_of(tuned)}@{alpha:g}", towers, **kwargs)


def _name_of(model: str) -> str:
    """The last part of a path or Hub id, also of "." and "models/..": what tables show."""
    return os.path.basename(os.path.abspath(model)) or model


def _open(name: str, dtype: str) -> tuple:
    """(model, tokenizer, image processor or None)."""
    config = open_config(name)
    kind = DUAL_ENCODERS.get(config.model_type)
    if kind is None and hasattr(config, "vision_config"):
        raise InputError(
            f"{name} is a model of type {config.model_type!r}; models with pictures have to be of type "
            f"{' or '.join(DUAL_ENCODERS)}, or of open_clip."
        )
    model = open_model(kind or AutoModel, name, dtype=getattr(torch, dtype))
    tokenizer = open_processor(name, AutoTokenizer)
    image_processor = open_processor(name, AutoImageProcessor) if kind else None
    check_compatible(name, model, tokenizer, image_processor)
    return model, tokenizer, image_processor


def _place(towers: TransformersTowers | OpenClipTowers, device: str | None, dtype: str) -> None:
    towers.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"), getattr(torch, dtype))
