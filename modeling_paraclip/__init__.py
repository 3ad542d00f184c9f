"""ParaCLIP: fine-tune CLIP's text tower so that rewording a query does not change what it finds."""

from .image_embeds import add_image_embeds
from .interop import add_lora, publish
from .losses import ParaCLIPLoss, info_nce
from .modeling import BASE_MODEL_DIR, ParaCLIPModel, encode_texts, load_clip
from .trainer import TEXT_COLUMNS, ParaCLIPCollator, ParaCLIPTrainer, ParaCLIPTrainingArguments, tokenize

__all__ = [
    "BASE_MODEL_DIR",
    "TEXT_COLUMNS",
    "ParaCLIPCollator",
    "ParaCLIPLoss",
    "ParaCLIPModel",
    "ParaCLIPTrainer",
    "ParaCLIPTrainingArguments",
    "add_image_embeds",
    "add_lora",
    "encode_texts",
    "info_nce",
    "load_clip",
    "publish",
    "tokenize",
]
