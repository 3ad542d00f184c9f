"""The Trainer for triples: tokenised once, batched with their duplicates marked, the three loss terms logged apart."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field

import datasets
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase, Trainer, TrainingArguments

from .modeling import pad

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
    image_text_weight: float = field(default=1.0, metadata={"help": "Weight of L1(images, x'')."})
    caption_paraphrase_weight: float = field(default=1.0, metadata={"help": "Weight of L2(x, x')."})
    paraphrase_paraphrase_weight: float = field(default=1.0, metadata={"help": "Weight of L3(x', x'')."})

    def __post_init__(self):
        super().__post_init__()
        self.remove_unused_columns = False  # the collator reads image_id, which no forward takes


def tokenize(dataset: datasets.Dataset, tokenizer: PreTrainedTokenizerBase) -> datasets.Dataset:
    """Replace the three text columns by `input_ids`, a list of three lists a row. Truncated texts are counted.

    A truncated text keeps its end-of-text token: CLIP reads the embedding there.
    """
    limit = tokenizer.model_max_length

    def tokenize_batch(batch: dict[str, list]) -> dict[str, list]:
        views = [tokenizer(batch[column], verbose=False)["input_ids"] for column in TEXT_COLUMNS]
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
    return dataset.remove_columns("truncated")


def group_rows(keys: list[set[Hashable]]) -> list[int]:
    """Number the connected components of rows that share a key: rows of one group get one number."""
    parent = list(range(len(keys)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    first_with: dict[Hashable, int] = {}
    for row, row_keys in enumerate(keys):
        for key in row_keys:
            parent[root(row)] = root(first_with.setdefault(key, row))
    return [root(row) for row in range(len(keys))]


@dataclass
class ParaCLIPCollator:
    """Tokenised rows -> `input_ids` (batch, 3, longest), `image_embeds` (batch, dim), `group_ids` (batch,).

    Rows that have the same picture or any same text (web captions repeat) form a group.
    """

    pad_token_id: int

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        texts = [ids for row in rows for ids in row["input_ids"]]
        keys = [{row["image_id"], *map(tuple, row["input_ids"])} for row in rows]
        return {
            "image_embeds": torch.from_numpy(np.stack([np.asarray(row["image_embeds"], np.float32) for row in rows])),
            "input_ids": pad(texts, self.pad_token_id).unflatten(0, (len(rows), len(TEXT_COLUMNS))),
            "group_ids": torch.tensor(group_rows(keys)),
        }


class ParaCLIPTrainer(Trainer):
    """`Trainer` over a `ParaCLIPModel` (or its PEFT wrapping) and `ParaCLIPCollator` batches.

    Logs `loss_image_text`, `loss_caption_paraphrase` and `loss_paraphrase_paraphrase` beside `loss`. In evaluation,
    `compute_metrics` gets `predictions` = text embeddings (n, 3, dim) and `label_ids` = image embeddings (n, dim).
    """

    loss_is_scaled_for_ga = False  # the loss is a mean over its batch; the Trainer divides by the accumulation steps

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._terms: dict[str, list[torch.Tensor]] = defaultdict(list)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        if model.training:
            for name in outputs:
                if name.startswith("loss_"):
                    self._terms[name].append(outputs[name].detach())
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        if "loss" in logs:
            logs |= {name: torch.stack(values).mean().item() for name, values in self._terms.items()}
            self._terms.clear()
        super().log(logs, *args, **kwargs)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        if prediction_loss_only:
            return loss.detach(), None, None
        return loss.detach(), outputs["text_embeds"].detach().float(), inputs["image_embeds"]
