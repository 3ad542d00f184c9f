"""The Trainer for triples: tokenised once, each distinct text of a batch encoded once in chunks of like lengths, the
loss terms logged apart; checkpoints that are complete or absent."""

from __future__ import annotations

import ctypes
import json
import logging
import math
import os
import platform
import shutil
import signal
from collections import defaultdict
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import datasets
import numpy as np
import torch
from accelerate.utils import DynamoBackend
from peft import PeftModel
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import nn
from transformers import CLIPModel, PreTrainedTokenizerBase, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints

from .losses import ParaCLIPLoss
from .modeling import ParaCLIPModel, encode_texts
from .packing import pack

logger = logging.getLogger(__name__)
TEXT_COLUMNS = ("caption", "paraphrase_1", "paraphrase_2")  # x, x', x''


@dataclass
class ParaCLIPTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with this method's defaults, and the weights of the three terms."""

    output_dir: str = field(
        default="paraclip-out", metadata={"help": "Where checkpoints and the published model are written."}
    )
    per_device_train_batch_size: int = field(
        default=256, metadata={"help": "Triples per device and step. The negatives come from here: larger is better."}
    )
    per_device_eval_batch_size: int = field(default=256, metadata={"help": "Triples per device in evaluation."})
    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate of AdamW."})
    weight_decay: float = field(default=0.1, metadata={"help": "Weight decay of AdamW, not on biases and norms."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Schedule after the warm-up."})
    warmup_steps: float = field(default=0.05, metadata={"help": "Warm-up steps, or below 1 a share of all steps."})
    logging_steps: float = field(default=10, metadata={"help": "Log every so many steps (below 1: a share)."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Keep so many checkpoints (and the best)."})
    report_to: str | None = field(default="none", metadata={"help": "Where to log: tensorboard, wandb, ... or none."})
    hub_strategy: str = field(
        default="end", metadata={"help": "When --push_to_hub uploads: at the end only, or as the Trainer offers."}
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Whether DDP looks for weights that a step did not use; here there are none."}
    )
    image_text_weight: float = field(default=1.0, metadata={"help": "Weight of L1(images, x'')."})
    caption_paraphrase_weight: float = field(default=1.0, metadata={"help": "Weight of L2(x, x')."})
    paraphrase_paraphrase_weight: float = field(default=1.0, metadata={"help": "Weight of L3(x', x'')."})
    text_temperature: float | None = field(
        default=None,
        metadata={
            "help": "Temperature of L2 and L3, as 0.05. Default: the model's own (CLIP: 0.01), as in the paper."
        },
    )
    distillation_weight: float = field(
        default=0.0,
        metadata={
            "help": "Weight of a term that holds captions near the base's embeddings of them. Not in the paper."
        },
    )
    encode_chunk_tokens: int = field(
        default=8192,
        metadata={
            "help": "Texts are encoded in chunks of at most so many tokens. A batch of more than two such chunks "
            "keeps no activations and recomputes each chunk in the backward: any batch fits, for a third more time."
        },
    )

    def __post_init__(self):
        # the Trainer refuses bf16 on a CPU that it was not told to use
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        super().__post_init__()
        if self.text_temperature is not None and self.text_temperature <= 0:
            raise ValueError(f"--text_temperature {self.text_temperature}: has to be above 0")
        if self.encode_chunk_tokens < 1:
            raise ValueError(f"--encode_chunk_tokens {self.encode_chunk_tokens}: has to be at least 1")
        self.remove_unused_columns = False  # the collator reads image_id, which no forward takes

    def make_loss(self) -> ParaCLIPLoss:
        """The loss that these arguments describe."""
        return ParaCLIPLoss(
            self.image_text_weight,
            self.caption_paraphrase_weight,
            self.paraphrase_paraphrase_weight,
            self.distillation_weight,
            None if self.text_temperature is None else -math.log(self.text_temperature),
        )


def tokenize(dataset: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
    """Replace the three text columns by `input_ids`, a list of three lists a row. Truncated texts are counted.

    A truncated text keeps its end-of-text token: CLIP reads the embedding there. What follows the first end-of-text
    token (as where a caption spells it out) never reaches the embedding, and is cut.
    """
    limit, end = tokenizer.model_max_length, tokenizer.eos_token_id

    def tokenize_batch(batch: dict[str, list]) -> dict[str, list]:
        views = [
            [ids[: ids.index(end) + 1] for ids in tokenizer(batch[column], verbose=False)["input_ids"]]
            for column in TEXT_COLUMNS
        ]
        return {
            "input_ids": [
                [ids if len(ids) <= limit else ids[: limit - 1] + ids[-1:] for ids in row] for row in zip(*views)
            ],
            "truncated": [sum(len(ids) > limit for ids in row) for row in zip(*views)],
        }

    dataset = dataset.map(tokenize_batch, batched=True, remove_columns=list(TEXT_COLUMNS), desc="Tokenizing")
    truncated = int(np.sum(dataset["truncated"]))
    if truncated:
        logger.warning("%d of %d texts were truncated to %d tokens", truncated, 3 * len(dataset), limit)
    vectors = [name for name in ("image_embeds", "base_caption_embeds") if name in dataset.column_names]
    # read as Python's floats they take twice the time, and 32 bytes a number
    return dataset.remove_columns("truncated").with_format("numpy", columns=vectors, output_all_columns=True)


def add_base_caption_embeds(
    dataset: datasets.Dataset, base: CLIPModel, tokenizer: PreTrainedTokenizerBase
) -> datasets.Dataset:
    """Add the column `base_caption_embeds`, float16[projection_dim], which the distillation term needs."""
    embeds = encode_texts(base, tokenizer, list(dataset["caption"])).half().numpy()
    feature = datasets.List(datasets.Value("float16"), length=embeds.shape[1])
    return dataset.add_column("base_caption_embeds", list(embeds), feature=feature)


def group_rows(row_keys: np.ndarray) -> np.ndarray:
    """(n, keys) integers -> (n,): one number for all rows that share a key, directly or through other rows."""
    keys, index = np.unique(row_keys, return_inverse=True)
    rows = np.repeat(np.arange(len(row_keys)), row_keys.shape[1])
    nodes = len(row_keys) + len(keys)  # a graph of rows and keys
    edges = coo_array((np.ones(len(rows), bool), (rows, len(row_keys) + index.ravel())), shape=(nodes, nodes))
    return connected_components(edges, directed=False)[1][: len(row_keys)]


def _key(image_id: str) -> int:
    return int.from_bytes(blake2b(repr(image_id).encode(), digest_size=8).digest(), "little", signed=True)


@dataclass
class ParaCLIPCollator:
    """Tokenised rows -> a batch for `ParaCLIPModel`, each distinct text once, packed with `packing.pack`.

    | key                   | what                                                                              |
    |-----------------------|-----------------------------------------------------------------------------------|
    | `image_embeds`        | (batch, dim) float32                                                              |
    | `chunks`              | list of `packing.Chunk`                                                           |
    | `text_index`          | (batch, 3) int64: where in the chunks, counted through, x, x' and x'' are         |
    | `row_keys`            | (batch, 4) int64: hashes of picture and texts; rows that share one are no negatives |
    | `base_caption_embeds` | (batch, dim) float32, where the rows have it                                      |
    | `image_ids`           | list of str, to name rows in errors                                               |
    | `padding`             | float: share of the chunks' nodes that only fill up                               |
    """

    chunk_tokens: int = 8192

    def __call__(self, rows: list[dict]) -> dict:
        texts = [[tuple(ids) for ids in row["input_ids"]] for row in rows]
        distinct = sorted({text for views in texts for text in views})
        chunks, where, padding = pack(distinct, self.chunk_tokens)
        number = dict(zip(distinct, where.tolist()))
        pictures = np.array([_key(row["image_id"]) for row in rows])
        keys = np.array([[hash(text) for text in views] for views in texts])  # of integers: the same in all processes
        batch = {  # image_embeds first: the Trainer reads the batch's size from the first entry
            "image_embeds": _stack(rows, "image_embeds"),
            "chunks": chunks,
            "text_index": torch.tensor([[number[text] for text in views] for views in texts]),
            "row_keys": torch.from_numpy(np.column_stack([pictures, keys])),
            "image_ids": [row["image_id"] for row in rows],
            "padding": padding,
        }
        if "base_caption_embeds" in rows[0]:
            batch["base_caption_embeds"] = _stack(rows, "base_caption_embeds")
        return batch


def _stack(rows: list[dict], column: str) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.asarray(row[column], np.float32) for row in rows]))


COMPLETE = "complete.json"  # a checkpoint without it is not one


class NotFiniteLoss(RuntimeError):
    """The loss is not a number, or infinite. Nothing of that batch reached the weights."""


class CheckpointError(OSError):
    """A checkpoint could not be written, as when the disk is full. Earlier ones are as they were."""


def last_checkpoint(output_dir: str | Path) -> str | None:
    """The newest complete checkpoint in a folder, or None. Incomplete ones are skipped with a warning."""
    found = sorted(Path(output_dir).glob("checkpoint-*"), key=lambda path: int("0" + path.name.split("-")[1]))
    for path in reversed(found):
        if (path / COMPLETE).is_file():
            return str(path)
        logger.warning("%s is not complete (no %s in it): skipped", path, COMPLETE)
    return None


class _StopOnSigterm(TrainerCallback):
    """SIGTERM (a preempted machine, a batch system) -> save after this step and stop; on all processes together."""

    def __init__(self, trainer: ParaCLIPTrainer):
        self._trainer, self._received, self._before = trainer, False, None

    def on_train_begin(self, args, state, control, **kwargs):
        try:
            self._before = signal.signal(signal.SIGTERM, self._receive)
        except ValueError:  # not in the main thread: whoever runs us there handles signals
            self._before = None

    def _receive(self, *_) -> None:
        logger.warning("SIGTERM: saving after this step, then stopping")
        self._received = True

    def on_step_end(self, args, state, control, **kwargs):
        received = torch.tensor([float(self._received)], device=args.device)
        if args.world_size > 1:
            received = self._trainer.accelerator.gather(received)
        if received.any():
            self._trainer.terminated = control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)


def keep_freed_memory() -> None:
    """Tell glibc to keep what is freed. It gives large blocks back to the system, and each new one then costs a page
    fault every 4 KiB: 5% to 20% of a step on a CPU. The peak is the same. Without glibc: nothing."""
    if platform.libc_ver()[0] == "glibc":
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
            ctypes.CDLL(None).mallopt(parameter, 2**30)


class ParaCLIPTrainer(Trainer):
    """`Trainer` over a `ParaCLIPModel` (or its PEFT wrapping) and `ParaCLIPCollator` batches.

    Logs, beside `loss`, its terms (`loss_image_text`, ...), `encoded_tokens` of a batch and `padding`, a share of
    them. In evaluation, `compute_metrics` gets `predictions` = text embeddings (n, 3, dim) and `label_ids` = image
    embeddings (n, dim). Over processes the negatives are those of all.

    A checkpoint is written aside and renamed when it is whole. SIGTERM saves and stops: `terminated` is True then.

    Raises:
        NotFiniteLoss: from `train`, naming the batch.
        CheckpointError: from `train`, where a checkpoint cannot be written.
    """

    loss_is_scaled_for_ga = False  # the loss is a mean over its batch; the Trainer divides by the accumulation steps

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._terms: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._saving_in: str | None = None
        self.terminated = False
        self.add_callback(_StopOnSigterm(self))
        if self.args.torch_compile:
            self.clip.compile_layers(backend=self.args.torch_compile_backend, mode=self.args.torch_compile_mode)
            # the Trainer would have the whole model compiled, which every batch's lengths make anew
            self.accelerator.state.dynamo_plugin.backend = DynamoBackend.NO

    @property
    def clip(self) -> ParaCLIPModel:
        """The model without what PEFT and accelerate wrap around it."""
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if isinstance(model, PeftModel) else model

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """`resume_from_checkpoint`: a checkpoint's folder; or "last" or True: the newest complete one of `output_dir`,
        if there is any."""
        if resume_from_checkpoint in (True, "last"):
            resume_from_checkpoint = last_checkpoint(self.args.output_dir)
            logger.info("resuming from %s", resume_from_checkpoint or "nothing: there is no checkpoint yet")
        elif resume_from_checkpoint and not (Path(resume_from_checkpoint) / COMPLETE).is_file():
            raise ValueError(f"{resume_from_checkpoint} is not a complete checkpoint: no {COMPLETE} in it.")
        if self.args.device.type == "cpu":
            keep_freed_memory()
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

    def whole_model(self) -> ParaCLIPModel | PeftModel:
        """The trained model, unwrapped. FSDP has left each process a share of every weight: they are put together, for
        which all processes have to call this. Nothing can be trained after that."""
        model = self.accelerator.unwrap_model(self.model)
        for module in model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if hasattr(parameter, "full_tensor"):
                    setattr(module, name, nn.Parameter(parameter.full_tensor(), parameter.requires_grad))
        return model

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        image_ids, row_keys, padding = (inputs.pop(key) for key in ("image_ids", "row_keys", "padding"))
        n = len(row_keys)
        group_ids = torch.from_numpy(group_rows(self.accelerator.gather(row_keys).cpu().numpy())).to(row_keys.device)
        inputs["group_ids"] = group_ids[n * self.accelerator.process_index :][:n]
        tokens = sum(len(chunk["input_ids"]) for chunk in inputs["chunks"])
        outputs = model(**inputs, recompute=model.training and tokens > 2 * self.args.encode_chunk_tokens)
        if model.training:
            if not torch.isfinite(outputs["loss"]):
                raise NotFiniteLoss(self._not_finite(image_ids, inputs["image_embeds"], outputs))
            for name in outputs:
                if name.startswith("loss_"):
                    self._terms[name].append(outputs[name].detach())
            self._terms["encoded_tokens"].append(torch.tensor(float(tokens)))
            self._terms["padding"].append(torch.tensor(padding))
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def _not_finite(self, image_ids: list[str], image_embeds: torch.Tensor, outputs: dict[str, torch.Tensor]) -> str:
        bad = (~torch.isfinite(image_embeds).all(dim=1)).nonzero()[:, 0].tolist()
        file = Path(self.args.output_dir) / "not_finite_batch.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(image_ids, indent=0))
        terms = ", ".join(f"{name} {value.item():g}" for name, value in outputs.items() if name.startswith("loss"))
        cause = (
            f"image_embeds of {', '.join(image_ids[i] for i in bad[:5])} are not finite: repair or remove these rows."
            if bad
            else "The inputs are finite, so the weights have diverged. Lower --learning_rate and resume."
        )
        return (
            f"step {self.state.global_step + 1}: {terms}. {cause} The image_ids of the batch "
            f"({', '.join(image_ids[:3])}, ...; {len(image_ids)} in all) are in {file}."
        )

    def floating_point_ops(self, inputs) -> int:
        """Six a weight and token, as usual; the embedding table does no arithmetic."""
        weights = sum(p.numel() for name, p in self.model.named_parameters() if ".encoder." in name and "text" in name)
        return 6 * weights * sum(len(chunk["input_ids"]) for chunk in inputs["chunks"])

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        if "loss" in logs:
            means = {name: torch.stack(values).mean().to(self.args.device) for name, values in self._terms.items()}
            logs |= {name: mean.item() for name, mean in self.accelerator.reduce(means, "mean").items()}
            self._terms.clear()
        super().log(logs, *args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        if prediction_loss_only:
            return loss.detach(), None, None
        return loss.detach(), outputs["text_embeds"].detach().float(), inputs["image_embeds"]

    def _get_output_dir(self, trial) -> str:
        return self._saving_in or super()._get_output_dir(trial)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._saving_in is None:
            super()._push_from_checkpoint(checkpoint_folder)

    def _save_checkpoint(self, model, trial) -> None:
        """Written aside, marked as complete, then renamed: a kill at any moment leaves no half checkpoint."""
        run_dir = Path(self._get_output_dir(trial))
        final = run_dir / f"checkpoint-{self.state.global_step}"
        aside = run_dir / "checkpoint.saving"
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self._saving_in = str(aside)
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self._finish_checkpoint(aside / final.name, final)
        except Exception as error:  # OSError, and what safetensors and torch.save raise for a full disk
            shutil.rmtree(aside, ignore_errors=True)
            raise CheckpointError(
                f"the checkpoint of step {self.state.global_step} could not be written to {run_dir}: {error}. The "
                f"last good one is {last_checkpoint(run_dir)}. Mend it, then go on with --resume_from_checkpoint last."
            ) from error
        finally:
            self._saving_in = None
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(final))

    def _finish_checkpoint(self, written: Path, final: Path) -> None:
        best = final.with_name(f"checkpoint-{self.state.best_global_step}")
        if self.state.best_global_step and (best == final or best.is_dir()):
            self.state.best_model_checkpoint = str(best)
            self.state.save_to_json(str(written / TRAINER_STATE_NAME))
        (written / COMPLETE).write_text(json.dumps({"global_step": self.state.global_step}))
        for path in [*written.rglob("*"), written]:
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        shutil.rmtree(final, ignore_errors=True)  # of the same step, before a resume
        written.rename(final)
        written.parent.rmdir()
        rotate_checkpoints(
            str(final.parent), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True
        )
