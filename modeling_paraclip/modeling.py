"""CLIP with three text views in one forward. A `ParaCLIPModel` is a `CLIPModel`: same weights, same names."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from tqdm.auto import tqdm
from transformers import AutoConfig, CLIPConfig, CLIPModel, PreTrainedTokenizerBase

from .losses import ParaCLIPLoss

BASE_MODEL_DIR = Path(__file__).parent / "base"  # the embedded base CLIP; see scripts/train_base_clip.py
CHUNK_COST = 32  # what starting one more chunk costs, in tokens: its share of launches and of casting the weights


class ParaCLIPModel(CLIPModel):
    """`CLIPModel` whose forward computes the loss of the paper. `load_clip` opens one and freezes its image side.

    Set `loss` (a `ParaCLIPLoss`, weights 1 by default) to change the terms' weights. With `vision=False` there is no
    vision tower: training on image embeddings does not need it.
    """

    def __init__(self, config: CLIPConfig, vision: bool = True):
        super().__init__(config)
        self.loss = ParaCLIPLoss()
        if not vision:
            del self.vision_model, self.visual_projection
            self._keys_to_ignore_on_load_unexpected = {r"^vision_model\.", r"^visual_projection\."}

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

    def encode_chunks(self, chunks: list[Tensor], recompute: bool = False) -> Tensor:
        """Chunks of texts, each (n, length) -> (all texts, dim) embeddings, at least float32, not normalised.

        Args:
            chunks: right-padded token ids; every chunk may have its own n and length.
            recompute: keep no activations; the backward encodes each chunk anew, with the random state it had, just
                before its gradient. Memory is that of one chunk, the gradient is the same, and a step costs a third
                more. (This is gradient caching, Gao et al. 2021, with autograd doing the bookkeeping.)
        """
        device = chunks[0].device.type
        # Autocast would share one bfloat16 copy of each weight between the chunks, and so sum the gradients of all
        # chunks in bfloat16. With a copy a chunk they are summed in float32.
        with torch.autocast(
            device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), cache_enabled=False
        ):
            embeds = torch.cat(
                [
                    checkpoint(self.encode_text, chunk, use_reentrant=False) if recompute else self.encode_text(chunk)
                    for chunk in chunks
                ]
            )
        return embeds.to(torch.promote_types(embeds.dtype, torch.float32))

    def forward(
        self,
        input_ids: Tensor | list[Tensor],
        image_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        group_ids: Tensor | None = None,
        text_index: Tensor | None = None,
        base_caption_embeds: Tensor | None = None,
        recompute: bool = False,
    ) -> dict[str, Tensor]:
        """The loss of a batch of triples.

        Args:
            input_ids: (batch, 3, length) token ids of x, x', x'', right-padded to the batch's longest text; or the
                distinct texts in chunks, each (n, length) and padded to its own longest, with
            text_index: (batch, 3) integers: which of the chunks' texts, counted through, is x, x', x''.
            image_embeds: (batch, dim), the frozen tower's output; or else
            pixel_values: (batch, 3, height, width), which goes through that tower here.
            group_ids: (batch,) integers, see `ParaCLIPLoss.forward`.
            base_caption_embeds: (batch, dim), only for the distillation term.
            recompute: see `encode_chunks`.

        Returns:
            The scalars of `ParaCLIPLoss` and `text_embeds` (batch, 3, dim), not normalised.
        """
        if image_embeds is None:
            if pixel_values is None:
                raise ValueError("a batch needs image_embeds or pixel_values")
            image_embeds = self.encode_image(pixel_values)
        if text_index is None:
            text_index = torch.arange(input_ids.shape[:2].numel(), device=input_ids.device).view(-1, 3)
            input_ids = [input_ids.flatten(0, 1)]
        text_embeds = self.encode_chunks(input_ids, recompute).index_select(0, text_index.flatten())
        text_embeds = text_embeds.unflatten(0, text_index.shape)
        outputs = self.loss(image_embeds, *text_embeds.unbind(dim=1), self.logit_scale, group_ids, base_caption_embeds)
        return {**outputs, "text_embeds": text_embeds}


def load_clip(
    model_name_or_path: str | Path, *, vision: bool = True, **hub_kwargs
) -> tuple[ParaCLIPModel, torch.dtype]:
    """Open a CLIP model of a folder or the Hub for training: float32, safetensors only, no remote code.

    Trained: `text_model`, `text_projection`. Frozen: `vision_model`, `visual_projection`, `logit_scale`.

    With `vision=False` the vision tower is neither built nor read.

    Raises:
        ValueError: it is not a CLIP model, or has no safetensors weights.
    """
    config = AutoConfig.from_pretrained(model_name_or_path, **hub_kwargs)
    if config.model_type != "clip":
        raise ValueError(
            f"{model_name_or_path} is a model of type {config.model_type!r}; ParaCLIP trains models of type 'clip'."
        )
    try:
        model = ParaCLIPModel.from_pretrained(
            model_name_or_path, dtype="auto", use_safetensors=True, vision=vision, **hub_kwargs
        )
    except OSError as error:
        raise ValueError(
            f"{model_name_or_path} has no safetensors weights that can be read; pickled weights are not opened, as "
            "they can run code. Convert them once where you trust them: model.save_pretrained(DIR) writes safetensors."
        ) from error
    # not in __init__: from_pretrained makes new parameters, all of which require a gradient
    model.requires_grad_(False)
    model.text_model.requires_grad_(True)
    model.text_projection.requires_grad_(True)
    return model.float()


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
    `max_tokens`; a text longer than that is a chunk of its own.

    Lengths share a chunk only where the padding costs less than one more chunk (`CHUNK_COST`). The division that
    costs least in all is found by dynamic programming over the distinct lengths.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    ordered = [lengths[i] for i in order]
    cuts = [0, *(bisect_right(ordered, length) for length in sorted(set(lengths)))]  # where the length changes
    costs, starts = [0], [0]  # by cut: the least cost of all texts before it, and where its last chunk starts
    for end in range(1, len(cuts)):
        cost, start = min(
            (costs[start] + (cuts[end] - cuts[start]) * ordered[cuts[end] - 1] + CHUNK_COST, start)
            for start in range(end)
        )
        costs.append(cost)
        starts.append(start)
    chunks: list[list[int]] = []
    end = len(cuts) - 1
    while end > 0:
        texts = order[cuts[starts[end]] : cuts[end]]
        most = max(1, max_tokens // ordered[cuts[end] - 1])
        parts = -(-len(texts) // most)  # as equal as can be: no small rest
        bounds = [len(texts) * part // parts for part in range(parts + 1)]
        chunks[:0] = [texts[a:b] for a, b in zip(bounds, bounds[1:])]
        end = starts[end]
    return chunks


def pad(input_ids: Sequence[Sequence[int]], pad_token_id: int) -> Tensor:
    """Lists of token ids -> (n, longest) int64, padded on the right."""
    longest = max(map(len, input_ids))
    return torch.tensor([[*ids, *[pad_token_id] * (longest - len(ids))] for ids in input_ids])
