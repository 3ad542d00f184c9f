"""Run tasks on models, keeping one value per query so that models can be compared in pairs."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import modeling_paraclip
from modeling_paraclip import TEXT_COLUMNS, InputError, encode_texts

from .data import MissingData
from .encoders import Encoder
from .statistics import About, Difference, Scored
from .tasks import NAMES, TEXT_TASKS
from .tasks.paraphrased_retrieval import retrieval_of_triples

logger = logging.getLogger(__name__)
TASKS = NAMES
MODEL_KEYS = {"model": "model_id", "revision": "model_revision"}  # of `Encoder.about`, in a results file
VERSIONS = {module.__name__: module.__version__ for module in (modeling_paraclip, torch, transformers, datasets)}


@dataclass(frozen=True)
class Measurement:
    """One metric of one model on one data set.

    Args:
        model: as tables name it.
        task: one of `TASKS`.
        dataset, metric: as tables name them.
        scored: the values and what is made of them.
        seconds: how long the task took.
        model_about: what identifies the model, see `Encoder.about`.
    """

    model: str
    task: str
    dataset: str
    metric: str
    scored: Scored
    seconds: float = 0.0
    model_about: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What is the same for all models."""
        return self.task, self.dataset, self.metric

    @property
    def value(self) -> float:
        """The figure, a fraction; NaN where it is undefined."""
        return self.scored.value

    @property
    def queries(self) -> int:
        """How many queries or pairs were measured."""
        return self.scored.queries or len(self.scored.values)

    @cached_property
    def ci95(self) -> list[float]:
        """[low, high] of `value`."""
        return self.scored.statistic.ci95(self.scored.values)

    def to_dict(self) -> dict[str, Any]:
        """The entry of a results file (DESIGN.md), with all that it takes to measure it again. Undefined is None."""
        about = {name: value for name, value in asdict(self.scored.about).items() if value not in ("", None)}
        return {
            "model": self.model,
            "task": self.task,
            "dataset": self.dataset,
            "metric": self.metric,
            "value": _number(self.value),
            "ci95": [_number(bound) for bound in self.ci95],
            "n": self.queries,
            "seconds": round(self.seconds, 3),
            **about,
            **{MODEL_KEYS.get(name, name): value for name, value in self.model_about.items()},
            "versions": VERSIONS,
            "date": date.today().isoformat(),
        }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def difference(base: Measurement, tuned: Measurement) -> Difference:
    """`tuned - base` of the same metric on the same queries."""
    return base.scored.statistic.difference(base.scored.values, tuned.scored.values)


def gallery_of(eval_sets: dict[str, Dataset]) -> tuple[list[str], np.ndarray]:
    """The distinct pictures of all sets together, as (`image_id`s, (m, dim) float32 normalised `image_embeds`)."""
    embeds: dict[str, np.ndarray] = {}
    for dataset in eval_sets.values():
        for image_id, embed in zip(dataset["image_id"], dataset.with_format("numpy")["image_embeds"]):
            embeds.setdefault(image_id, embed)
    gallery = np.stack(list(embeds.values())).astype(np.float32)
    return list(embeds), gallery / np.linalg.norm(gallery, axis=1, keepdims=True)


def embed_triples(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dataset: Dataset, name: str = "the model"
) -> np.ndarray:
    """(n, 3, dim) normalised embeddings of the three texts of each row. Each distinct text is encoded once.

    Raises:
        InputError: a vector is not finite, or zero, as in `Encoder.texts`. It calls the model `name`.
    """
    texts = [text for column in TEXT_COLUMNS for text in dataset[column]]
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    embeds = encode_texts(model, tokenizer, list(distinct)).numpy()
    usable = np.isfinite(embeds).all(axis=1) & embeds.any(axis=1)
    if not usable.all():
        raise InputError(
            f"{name}'s vector of {list(distinct)[int(usable.argmin())]!r} is zero or not finite. Its weights are "
            "broken, or too large for the precision asked for."
        )
    return embeds[[distinct[text] for text in texts]].reshape(len(TEXT_COLUMNS), len(dataset), -1).swapaxes(0, 1)


def evaluate_model(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    eval_sets: dict[str, Dataset],
    origins: Mapping[str, About] = MappingProxyType({}),
    model_about: Mapping[str, str] = MappingProxyType({}),
) -> list[Measurement]:
    """Paraphrased and image-text retrieval on each of `eval_sets` (triples with `image_embeds`).

    The gallery is the pictures of all sets together, so a further set of pictures makes the search harder.

    Args:
        origins: where the sets come from, by name.
        model_about: see `Encoder.about`.
    """
    image_ids, gallery_embeds = gallery_of(eval_sets)
    index = {image_id: i for i, image_id in enumerate(image_ids)}
    measurements = []
    for set_name, dataset in eval_sets.items():
        start = time.perf_counter()
        with torch.inference_mode():
            text_embeds = embed_triples(model, tokenizer, dataset, name)
        picture_of_text = np.array([index[image_id] for image_id in dataset["image_id"]])
        found = retrieval_of_triples(
            text_embeds, gallery_embeds, picture_of_text, about=origins.get(set_name, About(set_name))
        )
        seconds = time.perf_counter() - start
        measurements += [
            Measurement(name, "paraphrased_retrieval", f"{set_name}/{column}", metric, scored, seconds, model_about)
            for (column, metric), scored in found.items()
        ]
    return measurements


def evaluate(
    encoder: Encoder, tasks: list[str], data_dir: str | Path | None, *, skip_missing: bool = False
) -> tuple[list[Measurement], dict[str, str]]:
    """Run some of `TASKS` on what `data_dir` holds, or on the Hub's data sets where it is None.

    Returns:
        The measurements and, with `skip_missing`, why tasks were not run: task -> reason.

    Raises:
        InputError: data are wrong or, without `skip_missing`, not there.
    """
    measurements, not_run = [], {}
    for task in tasks:
        start = time.perf_counter()
        try:
            if task not in TEXT_TASKS and not encoder.has_images:
                raise MissingData(f"{encoder.name} has no image tower")
            run = getattr(importlib.import_module(f"{__package__}.tasks.{task}"), task)
            found = run(encoder, Path(data_dir) if data_dir is not None else None)
        except MissingData as error:
            if not skip_missing:
                raise InputError(f"the task {task}: {error}") from error
            not_run[task] = str(error)
            continue
        except OSError as error:
            if error.filename is None:
                raise
            # e.g. a folder that may not be read, or a name that is too long
            raise InputError(f"the task {task}: {error.filename} cannot be read: {error.strerror}.") from error
        seconds = time.perf_counter() - start
        logger.info("%s: %s in %.1f s", encoder.name, task, seconds)
        measurements += [
            Measurement(encoder.name, task, dataset, metric, scored, seconds, encoder.about)
            for (dataset, metric), scored in found.items()
        ]
    return measurements, not_run
