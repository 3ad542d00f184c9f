"""ParaCLIP: fine-tune CLIP's text tower so that rewording a query does not change what it finds."""

from .architectures import encode_texts
from .checkpoints import last_checkpoint
from .collator import ParaCLIPCollator, tokenize
from .errors import CheckpointError, InputError, NotFiniteLoss
from .image_embeds import add_base_caption_embeds, add_image_embeds
from .losses import ParaCLIPLoss, info_nce
from .modeling import BASE_MODEL_DIR, TEXT_COLUMNS, ParaCLIPModel, add_lora, load_clip, train_last_layers
from .publish import interpolate, publish_model
from .trainer import ParaCLIPTrainer
from .training_args import ParaCLIPTrainingArguments

__version__ = "0.2.0"

__all__ = [
    "BASE_MODEL_DIR",
    "TEXT_COLUMNS",
    "CheckpointError",
    "InputError",
    "NotFiniteLoss",
    "ParaCLIPCollator",
    "ParaCLIPLoss",
    "ParaCLIPModel",
    "ParaCLIPTrainer",
    "ParaCLIPTrainingArguments",
    "__version__",
    "add_base_caption_embeds",
    "add_image_embeds",
    "add_lora",
    "encode_texts",
    "info_nce",
    "interpolate",
    "last_checkpoint",
    "load_clip",
    "publish_model",
    "tokenize",
    "train_last_layers",
]
