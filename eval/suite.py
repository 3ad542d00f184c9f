"""Run tasks on models, keeping one value per query so that models can be compared in pairs."""

from __future__ import annotations

import importlib
import logging
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from scipy import stats
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from modeling_paraclip import TEXT_COLUMNS, InputError, encode_texts

from .data import MissingData
from .encoders import Encoder
from .metrics.sts_spearman.sts_spearman import spearman
from .tasks import NAMES, TEXT_TASKS
from .tasks.image_text_retrieval import image_text_retrieval_values
from .tasks.paraphrased_retrieval import rewording_values

logger = logging.getLogger(__name__)
TASKS = NAMES


@dataclass
class Measurement:
    """One metric of one model on one data set.

    `values` holds one number per query, a fraction in 0..1, and the metric is their mean (for a macro average the
    numbers are scaled so that it is); or, for a correlation (`metric` "spearman"), one row per pair: cosine and
    rating; or, for `spearman_sampled`, the correlation of each sample.
    """

    model: str
    task: str
    dataset: str
    metric: str
    values: np.ndarray
    seconds: float

    @property
    def value(self) -> float:
        """The metric."""
        return spearman(*self.values.T) if self.values.ndim == 2 else float(self.values.mean())

    @property
    def is_sampled(self) -> bool:
        """Whether `values` are samples of the metric."""
        return self.metric.endswith("_sampled")

    def to_dict(self) -> dict:
        """The entry of a results file (DESIGN.md): `{model, task, dataset, metric, value, ci95, n, seconds}`."""
        return {
            "model": self.model,
            "task": self.task,
            "dataset": self.dataset,
            "metric": self.metric,
            "value": self.value,
            "ci95": percentiles(self.values) if self.is_sampled else bootstrap_ci95(self.values),
            "n": len(self.values),
            "seconds": round(self.seconds, 3),
        }


def bootstrap_ci95(values: np.ndarray, seed: int = 0) -> list[float]:
    """[low, high] of the mean by a percentile bootstrap: 2,000 resamples, or 500 of the rows of a correlation."""
    if values.ndim == 2:
        return _correlation_ci95(tuple(values.T), _spearman)
    if len(values) < 2 or np.ptp(values) == 0:  # nothing to resample
        return [float(values.mean())] * 2
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, batch=200, method="percentile", rng=np.random.default_rng(seed)
    )
    return [float(result.confidence_interval.low), float(result.confidence_interval.high)]


def percentiles(samples: np.ndarray) -> list[float]:
    """[low, high]: the middle 95% of samples that were drawn already."""
    return np.percentile(samples, (2.5, 97.5)).tolist()


def difference_ci95(base: np.ndarray, tuned: np.ndarray) -> list[float]:
    """[low, high] of `tuned - base` by a paired bootstrap: both models on the same resampled queries."""
    if base.ndim == 1:
        return bootstrap_ci95(tuned - base)
    if not np.array_equal(base[:, 1], tuned[:, 1]):
        raise ValueError("the two models were rated on different pairs, so they cannot be compared in pairs")
    return _correlation_ci95(
        (base[:, 0], tuned[:, 0], base[:, 1]),
        lambda b, t, ratings: _spearman(t, ratings) - _spearman(b, ratings),
    )


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    """0 where a resample of few pairs is constant: it ranks nothing."""
    return float(np.nan_to_num(stats.spearmanr(a, b).statistic))


def _correlation_ci95(columns: tuple[np.ndarray, ...], statistic) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            columns,
            statistic,
            n_resamples=500,
            paired=True,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(0),
        )
    return [float(result.confidence_interval.low), float(result.confidence_interval.high)]


def measure_retrieval(
    text_embeds: np.ndarray, gallery_embeds: np.ndarray, picture_of_text: np.ndarray, k: int = 10
) -> dict[tuple[str, str, str], np.ndarray]:
    """(task, text column, metric) -> one value per query.

    Args:
        text_embeds: (n, 3, dim) of x, x', x'', L2-normalised.
        gallery_embeds: (m, dim), L2-normalised.
        picture_of_text: (n,) indices into `gallery_embeds`: the picture of each row of texts.
        k: depth of the overlap metrics. Where m <= k they are left out.
    """
    measured: dict[tuple[str, str, str], np.ndarray] = {}
    for view, column in enumerate(TEXT_COLUMNS):
        if view > 0:
            overlap = rewording_values(text_embeds[:, 0], text_embeds[:, view], gallery_embeds, k)
            measured |= {("paraphrased_retrieval", column, metric): values for metric, values in overlap.items()}
        recall = image_text_retrieval_values(text_embeds[:, view], gallery_embeds, picture_of_text)
        measured |= {("image_text_retrieval", column, metric): values for metric, values in recall.items()}
    return measured


def gallery_of(eval_sets: dict[str, Dataset]) -> tuple[list[str], np.ndarray]:
    """The distinct pictures of all sets together, as (`image_id`s, (m, dim) float32 normalised `image_embeds`)."""
    embeds: dict[str, np.ndarray] = {}
    for dataset in eval_sets.values():
        for image_id, embed in zip(dataset["image_id"], dataset.with_format("numpy")["image_embeds"]):
            embeds.setdefault(image_id, embed)
    gallery = np.stack(list(embeds.values())).astype(np.float32)
    return list(embeds), gallery / np.linalg.norm(gallery, axis=1, keepdims=True)


def embed_triples(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dataset: Dataset) -> np.ndarray:
    """(n, 3, dim) normalised embeddings of the three texts of each row. Each distinct text is encoded once."""
    texts = [text for column in TEXT_COLUMNS for text in dataset[column]]
    distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    embeds = encode_texts(model, tokenizer, list(distinct)).numpy()
    return embeds[[distinct[text] for text in texts]].reshape(len(TEXT_COLUMNS), len(dataset), -1).swapaxes(0, 1)


def evaluate_model(
    name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, eval_sets: dict[str, Dataset]
) -> list[Measurement]:
    """Paraphrased and image-text retrieval on each of `eval_sets` (triples with `image_embeds`).

    The gallery is the pictures of all sets together, so a further set of pictures makes the search harder.
    """
    image_ids, gallery_embeds = gallery_of(eval_sets)
    index = {image_id: i for i, image_id in enumerate(image_ids)}
    measurements = []
    for set_name, dataset in eval_sets.items():
        start = time.perf_counter()
        with torch.inference_mode():
            text_embeds = embed_triples(model, tokenizer, dataset)
        picture_of_text = np.array([index[image_id] for image_id in dataset["image_id"]])
        measured = measure_retrieval(text_embeds, gallery_embeds, picture_of_text)
        seconds = time.perf_counter() - start
        measurements += [
            Measurement(name, task, f"{set_name}/{column}", metric, values, seconds)
            for (task, column, metric), values in measured.items()
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
            Measurement(encoder.name, task, dataset, metric, values, seconds)
            for (dataset, metric), values in found.items()
        ]
    return measurements, not_run
