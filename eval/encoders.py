"""The models under test, any CLIP or a sentence encoder to anchor with: texts and pictures in, vectors out.

Each distinct text and picture is encoded once a model, whatever the number of tasks and of runs: vectors are kept in
files keyed by the weights and the content (`modeling_paraclip.image_embeds.EmbeddingCache`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    CLIPModel,
    VisionTextDualEncoderModel,
)

from modeling_paraclip.image_embeds import DEFAULT_CACHE_DIR, EmbeddingCache, PixelValues, embed_pictures, weights_key
from modeling_paraclip.interop import interpolate
from modeling_paraclip.modeling import chunks_by_tokens, pad

logger = logging.getLogger(__name__)
PIECE = 4096  # so many texts are encoded between two writes to the cache


class TransformersTowers:
    """A `CLIPModel`, a `VisionTextDualEncoderModel`, or a text encoder, whose last states are mean-pooled."""

    def __init__(self, model, tokenizer, image_processor=None):
        self.model = model.eval()
        self._tokenizer = tokenizer
        self._has_two_towers = isinstance(model, (CLIPModel, VisionTextDualEncoderModel))
        config = getattr(model.config, "text_config", model.config)
        self._max_length = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", 512))
        self.preprocess = PixelValues(image_processor) if image_processor is not None else None
        if self._has_two_towers:
            text_modules = [model.text_model, model.text_projection]
            image_modules = [model.vision_model, model.visual_projection]
            vision = model.config.vision_config.to_json_string() + image_processor.to_json_string()
            self.image_key = weights_key(image_modules, vision)
        else:
            text_modules = [model]
        self.text_key = weights_key(text_modules, config.to_json_string(), tokenizer.backend_tokenizer.to_str())

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        ids = self._tokenizer(texts, verbose=False)["input_ids"]
        too_long = [i for i, text_ids in enumerate(ids) if len(text_ids) > self._max_length]
        if too_long:
            logger.warning(
                "%d of %d texts are truncated to %d tokens, as %r",
                *(len(too_long), len(texts), self._max_length, texts[too_long[0]][:60]),
            )
        return (
            [
                text_ids[: self._max_length - 1] + text_ids[-1:] if i in set(too_long) else text_ids
                for i, text_ids in enumerate(ids)
            ]
            if too_long
            else ids
        )

    def embed_texts(self, ids: list[list[int]]) -> Tensor:
        inputs = {
            "input_ids": pad(ids, self._tokenizer.pad_token_id or 0),
            "attention_mask": pad([[1] * len(text_ids) for text_ids in ids], 0),
        }
        inputs = {name: tensor.to(self.model.device) for name, tensor in inputs.items()}
        if isinstance(self.model, CLIPModel):  # causal: what is to the right of the end-of-text token is never seen
            inputs.pop("attention_mask")
        if self._has_two_towers:
            return self.model.get_text_features(**inputs).pooler_output
        mask = inputs["attention_mask"][..., None]
        return (self.model(**inputs).last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        pixel_values = pixel_values.to(self.model.device, self.model.dtype)
        return self.model.get_image_features(pixel_values=pixel_values).pooler_output


class OpenClipTowers:
    """A model of open_clip (`pip install open_clip_torch`), named as there: architecture and pretrained weights."""

    def __init__(self, architecture: str, pretrained: str):
        if importlib.util.find_spec("open_clip") is None:
            raise ValueError("models of open_clip need it: pip install open_clip_torch")
        import open_clip

        self.model, _, self.preprocess = open_clip.create_model_and_transforms(
            architecture, pretrained=pretrained or None, weights_only=True
        )
        self.model.eval()
        self._tokenizer = open_clip.get_tokenizer(architecture)
        self.text_key = self.image_key = weights_key([self.model], f"openclip:{architecture} {self.preprocess!r}")

    def tokenize(self, texts: list[str]) -> list[list[int]]:
        return self._tokenizer(texts).tolist()  # all of the context's length: some of its models pool the last place

    def embed_texts(self, ids: list[list[int]]) -> Tensor:
        return self.model.encode_text(torch.tensor(ids, device=self._device))

    def embed_images(self, pixel_values: Tensor) -> Tensor:
        parameter = next(self.model.parameters())
        return self.model.encode_image(pixel_values.to(parameter.device, parameter.dtype))

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device


class Encoder:
    """A name and its towers: `texts(list)` and `pictures(list)` give L2-normalised float32 arrays.

    Args:
        name: shown in tables.
        towers: `TransformersTowers` or `OpenClipTowers`.
        cache_dir: folder of the embedding caches.
        keep_texts: whether texts are kept between runs; a model in training would leave a file an evaluation.
        max_tokens: of a chunk of texts, padding included.
        num_workers: decoding processes, see `embed_pictures`.
    """

    def __init__(
        self,
        name: str,
        towers: TransformersTowers | OpenClipTowers,
        *,
        cache_dir: str | Path = DEFAULT_CACHE_DIR,
        keep_texts: bool = True,
        max_tokens: int = 4096,
        num_workers: int | None = None,
    ):
        self.name = name
        self.has_images = towers.preprocess is not None
        self._towers, self._max_tokens, self._num_workers = towers, max_tokens, num_workers
        cache_dir = Path(cache_dir)
        if self.has_images:  # keyed by the image tower alone: a base and what was tuned from it share their pictures
            self._image_file = cache_dir / f"eval-image-{towers.image_key}.sqlite"
        if not keep_texts:
            self._temporary = tempfile.TemporaryDirectory()
            cache_dir = Path(self._temporary.name)
        self._text_file = cache_dir / f"eval-text-{towers.text_key}.sqlite"

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """(n, dim) of n texts. ValueError where one is empty."""
        digests = {text: hashlib.sha256(text.encode()).hexdigest() for text in dict.fromkeys(texts)}
        if any(not text.strip() for text in digests):
            raise ValueError("an empty text cannot be encoded")
        with EmbeddingCache(self._text_file, np.float32) as cache:
            known = cache.known()
            new = [text for text, digest in digests.items() if digest not in known]
            with tqdm(total=len(new), desc=f"{self.name}: texts", leave=False, disable=not new) as progress:
                for start in range(0, len(new), PIECE):
                    piece = new[start : start + PIECE]
                    cache.put([digests[text] for text in piece], self._encode(piece, progress))
            embeds = cache.get(list(digests.values()))
        row = {text: i for i, text in enumerate(digests)}
        return embeds[[row[text] for text in texts]]

    @torch.inference_mode()
    def _encode(self, texts: list[str], progress: tqdm) -> np.ndarray:
        ids = self._towers.tokenize(texts)
        embeds: list = [None] * len(texts)
        for chunk in chunks_by_tokens([len(text_ids) for text_ids in ids], self._max_tokens):
            rows = F.normalize(self._towers.embed_texts([ids[i] for i in chunk]).float(), dim=-1).cpu().numpy()
            for i, row in zip(chunk, rows):
                embeds[i] = row
            progress.update(len(chunk))
        return np.stack(embeds)

    def pictures(self, pictures: Sequence[dict]) -> np.ndarray:
        """(n, dim) of n pictures as `embed_pictures` takes them. ValueError names those that cannot be read."""
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
                raise ValueError(f"{len(problems)} bad pictures: {shown}. Repair or remove them.")
            return cache.get(digests)


def load_encoder(name: str, *, device: str | None = None, dtype: str = "float32", **kwargs) -> Encoder:
    """Open a model of a folder or the Hub, or `openclip:ARCH/PRETRAINED`. Safetensors only, no remote code.

    Args:
        device: by default a GPU where there is one.
        dtype: "float32" or "bfloat16".
        kwargs: of `Encoder`.

    Raises:
        ValueError, OSError: it cannot be opened.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("openclip:"):
        towers = OpenClipTowers(*name.removeprefix("openclip:").partition("/")[::2])
    else:
        config = AutoConfig.from_pretrained(name)
        image_processor = None
        if config.model_type in ("clip", "vision-text-dual-encoder"):
            kind = CLIPModel if config.model_type == "clip" else VisionTextDualEncoderModel
            image_processor = AutoImageProcessor.from_pretrained(name)
        else:
            kind = AutoModel
        model = kind.from_pretrained(name, use_safetensors=True, dtype=getattr(torch, dtype))
        towers = TransformersTowers(model, AutoTokenizer.from_pretrained(name), image_processor)
    towers.model.to(device, getattr(torch, dtype))
    return Encoder(name if name.startswith("openclip:") else Path(name).name, towers, **kwargs)


def load_between(
    base: str, tuned: str, alpha: float, *, device: str | None = None, dtype: str = "float32", **kwargs
) -> Encoder:
    """`load_encoder` of the CLIP whose text tower lies at `alpha` between two (WiSE-FT): 0 is `base`, 1 is `tuned`.

    Raises:
        ValueError, OSError: one cannot be opened, or they are not of one base.
    """
    for name in (base, tuned):
        if name.startswith("openclip:") or AutoConfig.from_pretrained(name).model_type != "clip":
            raise ValueError(f"{name} is not a CLIP model of transformers: only these are interpolated")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    models = [CLIPModel.from_pretrained(name, use_safetensors=True, dtype=torch.float32) for name in (base, tuned)]
    model = interpolate(*models, alpha)
    towers = TransformersTowers(model, AutoTokenizer.from_pretrained(base), AutoImageProcessor.from_pretrained(base))
    towers.model.to(device, getattr(torch, dtype))
    return Encoder(f"{Path(tuned).name}@{alpha:g}", towers, **kwargs)
