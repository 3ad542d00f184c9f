"""The arguments of a training run, and what of `transformers` cannot be used in one.

Three dataclasses, as `transformers.HfArgumentParser` takes them: model, data and training.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import TrainingArguments

from .embedding_cache import DEFAULT_CACHE_DIR
from .errors import InputError, one_line
from .losses import TERMS, ParaCLIPLoss
from .modeling import BASE_MODEL_DIR

logger = logging.getLogger(__name__)

# Arguments of transformers that would do nothing here, or the wrong thing: name -> (value that is off, why not).
UNUSABLE = {
    "label_smoothing_factor": (0.0, "the loss has no labels to smooth"),
    "neftune_noise_alpha": (None, "texts are encoded in packed chunks, which its hook on the embeddings does not see"),
    "batch_eval_metrics": (False, "the metrics rank one gallery, so they need all queries together"),
    "gradient_checkpointing": (
        False,
        "a large batch keeps no activations as it is: lower --encode_chunk_tokens to save more memory",
    ),
    "activation_checkpointing": (
        False,
        "a large batch keeps no activations as it is: lower --encode_chunk_tokens to save more memory",
    ),
    "enable_jit_checkpoint": (False, "SIGTERM and Ctrl-C save and stop without it"),
    "auto_find_batch_size": (False, "the batch holds the negatives, so its size is yours to choose; any size fits"),
    "use_liger_kernel": (False, "it replaces layers that are not used here"),
    "deepspeed": (None, "it was never tried; use torchrun, with --fsdp if you like"),
    "hub_always_push": (False, "only the finished model is uploaded"),
}
# What a run's weights depend on, with the weights of the loss. Only a run that agrees on it resumes a checkpoint.
DECISIVE = (
    *("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "optim"),
    *("lr_scheduler_type", "warmup_steps", "seed", "data_seed", "bf16", "fp16", "text_temperature"),
    *("gradient_accumulation_steps", "negative_weight"),
)

# The weights of the loss that differ from the paper's. Chosen on the validation sets of docs/results.md.
RECIPES: dict[str, dict[str, float]] = {
    "paper": {},
    "retaining": {"image_caption_weight": 1, "alignment_weight": 10, "distillation_weight": 20},
}

MANY = 2**31 - 1
RANGES = {  # what these numbers can be, both ends included
    **dict.fromkeys(("learning_rate", "weight_decay", "adam_epsilon", "max_grad_norm", "lora_alpha"), (0, 1e6)),
    "negative_weight": (0, 1e6),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "lora_dropout"), (0, 1 - 1e-9)),
    **dict.fromkeys(("warmup_steps", "eval_steps", "save_steps", "logging_steps"), (0, MANY)),
    **dict.fromkeys(("num_train_epochs", "dataloader_num_workers"), (0, 1e5)),
    **dict.fromkeys(("per_device_eval_batch_size", "gradient_accumulation_steps"), (1, 2**20)),
    "lora_r": (1, 2**12),
    "trained_layers": (0, 2**12),
    "encode_chunk_tokens": (1, MANY),
    "per_device_train_batch_size": (2, 2**20),
    "max_steps": (-1, MANY),
    **dict.fromkeys(("seed", "data_seed"), (0, 2**32 - 1)),
    "save_total_limit": (1, MANY),
    **{f"{term.name}_weight": (0, 1e6) for term in TERMS},
    "text_temperature": (1e-3, 1e3),
    "validation_split_percentage": (0, 100),
}


@dataclass
class ModelArguments:
    """Which CLIP is fine-tuned, and how."""

    _argument_group_name = "model"

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "CLIP to fine-tune: a folder or a Hub id. Default: the embedded base."}
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub model."})
    license: str | None = field(
        default=None, metadata={"help": "Licence in the card, e.g. mit. Default: what the base's card names."}
    )
    use_lora: bool = field(
        default=False, metadata={"help": "Train low-rank adapters instead of the whole text tower."}
    )
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapters."})
    lora_alpha: int = field(default=32, metadata={"help": "Scale of the adapters: alpha / r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapters."})
    trained_layers: int | None = field(
        default=None,
        metadata={
            "help": "Train only the last layers of the text tower, as many as given, and what follows them. 0: only "
            "that, e.g. the last norm and the projection. Default: all."
        },
    )

    @property
    def base(self) -> str:
        """Folder or Hub id of the model to fine-tune."""
        return self.model_name_or_path or str(BASE_MODEL_DIR)

    @property
    def lora(self) -> dict | None:
        """The arguments of `add_lora`, or None."""
        return {"r": self.lora_r, "alpha": self.lora_alpha, "dropout": self.lora_dropout} if self.use_lora else None


@dataclass
class DataArguments:
    """What is trained on and measured on."""

    _argument_group_name = "data"

    train_file: str | None = field(
        default=None, metadata={"help": "Triples as JSONL, JSON, CSV or Parquet. Default: the embedded scenes."}
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Instead: a data set's Hub id or folder, with the same columns."}
    )
    image_dir: str | None = field(
        default=None, metadata={"help": "Folder of the pictures; image_id is the file name."}
    )
    validation_file: list[str] | None = field(
        default=None,
        metadata={"help": "Triples to measure on, one or more files. The gallery is the pictures of all together."},
    )
    validation_split_percentage: float = field(
        default=5,
        metadata={
            "help": "Without a validation file or split: the percentage of the pictures whose triples are measured on "
            "and not trained on. 0: train on all and measure nothing."
        },
    )
    skip_bad_images: bool = field(
        default=False,
        metadata={"help": "Leave out (and count) rows whose picture cannot be read, instead of stopping."},
    )
    allow_remote_images: bool = field(
        default=False,
        metadata={
            "help": "Request pictures that the data name by a URL. Local and private addresses are never connected to."
        },
    )
    runner: Literal["local", "ray"] = field(
        default="local",
        metadata={"help": "ray: pictures are embedded on all machines of a Ray cluster, by Ray Data."},
    )
    eval_tasks: str | None = field(
        default=None,
        metadata={"help": "Tasks of python -m eval, separated by commas, run at each evaluation and at the end."},
    )
    eval_data: str | None = field(
        default=None, metadata={"help": "Folder with the data of --eval_tasks. Default: they come from the Hub."}
    )
    image_cache_dir: str = field(
        default=str(DEFAULT_CACHE_DIR), metadata={"help": "Where embeddings are kept between runs."}
    )
    publish_pictures: bool = field(
        default=False,
        metadata={"help": "With --push_to_hub: upload rankings.png too, which shows some of your pictures."},
    )

    @property
    def source(self) -> str | None:
        """The file or data set to train on. None: the embedded scenes."""
        return self.train_file or self.dataset_name

    @property
    def tasks(self) -> list[str]:
        """The names in `eval_tasks`."""
        return [task.strip() for task in (self.eval_tasks or "").split(",") if task.strip()]


@dataclass
class ParaCLIPTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with this method's defaults, and the weights of the loss's terms.

    Raises:
        InputError: an argument cannot work here; the message says which, and why.
    """

    output_dir: str = field(
        default="paraclip-out", metadata={"help": "Where checkpoints and the published model are written."}
    )
    per_device_train_batch_size: int = field(
        default=256,
        metadata={"help": "Triples per device and step. They are each other's negatives: larger is better."},
    )
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Triples per device in evaluation."})
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate of AdamW."})
    weight_decay: float = field(default=0.1, metadata={"help": "Weight decay of AdamW, not on biases and norms."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule after the warm-up."})
    warmup_steps: float = field(
        default=0.05, metadata={"help": "Number of warm-up steps or, below 1, their share of all steps."}
    )
    logging_steps: float = field(
        default=10, metadata={"help": "Steps between two lines of the log or, below 1, their share of all steps."}
    )
    save_total_limit: int | None = field(
        default=2, metadata={"help": "How many checkpoints of this run to keep (the best one in addition)."}
    )
    report_to: str | None = field(default="none", metadata={"help": "Where to log: tensorboard, wandb, ... or none."})
    hub_strategy: str = field(default="end", metadata={"help": "Only `end`: the finished model is uploaded."})
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Whether DDP looks for weights that a step did not use; here there are none."}
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={
            "help": "Remove the checkpoints and the published files of an earlier run from --output_dir, by name. "
            "Nothing else in it is touched."
        },
    )
    recipe: Literal["retaining", "paper"] = field(
        default="retaining",
        metadata={
            "help": "Weights of the loss that are not given. paper: 1, 1, 1. retaining: further terms, so that "
            "captions keep finding what they found and rewordings agree more; see docs/training.md."
        },
    )
    image_text_weight: float | None = field(default=None, metadata={"help": "Weight of L1(images, x'')."})
    caption_paraphrase_weight: float | None = field(default=None, metadata={"help": "Weight of L2(x, x')."})
    paraphrase_paraphrase_weight: float | None = field(default=None, metadata={"help": "Weight of L3(x', x'')."})
    image_caption_weight: float | None = field(
        default=None, metadata={"help": "Weight of L1(images, x): captions keep finding their pictures."}
    )
    alignment_weight: float | None = field(
        default=None, metadata={"help": "Weight of a term that draws x' and x'' to x: rankings agree more."}
    )
    distillation_weight: float | None = field(
        default=None, metadata={"help": "Weight of a term that holds captions near the base's embeddings of them."}
    )
    negative_weight: float = field(
        default=0.0,
        metadata={
            "help": "How often the text in the column `negative` of a row counts in the denominator of that row in "
            "both L1 and in L2, e.g. 1. Not in the paper. 0: the column is not read."
        },
    )
    text_temperature: float | None = field(
        default=None,
        metadata={
            "help": "Temperature of L2 and L3, e.g. 0.05. Default: the model's own (CLIP: 0.01), as in the paper."
        },
    )
    encode_chunk_tokens: int = field(
        default=8192,
        metadata={
            "help": "Texts are encoded in chunks of at most this many tokens, where a beginning that texts share "
            "counts once. A batch of more than two such chunks keeps no activations and encodes each chunk again in "
            "the backward pass: any batch fits, at a third more time per step."
        },
    )

    def __post_init__(self):
        # the Trainer refuses bf16 on a CPU that it was not told to use
        if not torch.accelerator.is_available():
            self.use_cpu = True
        for name, (off, why) in UNUSABLE.items():  # first: transformers would already act on some of them
            if getattr(self, name, off) not in (off, None):
                raise InputError(f"--{name} cannot be used: {why}.")
        super().__post_init__()
        self._refuse_unusable()
        if self.recipe not in RECIPES:
            raise InputError(f"--recipe {self.recipe}: has to be one of {', '.join(RECIPES)}.")
        for term in TERMS:
            name = f"{term.name}_weight"
            if getattr(self, name) is None:
                setattr(self, name, float(RECIPES[self.recipe].get(name, term.weight)))
        if self.text_temperature is not None and not self.text_temperature > 0:
            raise InputError(f"--text_temperature {self.text_temperature}: has to be above 0.")
        if self.encode_chunk_tokens < 1:
            raise InputError(f"--encode_chunk_tokens {self.encode_chunk_tokens}: has to be at least 1.")
        self.make_loss()
        self.remove_unused_columns = False  # the collator reads image_id, which no forward takes
        if super().n_gpu > 1:
            logger.warning(
                "using one of %d GPUs; for all of them: torchrun --nproc_per_node %d train.py ...",
                *(super().n_gpu, super().n_gpu),
            )

    @property
    def n_gpu(self) -> int:
        """At most 1: the Trainer wraps several in DataParallel, which splits the negatives. Use torchrun for all."""
        return min(1, super().n_gpu)

    def _refuse_unusable(self) -> None:
        if self.train_sampling_strategy not in ("random", "sequential"):
            raise InputError(
                f"--train_sampling_strategy {self.train_sampling_strategy} cannot be used: batches of texts of one "
                "length have biased negatives. Texts are sorted within a batch, which costs no padding."
            )
        strategy = getattr(self.hub_strategy, "value", self.hub_strategy)
        if strategy != "end":
            raise InputError(
                f"--hub_strategy {strategy} cannot be used: a checkpoint is not a model. Only the "
                "finished model is uploaded (`end`)."
            )
        for needed, package in self._optional_packages():
            if importlib.util.find_spec(package.replace("-", "_")) is None:
                raise InputError(f"{needed} needs a package that is not installed: pip install {package}")

    def _optional_packages(self) -> list[tuple[str, str]]:
        """(argument, the package it needs)."""
        report_to = [self.report_to] if isinstance(self.report_to, str) else self.report_to or []
        modules = {"azure_ml": "azureml", "flyte": "flytekit"}
        packages = [(f"--report_to {n}", modules.get(n, n)) for n in report_to if n not in ("none", "all")]
        optim = str(getattr(self.optim, "value", self.optim))
        if "8bit" in optim or "4bit" in optim or "paged" in optim or "bnb" in optim:
            packages.append((f"--optim {optim}", "torchao" if "torch" in optim else "bitsandbytes"))
        return packages

    def make_loss(self) -> ParaCLIPLoss:
        """The loss that these arguments describe."""
        try:
            return ParaCLIPLoss(
                text_logit_scale=None if self.text_temperature is None else -math.log(self.text_temperature),
                negative_weight=self.negative_weight,
                **{f"{term.name}_weight": getattr(self, f"{term.name}_weight") for term in TERMS},
            )
        except ValueError as error:
            raise InputError(f"{error}.") from error

    def decisive(self) -> dict:
        """What of these arguments decides the weights, as JSON: see `DECISIVE`."""
        values = self.to_dict()
        batch = self.per_device_train_batch_size * self.world_size  # each other's negatives
        names = [*DECISIVE, *(f"{term.name}_weight" for term in TERMS)]
        return {**{name: values[name] for name in names}, "batch_size": batch, "fsdp": bool(self.fsdp)}


def check_args(model: ModelArguments, data: DataArguments, args: ParaCLIPTrainingArguments) -> None:
    """Raise InputError for arguments that contradict each other, before anything is read."""
    for name, value in {**vars(model), **vars(data), "output_dir": args.output_dir}.items():
        if value == "" or (isinstance(value, list) and "" in value):
            raise InputError(f"--{name}: is empty.")
    if data.train_file is not None and data.dataset_name is not None:
        raise InputError("--train_file and --dataset_name: give one of the two.")
    if data.source is not None and model.model_name_or_path is None:
        raise InputError(
            "--model_name_or_path: name the CLIP to fine-tune (the embedded one knows drawn scenes only)."
        )
    if data.source is None and model.model_name_or_path is not None:
        raise InputError(
            f"--train_file or --dataset_name: give the triples to train {model.model_name_or_path} on. The drawn "
            "scenes are for the embedded model; their learning rate would wreck a real CLIP."
        )
    if data.source is None and (data.image_dir or data.validation_file):
        raise InputError("--image_dir and --validation_file go with --train_file or --dataset_name: give one of them.")
    if model.use_lora and model.trained_layers is not None:
        raise InputError("--use_lora and --trained_layers: give one of the two.")
    if args.per_device_train_batch_size == 1:
        raise InputError("--per_device_train_batch_size: a batch of 1 has no negatives, and its loss is always 0.")
    for name, (low, high) in RANGES.items():
        value = next(getattr(group, name) for group in (model, data, args) if hasattr(group, name))
        if value is not None and not low <= value <= high:  # nor where it is no number
            raise InputError(f"--{name} {value}: has to be within {low:g} and {high:g}.")
    if args.torch_compile and args.torch_compile_backend not in torch._dynamo.list_backends(None):
        raise InputError(f"--torch_compile_backend {args.torch_compile_backend}: there is no such backend.")
    modes = ["default", *torch._inductor.list_mode_options()]
    if args.torch_compile_mode not in (None, *modes):
        raise InputError(f"--torch_compile_mode {args.torch_compile_mode}: has to be one of {', '.join(modes)}.")
    if args.hub_model_id is not None:
        try:
            validate_repo_id(args.hub_model_id)
        except HFValidationError as error:
            raise InputError(f"--hub_model_id: {one_line(error)}") from error
    if data.tasks and args.fsdp:
        raise InputError("--eval_tasks cannot be run on a sharded model: leave out --fsdp, or measure with "
                         "python -m eval when training is done.")  # fmt: skip
    if args.fsdp and args.world_size == 1:
        raise InputError("--fsdp shards over several processes: start with torchrun --nproc_per_node N train.py ...")
    names = Counter(Path(file).stem for file in data.validation_file or [])
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise InputError(f"--validation_file: two files are named {repeated[0]}, and figures go by name; rename one.")
    if data.runner == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError('--runner ray needs a package that is not installed: pip install "paraclip[ray]"')
