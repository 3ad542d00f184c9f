"""Weights in and out: LoRA on the text tower, and the plain `CLIPModel` that is published."""

from __future__ import annotations

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
    model: ParaCLIPModel | PeftModel, processor: ProcessorMixin, output_dir: str | Path, dtype: torch.dtype
) -> CLIPModel:
    """Write what users download: a plain `CLIPModel` in safetensors with its processor, in the base's own dtype.

    A LoRA model is also saved as PEFT writes it, in `output_dir/adapter`, then merged (in place) for publication.
    The frozen tensors come out bit for bit as they came in: half precision -> float32 -> half precision is exact.

    Returns the published model, in `dtype`.
    """
    output_dir = Path(output_dir)
    if isinstance(model, PeftModel):
        model.save_pretrained(output_dir / "adapter")
        model = model.merge_and_unload()
    clip = CLIPModel(model.config)
    clip.load_state_dict(model.state_dict())
    clip.to(dtype).eval()
    clip.save_pretrained(output_dir)
    processor.save_pretrained(output_dir)
    return clip
