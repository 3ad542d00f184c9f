"""Whether a model, its tokenizer and its image processor belong together: tried out before the work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import BaseImageProcessor, PreTrainedModel, PreTrainedTokenizerBase

from .architectures import encode_texts, mean_pooling
from .errors import InputError
from .pictures import PixelValues

MAX_SIDE = 4096  # pixels that an image processor may ask for
TRIED = ("two dogs on a beach", "a red circle")


def check_compatible(
    name: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    image_processor: BaseImageProcessor | None = None,
    *,
    pooling: Callable[[Tensor, Tensor], Tensor] = mean_pooling,
    may_collapse: bool = False,
) -> None:
    """Put two texts and one grey picture through all of it, and say what does not fit by the name of the model.

    Args:
        name: the folder or Hub id that all of it came from.
        image_processor: None where no pictures are embedded.
        pooling: of a sentence encoder, see `encode_texts`.
        may_collapse: whether two texts may have the same vector: of a model that is only measured that is a result.

    Raises:
        InputError: they do not belong together, or do not work.
    """
    with torch.random.fork_rng():
        try:
            _check_tokenizer(model, tokenizer, pooling, may_collapse)
            if image_processor is not None:
                _check_image_processor(model, image_processor)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        # any number in a configuration can be wrong, and each fails in its own way
        except Exception as error:
            raise InputError(f"{name} does not work: {type(error).__name__}: {error}") from error


def _check_tokenizer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    pooling: Callable[[Tensor, Tensor], Tensor],
    may_collapse: bool,
) -> None:
    if not isinstance(tokenizer.model_max_length, int):
        raise InputError(f"its tokenizer's model_max_length {tokenizer.model_max_length!r} is no whole number.")
    text_model = getattr(model, "text_model", model)
    highest, rows = max(tokenizer.get_vocab().values()), text_model.get_input_embeddings().num_embeddings
    if highest >= rows:
        raise InputError(f"its tokenizer has tokens up to {highest}, but its text tower knows {rows}.")
    if len({tuple(ids) for ids in tokenizer(list(TRIED))["input_ids"]}) < len(TRIED):
        raise InputError("its tokenizer does not tell texts apart: is tokenizer.json there?")
    if hasattr(model, "logit_scale") and not torch.isfinite(model.logit_scale.exp()):
        raise InputError(
            f"its logit_scale {model.logit_scale.item():g} is too large: it is the logarithm of a factor."
        )
    vectors = encode_texts(model, tokenizer, TRIED, pooling=pooling)
    if not torch.isfinite(vectors).all():
        raise InputError("its vectors of texts are not finite.")
    if not may_collapse and torch.equal(vectors[0], vectors[1]):
        raise InputError("its vectors of two texts are the same.")


def _check_image_processor(model: Any, image_processor: BaseImageProcessor) -> None:
    for key, side in _sides(image_processor):
        if not isinstance(side, int) or not 0 < side <= MAX_SIDE:
            raise InputError(f"its image processor's {key} {side!r} is not within 1 and {MAX_SIDE} pixels.")
    pixel_values = PixelValues(image_processor)(Image.new("RGB", (64, 64), (128, 128, 128)))
    if not torch.isfinite(pixel_values).all():
        raise InputError("its image processor makes numbers that are not finite.")
    with torch.inference_mode():
        features = model.get_image_features(pixel_values=pixel_values[None].to(model.device, model.dtype))
    if not torch.isfinite(features.pooler_output).all():
        raise InputError("its vector of a picture is not finite.")


def _sides(image_processor: BaseImageProcessor) -> Iterator[tuple[str, Any]]:
    """What an image processor says of the size of what it makes."""
    for key in ("size", "crop_size", "pad_size"):
        value = getattr(image_processor, key, None)
        if value is not None:
            for side in dict(value).values() if not isinstance(value, int) else [value]:
                if side is not None:
                    yield key, side
