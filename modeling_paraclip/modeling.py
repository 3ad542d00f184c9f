"""CLIP with three text views in one forward. A `ParaCLIPModel` is a `CLIPModel`: same weights, same names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import AttentionInterface, AutoConfig, CLIPConfig, CLIPModel, PreTrainedTokenizerBase

from .losses import ParaCLIPLoss

BASE_MODEL_DIR = Path(__file__).parent / "base"  # the embedded base CLIP; see scripts/train_base_clip.py


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

    def encode_packed(self, input_ids: Tensor, lengths: list[int]) -> Tensor:
        """Texts back to back, without padding: (tokens,) token ids -> (texts, dim) embeddings, not normalised.

        What is done a token (projections, MLP, norms) runs over all tokens at once; attention runs over the texts of
        one length at a time, so texts should come sorted by length. Only the last token of a text is read, so the
        last layer does nothing else for the others but their keys and values.

        Args:
            input_ids: each text with its start and its end token; nothing follows the end token.
            lengths: tokens of each text.
        """
        position_ids = torch.cat([torch.arange(length) for length in lengths]).to(input_ids.device)
        buckets = [(length, len(list(group))) for length, group in groupby(lengths)]
        text_model = self.text_model
        # a token is a text of its own to all but the attention: (tokens, 1, width)
        hidden = text_model.embeddings(input_ids[:, None], position_ids=position_ids[:, None])
        implementation = text_model.config._attn_implementation
        text_model.config._attn_implementation = "paraclip_packed"
        try:
            for layer in text_model.encoder.layers[:-1]:
                hidden = layer(hidden, None, buckets=buckets)
        finally:
            text_model.config._attn_implementation = implementation
        ends = torch.tensor(lengths, device=hidden.device).cumsum(0) - 1
        hidden = _last_layer(text_model.encoder.layers[-1], hidden[:, 0], ends, buckets)
        return self.text_projection(text_model.final_layer_norm(hidden))

    def encode_chunks(self, chunks: list[Tensor], lengths: list[list[int]], recompute: bool = False) -> Tensor:
        """`encode_packed` of chunk after chunk -> (all texts, dim), at least float32.

        Args:
            recompute: gradient caching (Gao et al. 2021): keep no activations; the backward encodes each chunk anew,
                with the random state it had. Memory is that of one chunk, the gradient is the same, and a step costs
                a third more.
        """
        device = chunks[0].device.type
        weights = [p for p in self.parameters() if p.requires_grad] if recompute else []
        # Autocast would share one bfloat16 copy of each weight between the chunks, and so sum the gradients of all
        # chunks in bfloat16. With a copy a chunk they are summed in float32.
        with torch.autocast(
            device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), cache_enabled=False
        ):
            embeds = torch.cat(
                [
                    _Recomputed.apply(self.encode_packed, *chunk, *weights)
                    if recompute
                    else self.encode_packed(*chunk)
                    for chunk in zip(chunks, lengths)
                ]
            )
        return embeds.to(torch.promote_types(embeds.dtype, torch.float32))

    def forward(
        self,
        input_ids: Tensor | list[Tensor],
        image_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        group_ids: Tensor | None = None,
        lengths: list[list[int]] | None = None,
        text_index: Tensor | None = None,
        base_caption_embeds: Tensor | None = None,
        recompute: bool = False,
    ) -> dict[str, Tensor]:
        """The loss of a batch of triples.

        Args:
            input_ids: (batch, 3, length) token ids of x, x', x'', right-padded to the batch's longest text; or the
                distinct texts in chunks, each (tokens,), see `encode_packed`, with
            lengths: tokens of each text, a list a chunk; and
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
            text_embeds = self.encode_text(input_ids.flatten(0, 1)).unflatten(0, input_ids.shape[:2])
        else:
            text_embeds = self.encode_chunks(input_ids, lengths, recompute)
            text_embeds = text_embeds.index_select(0, text_index.flatten()).unflatten(0, text_index.shape)
        outputs = self.loss(image_embeds, *text_embeds.unbind(dim=1), self.logit_scale, group_ids, base_caption_embeds)
        return {**outputs, "text_embeds": text_embeds}


class _Recomputed(torch.autograd.Function):
    """`encode(input_ids, lengths)` without a graph; the backward runs it once more, with one.

    `torch.utils.checkpoint` either keeps a graph of empty nodes, between which the memory breaks up, or runs a
    backward that reaches the weights more than once, which DDP does not allow. Here the weights are inputs.
    """

    @staticmethod
    def forward(ctx, encode: Callable, input_ids: Tensor, lengths: list[int], *weights: Tensor) -> Tensor:
        device = input_ids.device
        ctx.call, ctx.weights = (encode, input_ids, lengths), weights
        ctx.autocast = (device.type, torch.get_autocast_dtype(device.type), torch.is_autocast_enabled(device.type))
        ctx.devices = [device] if device.type != "cpu" else []
        ctx.random_states = torch.get_rng_state(), [torch.get_device_module(d).get_rng_state(d) for d in ctx.devices]
        return encode(input_ids, lengths)

    @staticmethod
    def backward(ctx, grad: Tensor):
        encode, input_ids, lengths = ctx.call
        with torch.random.fork_rng(ctx.devices, device_type=input_ids.device.type):
            torch.set_rng_state(ctx.random_states[0])
            for device, state in zip(ctx.devices, ctx.random_states[1]):
                torch.get_device_module(device).set_rng_state(state, device)
            with torch.enable_grad(), torch.autocast(*ctx.autocast, cache_enabled=False):
                embeds = encode(input_ids, lengths)
        return None, None, None, *torch.autograd.grad(embeds, ctx.weights, grad, allow_unused=True)


def _attend(q: Tensor, k: Tensor, v: Tensor, **kwargs) -> Tensor:
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, **kwargs)
    # the CPU's bfloat16 kernel takes five times as long as its float32 one, backward
    with torch.autocast("cpu", enabled=False):
        q, k, v = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, **kwargs)


def _packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: float,
    dropout: float = 0.0,
    buckets: list[tuple[int, int]] | None = None,
    **_,
) -> tuple[Tensor, None]:
    """Causal attention within texts that lie back to back: each (tokens, heads, 1, dim) -> (tokens, 1, heads, dim)."""
    sizes = [length * n for length, n in buckets]
    parts = []
    # split, not slices: the gradient of a slice is as large as all tokens
    for (length, n), *qkv in zip(buckets, *(x[:, :, 0].split(sizes) for x in (query, key, value))):
        q, k, v = (x.unflatten(0, (n, length)).transpose(1, 2) for x in qkv)
        part = _attend(q, k, v, is_causal=True, scale=scaling, dropout_p=dropout)
        parts.append(part.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[:, None], None


AttentionInterface.register("paraclip_packed", _packed_attention)


def _last_layer(layer: nn.Module, hidden: Tensor, ends: Tensor, buckets: list[tuple[int, int]]) -> Tensor:
    """A `CLIPEncoderLayer` for the last token of each text only: (tokens, width) -> (texts, width)."""
    attention = layer.self_attn
    normed = layer.layer_norm1(hidden)
    key, value = attention.k_proj(normed), attention.v_proj(normed)
    query = attention.q_proj(normed.index_select(0, ends))
    texts, tokens = [n for _, n in buckets], [length * n for length, n in buckets]
    dropout, parts = attention.dropout if layer.training else 0.0, []
    for n, q, k, v in zip(texts, query.split(texts), key.split(tokens), value.split(tokens)):
        q, k, v = (x.view(n, -1, attention.num_heads, attention.head_dim).transpose(1, 2) for x in (q, k, v))
        part = _attend(q, k, v, scale=attention.scale, dropout_p=dropout)
        parts.append(part.transpose(1, 2).flatten(1))
    hidden = hidden.index_select(0, ends) + attention.out_proj(torch.cat(parts))
    return hidden + layer.mlp(layer.layer_norm2(hidden))


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
