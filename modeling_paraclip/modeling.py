"""CLIP with three text views in one forward. A `ParaCLIPModel` is a `CLIPModel`: same weights, same names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm
from transformers import AutoConfig, CLIPConfig, CLIPModel, PreTrainedTokenizerBase

from .losses import ParaCLIPLoss
from .packing import Chunk, QuickGELU, after_attention, before_attention, encode_packed

BASE_MODEL_DIR = Path(__file__).parent / "base"  # the embedded base CLIP; see scripts/train_base_clip.py


class ParaCLIPModel(CLIPModel):
    """`CLIPModel` whose forward computes the loss of the paper. `load_clip` opens one and freezes its image side.

    Set `loss` (a `ParaCLIPLoss`, weights 1 by default) to change the terms' weights. With `vision=False` there is no
    vision tower: training on image embeddings does not need it.
    """

    def __init__(self, config: CLIPConfig, vision: bool = True):
        super().__init__(config)
        # FSDP shards and gathers the model as one: encoding calls parts of layers, which have no hooks of their own
        self._no_split_modules = []
        self.loss = ParaCLIPLoss()
        self._before, self._after = before_attention, after_attention
        if config.text_config.hidden_act == "quick_gelu":
            for layer in self.text_model.encoder.layers:
                layer.mlp.activation_fn = QuickGELU()
        if not vision:
            del self.vision_model, self.visual_projection
            self._keys_to_ignore_on_load_unexpected = {r"^vision_model\.", r"^visual_projection\."}

    def get_input_embeddings(self) -> None:
        """None, so that accelerate does not shard the token embeddings apart (see `_no_split_modules`)."""

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

    def compile_layers(self, **kwargs) -> None:
        """`torch.compile` of what a layer does to each token, with the number of tokens left open: two graphs for the
        layers and two for the last one (twice that when recomputing), whatever the batches hold. `kwargs` are
        `torch.compile`'s."""
        self._before, self._after = (torch.compile(f, dynamic=True, **kwargs) for f in (self._before, self._after))

    def encode_chunks(self, chunks: list[Chunk], recompute: bool = False) -> Tensor:
        """`encode_packed` of chunk after chunk -> (all texts, dim), at least float32.

        Args:
            recompute: gradient caching (Gao et al. 2021): keep no activations; the backward encodes each chunk anew,
                with the random state it had. Memory is that of one chunk, the gradient is the same, and a step costs
                a third more.
        """

        def encode(chunk: Chunk) -> Tensor:
            return encode_packed(self, chunk, self._before, self._after)

        device = self.device.type
        weights = [p for p in self.parameters() if p.requires_grad] if recompute else []
        # Autocast would share one bfloat16 copy of each weight between the chunks, and so sum the gradients of all
        # chunks in bfloat16. With a copy a chunk they are summed in float32.
        with torch.autocast(
            device, torch.get_autocast_dtype(device), torch.is_autocast_enabled(device), cache_enabled=False
        ):
            embeds = torch.cat(
                [_Recomputed.apply(encode, chunk, *weights) if recompute else encode(chunk) for chunk in chunks]
            )
        return embeds.to(torch.promote_types(embeds.dtype, torch.float32))

    def forward(
        self,
        input_ids: Tensor | None = None,
        image_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        group_ids: Tensor | None = None,
        chunks: list[Chunk] | None = None,
        text_index: Tensor | None = None,
        base_caption_embeds: Tensor | None = None,
        recompute: bool = False,
    ) -> dict[str, Tensor]:
        """The loss of a batch of triples.

        Args:
            input_ids: (batch, 3, length) token ids of x, x', x'', right-padded to the batch's longest text; or else
            chunks: the distinct texts, packed, see `packing.pack`; with
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
        if chunks is None:
            text_embeds = self.encode_text(input_ids.flatten(0, 1)).unflatten(0, input_ids.shape[:2])
        else:
            text_embeds = self.encode_chunks(chunks, recompute)
            text_embeds = text_embeds.index_select(0, text_index.flatten()).unflatten(0, text_index.shape)
        outputs = self.loss(image_embeds, *text_embeds.unbind(dim=1), self.logit_scale, group_ids, base_caption_embeds)
        return {**outputs, "text_embeds": text_embeds}


class _Recomputed(torch.autograd.Function):
    """`encode(chunk)` without a graph; the backward runs it once more, with one.

    `torch.utils.checkpoint` either keeps a graph of empty nodes, between which the memory breaks up, or runs a
    backward that reaches the weights more than once, which DDP does not allow. Here the weights are inputs.
    """

    @staticmethod
    def forward(ctx, encode: Callable[[Chunk], Tensor], chunk: Chunk, *weights: Tensor) -> Tensor:
        device = chunk["input_ids"].device
        ctx.encode, ctx.chunk, ctx.weights = encode, chunk, weights
        ctx.autocast = (device.type, torch.get_autocast_dtype(device.type), torch.is_autocast_enabled(device.type))
        ctx.devices = [device] if device.type != "cpu" else []
        ctx.random_states = torch.get_rng_state(), [torch.get_device_module(d).get_rng_state(d) for d in ctx.devices]
        return encode(chunk)

    @staticmethod
    def backward(ctx, grad: Tensor):
        with torch.random.fork_rng(ctx.devices, device_type=ctx.autocast[0]):
            torch.set_rng_state(ctx.random_states[0])
            for device, state in zip(ctx.devices, ctx.random_states[1]):
                torch.get_device_module(device).set_rng_state(state, device)
            with torch.enable_grad(), torch.autocast(*ctx.autocast, cache_enabled=False):
                embeds = ctx.encode(ctx.chunk)
        return None, None, *torch.autograd.grad(embeds, ctx.weights, grad, allow_unused=True)


def load_clip(model_name_or_path: str | Path, *, vision: bool = True, **hub_kwargs) -> ParaCLIPModel:
    """Open a CLIP model of a folder or the Hub for training: float32, safetensors only, no remote code.

    Trained: `text_model`, `text_projection`. Frozen: `vision_model`, `visual_projection`, `logit_scale` (a buffer).

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
    logit_scale = model.logit_scale.detach()
    del model.logit_scale
    model.register_buffer("logit_scale", logit_scale)  # FSDP shards parameters, and a scalar has no rows
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
