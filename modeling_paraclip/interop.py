"""Weights in and out: LoRA on the text tower, and the plain `CLIPModel` that is published."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import CLIPModel, ProcessorMixin

from .modeling import ParaCLIPModel

# A bare ["q_proj", ...] would reach the vision tower too, whose layers have the same names.
LORA_TARGETS = r"text_model\.encoder\.layers\.\d+\.(self_attn\.(q_proj|k_proj|v_proj|out_proj)|mlp\.(fc1|fc2))"


def add_lora(model: ParaCLIPModel, r: int = 16, alpha: int = 32, dropout: float = 0.0) -> PeftModel:
    """Low-rank adapters (Hu et al. 2022) on the text tower's attention and MLP; `text_projection` trains in full."""
    config = LoraConfig(
        r=r, lora_alpha=alpha, lora_dropout=dropout, target_modules=LORA_TARGETS, modules_to_save=["text_projection"]
    )
    return get_peft_model(model, config)


def publish(
    model: ParaCLIPModel | PeftModel,
    processor: ProcessorMixin,
    output_dir: str | Path,
    base_name_or_path: str | Path,
    **hub_kwargs,
) -> CLIPModel:
    """Write what users download: a plain `CLIPModel` in safetensors with its processor, in the base's own dtype.

    It is the base with the text tower of `model`; all that does not train is the base's bit for bit. A LoRA model is
    also saved as PEFT writes it, in `output_dir/adapter`, then merged (in place) for publication.

    Returns the published model, in its dtype.
    """
    output_dir = Path(output_dir)
    if isinstance(model, PeftModel):
        model.save_pretrained(output_dir / "adapter")
        model = model.merge_and_unload()
    clip = CLIPModel.from_pretrained(base_name_or_path, dtype="auto", use_safetensors=True, **hub_kwargs).eval()
    clip.load_state_dict(_text_tower(model), strict=False)
    clip.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    return clip


def interpolate(base: CLIPModel, tuned: CLIPModel, alpha: float) -> CLIPModel:
    """A model whose text tower is (1 - alpha) times the base's and alpha times the tuned one's (WiSE-FT, Wortsman et
    al. 2022); all else is the base's.

    Raises:
        ValueError: the two are not of one base: their other weights differ.
    """
    ours, theirs = base.state_dict(), tuned.state_dict()
    text = _text_tower(base)
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[n], theirs[n]) for n in ours.keys() - text.keys()):
        raise ValueError("these two models are not of one base: what does not train differs between them")
    clip = copy.deepcopy(base)
    mixed = {name: torch.lerp(w.double(), theirs[name].double(), alpha) for name, w in text.items()}
    clip.load_state_dict(mixed, strict=False)  # which rounds to the base's dtype
    return clip


def _text_tower(model: CLIPModel) -> dict[str, torch.Tensor]:
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith(("text_model.", "text_projection."))
    }
