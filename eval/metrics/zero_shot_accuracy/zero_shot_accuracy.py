"""Accuracy of zero-shot classification: top-1, top-5, and top-1 averaged over classes."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
An item is right at k where fewer than k other classes score at least as high as its own: a tie counts as wrong.
Mean per class: the mean over the classes that occur of top-1 in each.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: list of lists of floats, the score of each class, equally many for all items.
    references: list of ints, the index of the right class.
    ci95: whether to add a bootstrap 95% interval over the items, by default False.
Returns:
    top1_accuracy, top5_accuracy (where there are more than 5 classes), mean_per_class_accuracy: floats in 0..1.
    top1_accuracy_ci95, top5_accuracy_ci95: [low, high], with ci95.
Examples:
    >>> metric = evaluate.load("eval/metrics/zero_shot_accuracy")
    >>> metric.compute(predictions=[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], references=[0, 0, 0])["top1_accuracy"]
    0.6666666666666666
"""

_CITATION = """
@inproceedings{radford2021learning,
    title={Learning Transferable Visual Models From Natural Language Supervision},
    author={Radford, Alec and Kim, Jong Wook and Hallacy, Chris and others}, booktitle={ICML}, year={2021}
}
"""


def ranks_of(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n, classes) scores, (n,) labels -> (n,) rank from 0 of the right class: how many others score at least as high.

    Raises ValueError on scores that are no numbers, fewer than 2 classes, or a label that is none of them.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 2 or len(scores) != len(labels) or not len(labels) or scores.shape[1] < 2:
        raise ValueError(f"zero_shot_accuracy: scores of shape {scores.shape} for {len(labels)} labels")
    if not np.isfinite(scores).all():
        item = np.argwhere(~np.isfinite(scores))[0][0]
        raise ValueError(f"zero_shot_accuracy: the scores of item {item} are not numbers")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(f"zero_shot_accuracy: labels {labels.min()} to {labels.max()}, but {scores.shape[1]} classes")
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    return (scores >= own).sum(axis=1) - 1


def mean_per_class(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) of 0 and 1 -> (n,) scaled so that the mean is the mean over classes of the mean in each."""
    sizes = np.bincount(labels)
    return right * len(right) / ((sizes > 0).sum() * sizes[labels])


def _ci95(values: np.ndarray) -> list[float]:
    """[low, high]: seeded percentile bootstrap (2,000 resamples) of the mean.

    Where all are equal there is nothing to resample, and the interval is exact (Clopper & Pearson 1934): any other
    value has at most the probability 1 - 0.025^(1/n), or it would have been seen.
    """
    if values.min() == values.max():
        unseen = 1 - 0.025 ** (1 / len(values))
        return [float((1 - unseen) * values[0]), float((1 - unseen) * values[0] + unseen)]
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(2000)]
    return np.percentile(means, (2.5, 97.5)).tolist()


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ZeroShotAccuracy(evaluate.Metric):
    """The module that `evaluate.load` gives."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Sequence(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Keep a batch, as `compute` does with its own. ValueError if one is no list."""
        for given in (predictions, references):
            if isinstance(given, (str, bytes, dict)) or not hasattr(given, "__len__") or getattr(given, "ndim", 1) < 1:
                raise ValueError("zero_shot_accuracy: predictions and references have to be lists")
        labels = np.asarray(references)
        if labels.dtype.kind == "f" and (labels != labels.round()).any():
            raise ValueError("zero_shot_accuracy: references have to be whole numbers")
        try:
            super().add_batch(predictions=predictions, references=references, **kwargs)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"zero_shot_accuracy: a value is of a wrong type: {error}") from error

    def _compute(self, predictions, references, ci95=False):
        labels = np.array(references)
        scores = np.array(list(predictions))
        if labels.dtype == object or scores.dtype == object:
            raise ValueError("zero_shot_accuracy: a label or a score is missing")
        ranks = ranks_of(scores, labels)
        result: dict[str, float | list[float]] = {}
        for k in (1, 5) if scores.shape[1] > 5 else (1,):
            result[f"top{k}_accuracy"] = float((ranks < k).mean())
            if ci95:
                result[f"top{k}_accuracy_ci95"] = _ci95(ranks < k)
        return {**result, "mean_per_class_accuracy": float(mean_per_class((ranks < 1).astype(float), labels).mean())}
