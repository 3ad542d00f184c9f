"""CLIP with three text views in one forward. A `ParaCLIPModel` is a `CLIPModel`: same weights, same names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import AutoConfig, CLIPConfig, CLIPModel, PreTrainedTokenizerBase

from .losses import ParaCLIPLoss

BASE_MODEL_DIR = Path(__file__).parent / "base"  # the embedded base CLIP; see scripts/train_base_clip.py


class ParaCLIPModel(CLIPModel):
    """`CLIPModel` whose forward computes the loss of the paper. `load_clip` opens one and freezes its image side.

    Set `loss` (a `ParaCLIPLoss`, weights 1 by default) to change the terms' weights.
    """

    def __init__(self, config: CLIPConfig):
        super().__init__(config)
        self.loss = ParaCLIPLoss()

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(n, length) right-padded token ids -> (n, dim) embeddings, not normalised.

        Takes no attention mask and needs none: attention is causal and the embedding is read at the end-of-text
        token, which padding on the right never reaches.
        """
        return self.get_text_features(input_ids=input_ids).pooler_output

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n, dim) embeddings, not normalised and without gradient."""
        with torch.no_grad():
            return self.get_image_features(pixel_values=pixel_values).pooler_output

    def forward(
        self,
        input_ids: Tensor,
        image_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        group_ids: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The loss of a batch of triples.

        Args:
            input_ids: (batch, 3, length) token ids of x, x', x'', right-padded to the batch's longest text.
            image_embeds: (batch, dim), the frozen tower's output; or else
            pixel_values: (batch, 3, height, width), which goes through that tower here.
            group_ids: (batch,) integers, see `ParaCLIPLoss.forward`.

        Returns:
            The four scalars of `ParaCLIPLoss` and `text_embeds` (batch, 3, dim), not normalised.
        """
        if image_embeds is None:
            if pixel_values is None:
                raise ValueError("a batch needs image_embeds or pixel_values")
            image_embeds = self.encode_image(pixel_values)
        text_embeds = self.encode_text(input_ids.flatten(0, 1)).unflatten(0, input_ids.shape[:2])
        outputs = self.loss(image_embeds, *text_embeds.unbind(dim=1), self.logit_scale, group_ids)
        return {**outputs, "text_embeds": text_embeds}


def load_clip(model_name_or_path: str | Path, **hub_kwargs) -> tuple[ParaCLIPModel, torch.dtype]:
    """Open a CLIP model of a folder or the Hub for training: float32, safetensors only, no remote code.

    Trained: `text_model`, `text_projection`. Frozen: `vision_model`, `visual_projection`, `logit_scale`.

    Returns the model and the dtype its weights were stored in, which `interop.publish` writes them back in.

    Raises:
        ValueError: it is not a CLIP model, or has no safetensors weights.
    """
    config = AutoConfig.from_pretrained(model_name_or_path, **hub_kwargs)
    if config.model_type != "clip":
        raise ValueError(
            f"{model_name_or_path} is a model of type {config.model_type!r}; ParaCLIP trains models of type 'clip'."
        )
    try:
        model = ParaCLIPModel.from_pretrained(model_name_or_path, dtype="auto", use_safetensors=True, **hub_kwargs)
    except OSError as error:
        raise ValueError(
            f"{model_name_or_path} has no safetensors weights that can be read; pickled weights are not opened, as "
            "they can run code. Convert them once where you trust them: model.save_pretrained(DIR) writes safetensors."
        ) from error
    # not in __init__: from_pretrained makes new parameters, all of which require a gradient
    model.requires_grad_(False)
    model.text_model.requires_grad_(True)
    model.text_projection.requires_grad_(True)
    stored_dtype = model.dtype
    return model.float(), stored_dtype


@torch.inference_mode()
def encode_texts(
    model: CLIPModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: list[str],
    max_tokens: int = 4096,
) -> Tensor:
    """Texts -> (n, dim) L2-normalised float32 embeddings on the CPU, in the order of `texts`.

    Encodes shortest first in chunks of at most `max_tokens`, padding included. Over-long texts are truncated.
    """
    training = model.training
    model.eval()
    input_ids = tokenizer(texts, truncation=True)["input_ids"]
    embeds = torch.empty(len(texts), model.config.projection_dim)
    with tqdm(total=len(texts), desc="Encoding texts", leave=False) as progress:
        for chunk in chunks_by_tokens([len(ids) for ids in input_ids], max_tokens):
            batch = pad([input_ids[i] for i in chunk], tokenizer.pad_token_id).to(model.device)
            embeds[chunk] = F.normalize(model.get_text_features(input_ids=batch).pooler_output.float(), dim=-1).cpu()
            progress.update(len(chunk))
    model.train(training)
    return embeds


def chunks_by_tokens(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Indices of all texts, shortest first, in chunks whose padded size (texts times the longest) is at most
    `max_tokens`; a text longer than that is a chunk of its own."""
    chunks: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        if chunks and (len(chunks[-1]) + 1) * lengths[i] <= max_tokens:
            chunks[-1].append(i)
        else:
            chunks.append([i])
    return chunks


def pad(input_ids: list[list[int]], pad_token_id: int) -> Tensor:
    """Lists of token ids -> (n, longest) int64, padded on the right."""
    longest = max(map(len, input_ids))
    return torch.tensor([ids + [pad_token_id] * (longest - len(ids)) for ids in input_ids])
