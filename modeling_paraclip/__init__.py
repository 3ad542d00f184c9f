"""ParaCLIP: fine-tune CLIP's text tower so that rewording a query does not change what it finds."""

from .image_embeds import add_image_embeds
from .interop import add_lora, interpolate, publish
from .losses import ParaCLIPLoss, info_nce
from .modeling import BASE_MODEL_DIR, ParaCLIPModel, encode_texts, load_clip
from .trainer import (
    TEXT_COLUMNS,
    CheckpointError,
    NotFiniteLoss,
    ParaCLIPCollator,
    ParaCLIPTrainer,
    ParaCLIPTrainingArguments,
    add_base_caption_embeds,
    last_checkpoint,
    tokenize,
)

__all__ = [
    "BASE_MODEL_DIR",
    "TEXT_COLUMNS",
    "CheckpointError",
    "NotFiniteLoss",
    "ParaCLIPCollator",
    "ParaCLIPLoss",
    "ParaCLIPModel",
    "ParaCLIPTrainer",
    "ParaCLIPTrainingArguments",
    "add_base_caption_embeds",
    "add_image_embeds",
    "add_lora",
    "encode_texts",
    "info_nce",
    "interpolate",
    "last_checkpoint",
    "load_clip",
    "publish",
    "tokenize",
]
