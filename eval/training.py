"""What `train.py` measures: the base, the model during training and at the end; and the overview of a run."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedModel, ProcessorMixin

from modeling_paraclip import InputError, ParaCLIPTrainer, ParaCLIPTrainingArguments
from modeling_paraclip.distributed import main_process_first
from modeling_paraclip.embedding_cache import text_key

from . import suite
from .encoders import Encoder, TransformersTowers
from .statistics import About
from .tasks.paraphrased_retrieval import retrieval_of_triples

REWORDINGS = ("paraphrase_1", "paraphrase_2")


@dataclass
class Evaluation:
    """What a model is measured on.

    Attributes:
        sets: triples with `image_embeds`, by name. Their pictures together are the gallery.
        processor: tokenizer and image processor.
        tasks: further tasks, see `suite.TASKS`.
        tasks_data: the folder of their data. None: the Hub.
        cache_dir: where the tasks keep embeddings of pictures.
        origins: where the sets come from, by name.
    """

    sets: dict[str, Dataset]
    processor: ProcessorMixin
    tasks: list[str]
    tasks_data: str | None
    cache_dir: str
    origins: dict[str, About] = field(default_factory=dict)

    def measure(self, name: str, model: PreTrainedModel, source: str = "") -> list[suite.Measurement]:
        """All figures of one model. `source` is its Hub id or the name of its folder, for the results file."""
        measured = []
        tokenizer = self.processor.tokenizer
        if self.sets:
            about = {
                "model": source or name,
                "revision": f"sha256:{text_key(model, tokenizer)}",  # the texts' side is all that is measured anew
                "dtype": str(model.dtype).removeprefix("torch."),
                "device": model.device.type,
            }
            measured += suite.evaluate_model(name, model, tokenizer, self.sets, self.origins, about)
        return measured + self.run_tasks(name, model)

    def run_tasks(self, name: str, model: PreTrainedModel) -> list[suite.Measurement]:
        """The figures of the tasks alone."""
        if not self.tasks:
            return []
        towers = TransformersTowers(model, self.processor.tokenizer, self.processor.image_processor)
        encoder = Encoder(name, towers, cache_dir=self.cache_dir, keep_texts=False)
        return suite.evaluate(encoder, self.tasks, self.tasks_data)[0]

    @property
    def gallery(self) -> tuple[list[str], np.ndarray]:
        """The pictures of all sets together, see `suite.gallery_of`."""
        return suite.gallery_of(self.sets)


def retrieval_metrics(dataset: Dataset):
    """`compute_metrics` for the Trainer: the retrieval metrics of the rewordings, averaged over x' and x''."""
    image_ids, gallery_embeds = suite.gallery_of({"": dataset})
    index = {image_id: i for i, image_id in enumerate(image_ids)}
    picture_of_text = np.array([index[image_id] for image_id in dataset["image_id"]])

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        text_embeds = prediction.predictions / np.linalg.norm(prediction.predictions, axis=-1, keepdims=True)
        collected = defaultdict(list)
        for (column, metric), scored in retrieval_of_triples(text_embeds, gallery_embeds, picture_of_text).items():
            if column in REWORDINGS:
                collected[metric].append(scored.value)
        return {metric: float(np.mean(means)) for metric, means in collected.items()}

    return compute


def retrieval_metric_names(gallery_size: int) -> list[str]:
    """The names of the figures that `retrieval_metrics` gives."""
    nothing = np.eye(gallery_size, dtype=np.float32)
    measured = retrieval_of_triples(nothing[:1, None].repeat(3, axis=1), nothing, np.zeros(1, np.int64))
    return list(dict.fromkeys(metric for column, metric in measured if column in REWORDINGS))


def check_best_metric(
    args: ParaCLIPTrainingArguments, validation: Dataset, base_measured: list[suite.Measurement]
) -> None:
    """Find out before training what would fail after the first evaluation.

    Args:
        base_measured: the figures of the base, which name those of the tasks.

    Raises:
        InputError: an evaluation on `validation` does not give the figure that chooses the best model.
    """
    if not args.metric_for_best_model or args.eval_strategy == "no":
        return
    metric = args.metric_for_best_model.removeprefix("eval_")
    names = ["loss", *retrieval_metric_names(len(set(validation["image_id"])))]
    if metric not in {*names, *map(_name, base_measured)}:
        raise InputError(
            f"--metric_for_best_model {metric}: there is no such figure on the validation set, only "
            f"{', '.join(names)}. Overlaps need more than 10 pictures held back: see --validation_file and "
            "--validation_split_percentage."
        )


def _name(measurement: suite.Measurement) -> str:
    return f"{measurement.dataset}_{measurement.metric}".replace(" ", "_")


class EvaluatingTrainer(ParaCLIPTrainer):
    """Adds the figures of `--eval_tasks` to each evaluation, as `eval_DATASET_METRIC`."""

    evaluation: Evaluation

    def evaluate(self, *args, **kwargs) -> dict[str, float]:
        """Evaluate. The tasks are run by the main process, for as long as they take."""
        metrics = super().evaluate(*args, **kwargs)
        if not self.evaluation.tasks:
            return metrics
        found: list[dict[str, float]] = [{}]
        with main_process_first(self.args):
            if self.args.process_index == 0:
                measured = self.evaluation.run_tasks("evaluated", self.clip)
                found = [{f"eval_{_name(m)}": round(m.value, 6) for m in measured}]
        broadcast_object_list(found)
        self.log(found[0])
        return metrics | found[0]


def overview(trainer: EvaluatingTrainer, train: Dataset) -> str:
    """What is about to happen, and warnings where it makes little sense."""
    args = trainer.args
    steps = math.ceil(len(trainer.get_train_dataloader()) / args.gradient_accumulation_steps)
    steps = args.max_steps if args.max_steps > 0 else math.ceil(steps * args.num_train_epochs)
    seconds = estimated_seconds(trainer) * steps
    evaluation = trainer.evaluation
    gallery = len(evaluation.gallery[0]) if evaluation.sets else 0
    measured = [f"{name} ({len(dataset):,} triples)" for name, dataset in evaluation.sets.items()]
    measured += [f"the task {task}" for task in evaluation.tasks]
    lines = {
        "train on": f"{len(train):,} triples of {len(set(train['image_id'])):,} pictures",
        "measure": f"{', '.join(measured)}; gallery of {gallery:,} pictures" if measured else "nothing",
        "loss": trainer.clip.loss.formula(),
        "weights": f"{sum(p.numel() for p in trainer.model.parameters() if p.requires_grad):,} are trained"
        + (", by LoRA" if trainer.run["lora"] else ", of the text tower"),
        "steps": f"{steps:,} of {trainer.run['batch_size'] * args.gradient_accumulation_steps:,} triples",
        "time": f"very roughly {f'{seconds:.0f} seconds' if seconds < 100 else f'{seconds / 60:.0f} minutes'}, "
        "without evaluation",
        "output": str(args.output_dir),
    }
    text = "\n".join(f"{name:>9}: {value}" for name, value in lines.items())
    if steps < 10:
        text += f"\n  warning: hardly anything can be learned in {steps} steps; take more data, or smaller batches."
    if measured and 0 < gallery < 50:
        text += f"\n  warning: figures mean little in a gallery of {gallery} pictures; measure on more."
    return text


def estimated_seconds(trainer: EvaluatingTrainer) -> float:
    """Rough time of a step: its arithmetic, at the rate of this device's matrix product, and half of it again."""
    rows = [trainer.train_dataset[i] for i in range(min(trainer.args.train_batch_size, len(trainer.train_dataset)))]
    operations = trainer.floating_point_ops(trainer.data_collator(rows)) * trainer.args.gradient_accumulation_steps
    dtype = torch.bfloat16 if trainer.args.bf16 else torch.float32
    a, b = (torch.randn(shape, device=trainer.args.device, dtype=dtype) for shape in ((2048, 512), (512, 2048)))
    (a @ b)[0, 0].item()  # the first one is slow
    start = time.perf_counter()
    for _ in range(3):
        (a @ b)[0, 0].item()
    return 1.5 * operations / (3 * 2 * 2048 * 512 * 2048) * (time.perf_counter() - start)
