"""Dual encoders with three text views in one forward. A `ParaCLIPModel` is a `CLIPModel`: same weights, same names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import CLIPModel, PreTrainedConfig, PreTrainedModel, SiglipModel, VisionTextDualEncoderModel

from .architectures import IMAGE_TOWER, encode_chunk, text_tower
from .errors import InputError
from .losses import ParaCLIPLoss
from .packing import Chunk, QuickGELU, after_attention, before_attention, encode_packed
from .weights import open_config, open_model

BASE_MODEL_DIR = Path(__file__).parent / "base"  # the embedded base CLIP; see scripts/train_base_clip.py
TEXT_COLUMNS = ("caption", "paraphrase_1", "paraphrase_2")  # x, x', x'': the text views, in this order
NEGATIVE = "negative"  # a fourth column, where there is one
# A bare ["q_proj", ...] would reach the vision tower too, whose layers have the same names. Second line: BERT and kin.
LORA_TARGETS = (
    r"text_model\.(.*\.)?layers?\.\d+\.(self_attn\.(q_proj|k_proj|v_proj|out_proj)|mlp\.(fc1|fc2)"
    r"|attention\.self\.(query|key|value)|attention\.output\.dense|intermediate\.dense|output\.dense)"
)


class Paraphrased(PreTrainedModel):
    """What a dual encoder needs in front of its class to have the loss of the paper as its forward.

    Set `loss` (a `ParaCLIPLoss` with the paper's weights by default) to change the loss. With `vision=False` there is
    no vision tower: training on image embeddings does not need it.
    """

    accepts_loss_kwargs = False  # the Trainer's: forward takes no `num_items_in_batch`

    def __init__(self, config: PreTrainedConfig, vision: bool = True):
        super().__init__(config)
        # FSDP shards and gathers the model as a whole: encoding calls parts of layers, which have no own hooks
        self._no_split_modules: list[str] = []
        self.loss = ParaCLIPLoss()
        self._before: Callable[..., tuple[Tensor, ...]] = before_attention
        self._after: Callable[..., Tensor] = after_attention
        if config.text_config.model_type == "clip_text_model" and config.text_config.hidden_act == "quick_gelu":
            for layer in self.text_model.encoder.layers:
                layer.mlp.activation_fn = QuickGELU()
        if not vision:
            for name in IMAGE_TOWER:
                if hasattr(self, name):
                    delattr(self, name)
            self._keys_to_ignore_on_load_unexpected = {rf"^{name}\." for name in IMAGE_TOWER}

    def get_input_embeddings(self) -> None:  # type: ignore[override]  # accelerate's FSDP is to find none, see above
        """None, so that accelerate does not shard the token embeddings separately (see `_no_split_modules`)."""

    def encode_text(self, input_ids: Tensor) -> Tensor:
        """(n, length) right-padded token ids of CLIP or SigLIP -> (n, dim) embeddings, not normalised.

        Takes no attention mask. CLIP needs none: attention is causal and the embedding is read at the end-of-text
        token, which padding on the right never reaches. SigLIP was trained without one.
        """
        return self.get_text_features(input_ids=input_ids).pooler_output

    def encode_image(self, pixel_values: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n, dim) embeddings, not normalised and without gradient."""
        with torch.no_grad():
            return self.get_image_features(pixel_values=pixel_values).pooler_output

    def compile_layers(self, **kwargs) -> None:
        """`torch.compile` what a layer does to each token, with the number of tokens left open.

        Whatever the batches hold, this makes two graphs for the layers and two for the last one (twice as many when
        recomputing). `kwargs` are `torch.compile`'s.
        """
        self._before = torch.compile(self._before, dynamic=True, **kwargs)
        self._after = torch.compile(self._after, dynamic=True, **kwargs)

    def encode_chunks(self, chunks: list[Chunk], recompute: bool = False) -> Tensor:
        """`encode_packed` of chunk after chunk -> (all texts, dim), at least float32.

        Args:
            recompute: gradient caching (Gao et al. 2021): keep no activations; the backward encodes each chunk again,
                with the random state it had. Memory is that of one chunk, the gradient is the same, and a step takes
                a third longer.
        """

        def encode(chunk: Chunk) -> Tensor:
            if "end_nodes" in chunk:
                return encode_packed(self, chunk, self._before, self._after)
            return encode_chunk(self, chunk)

        device = self.device.type
        weights = [p for p in self.parameters() if p.requires_grad] if recompute else []
        # Autocast would share one bfloat16 copy of each weight between the chunks, and so add up the gradients of all
        # chunks in bfloat16. With one copy per chunk they are added up in float32.
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
        recompute: bool = False,
        **more_embeds: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the loss of a batch of triples.

        Args:
            input_ids: (batch, 3, length) token ids of x, x', x'', right-padded to the longest text of the batch; or
            chunks: the distinct texts, see `architectures.Chunking`; with
            text_index: (batch, 3) integers: which text of the chunks, counted through, is x, x', x''. (batch, 4) with
                negatives, see `ParaCLIPLoss.forward`, which also takes `has_negative`.
            image_embeds: (batch, dim), the output of the frozen tower; or
            pixel_values: (batch, 3, height, width), which go through that tower here.
            group_ids: (batch,) integers, see `ParaCLIPLoss.forward`.
            recompute: see `encode_chunks`.
            more_embeds: what else the loss needs, by name.

        Returns:
            The scalars of `ParaCLIPLoss` and `text_embeds` (batch, 3, dim), not normalised.

        Raises:
            ValueError: there are neither texts nor chunks, or neither image embeddings nor pictures.
        """
        if image_embeds is None:
            if pixel_values is None:
                raise ValueError("a batch needs image_embeds or pixel_values")
            image_embeds = self.encode_image(pixel_values)
        if chunks is not None and text_index is not None:
            text_embeds = self.encode_chunks(chunks, recompute)
            text_embeds = text_embeds.index_select(0, text_index.flatten()).unflatten(0, text_index.shape)
        elif input_ids is not None:
            text_embeds = self.encode_text(input_ids.flatten(0, 1)).unflatten(0, input_ids.shape[:2])
        else:
            raise ValueError("a batch needs input_ids, or chunks with text_index")
        views = {
            f"{column}_embeds": view for column, view in zip((*TEXT_COLUMNS, NEGATIVE), text_embeds.unbind(dim=1))
        }
        outputs = self.loss(
            image_embeds=image_embeds, **views, logit_scale=self.logit_scale, group_ids=group_ids, **more_embeds
        )
        return {**outputs, "text_embeds": text_embeds[:, : len(TEXT_COLUMNS)]}


class ParaCLIPModel(Paraphrased, CLIPModel):
    """CLIP."""


class ParaDualEncoderModel(Paraphrased, VisionTextDualEncoderModel):
    """Any text tower with any image tower."""


class ParaSiglipModel(Paraphrased, SiglipModel):
    """SigLIP, and SigLIP 2 of fixed resolution. Its `logit_bias` is one for all pairs and cancels in a softmax."""


TRAINED_AS = {  # by config.model_type
    "clip": ParaCLIPModel,
    "vision-text-dual-encoder": ParaDualEncoderModel,
    "siglip": ParaSiglipModel,
}


class _Recomputed(torch.autograd.Function):
    """`encode(chunk)` without a graph; the backward runs it once more, with one.

    `torch.utils.checkpoint` either keeps a graph of empty nodes, which fragment the memory, or runs a backward that
    reaches the weights more than once, which DDP does not allow. Here the weights are inputs.
    """

    @staticmethod
    def forward(ctx, encode: Callable[[Chunk], Tensor], chunk: Chunk, *weights: Tensor) -> Tensor:
        device = chunk["input_ids"].device
        ctx.encode, ctx.chunk, ctx.weights = encode, chunk, weights
        ctx.autocast = {
            "device_type": device.type,
            "dtype": torch.get_autocast_dtype(device.type),
            "enabled": torch.is_autocast_enabled(device.type),
            "cache_enabled": False,
        }
        ctx.devices = [device] if device.type != "cpu" else []
        ctx.random_states = torch.get_rng_state(), [torch.get_device_module(d).get_rng_state(d) for d in ctx.devices]
        return encode(chunk)

    @staticmethod
    def backward(ctx, grad: Tensor):
        with torch.random.fork_rng(ctx.devices, device_type=ctx.autocast["device_type"]):
            torch.set_rng_state(ctx.random_states[0])
            for device, state in zip(ctx.devices, ctx.random_states[1]):
                torch.get_device_module(device).set_rng_state(state, device)
            with torch.enable_grad(), torch.autocast(**ctx.autocast):
                embeds = ctx.encode(ctx.chunk)
        return None, None, *torch.autograd.grad(embeds, ctx.weights, grad, allow_unused=True)


def load_clip(model_name_or_path: str | Path, *, vision: bool = True, **hub_kwargs) -> Paraphrased:
    """Open a CLIP or another dual encoder from a folder or the Hub: float32, safetensors only, no remote code.

    Trained: the text tower, `text_model` and `text_projection`. Frozen: the image tower; `logit_scale` (a buffer).

    With `vision=False` the vision tower is neither built nor read.

    Raises:
        InputError: it cannot be found, is of another type, or its weights are not whole, see `weights.open_model`.
    """
    config = open_config(model_name_or_path, **hub_kwargs)
    if config.model_type not in TRAINED_AS:
        raise InputError(
            f"{model_name_or_path} is a model of type {config.model_type!r}; ParaCLIP trains models of type "
            f"{', '.join(TRAINED_AS)}."
        )
    model = open_model(TRAINED_AS[config.model_type], model_name_or_path, hub_kwargs=hub_kwargs, vision=vision)
    # not in __init__: from_pretrained makes new parameters, all of which require a gradient
    model.requires_grad_(False)
    for module in text_tower(model):
        module.requires_grad_(True)
    for name in {"logit_scale", "logit_bias"} & dict(model.named_parameters(recurse=False)).keys():
        scalar = getattr(model, name).detach()
        delattr(model, name)
        model.register_buffer(name, scalar)  # FSDP shards parameters, and a scalar has no rows
    return model.float()


def train_last_layers(model: Paraphrased, layers: int) -> None:
    """Of the text tower, train only the last `layers` layers and what follows them, e.g. CLIP's norm and projection.

    Raises:
        InputError: there are fewer layers, or `layers` is below 0.
    """
    embeddings = next(module for name, module in model.text_model.named_modules() if name.endswith("embeddings"))
    blocks = next(module for module in model.text_model.modules() if isinstance(module, nn.ModuleList))
    if not 0 <= layers <= len(blocks):
        raise InputError(f"--trained_layers {layers}: the text tower has {len(blocks)}.")
    for module in (embeddings, *blocks[: len(blocks) - layers]):
        module.requires_grad_(False)


def add_lora(model: Paraphrased, r: int = 16, alpha: int = 32, dropout: float = 0.0) -> PeftModel:
    """Low-rank adapters (Hu et al. 2022) on the text tower's attention and MLP; what projects its output (for SigLIP
    its `head`) trains in full.
    """
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=LORA_TARGETS,
        modules_to_save=["text_projection" if hasattr(model, "text_projection") else "text_model.head"],
    )
    return get_peft_model(model, config)  # type: ignore[return-value]  # PeftMixedModel only with mixed=True
