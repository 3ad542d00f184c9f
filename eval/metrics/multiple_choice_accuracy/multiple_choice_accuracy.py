"""Accuracy of choosing the right one of several texts by score (ARO, SugarCrepe); a tie is wrong."""

from collections.abc import Sequence

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
An item is right where the score of its right choice is above all others'; a tie counts as wrong, so that a model that
scores everything alike gets 0. Micro: the mean over items. Macro: the mean over groups of the mean in each.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: list of lists of floats, the scores of an item's choices.
    references: list of ints, the index of the right one.
    groups: optional list of str, one per item, for the macro average.
    exclude_groups: optional list of str, groups whose items are left out (e.g. ARO's symmetric relations).
    ci95: whether to add a bootstrap 95% interval over the items of the micro average, by default False.
Returns:
    multiple_choice_accuracy: float in 0..1, micro.
    multiple_choice_accuracy_macro: float in 0..1, where groups are given.
Examples:
    >>> metric = evaluate.load("eval/metrics/multiple_choice_accuracy")
    >>> metric.compute(predictions=[[0.9, 0.1], [0.5, 0.5]], references=[0, 0])
    {'multiple_choice_accuracy': 0.5}
"""

_CITATION = """
@inproceedings{yuksekgonul2023when,
    title={When and Why Vision-Language Models Behave like Bags-Of-Words, and What to Do About It?},
    author={Yuksekgonul, Mert and Bianchi, Federico and Kalluri, Pratyusha and Jurafsky, Dan and Zou, James},
    booktitle={ICLR}, year={2023}
}
"""


def multiple_choice_accuracy(
    scores: Sequence[Sequence[float]] | np.ndarray,
    right: Sequence[int] | np.ndarray | int = 0,
    choices: Sequence[Sequence[str]] | None = None,
) -> np.ndarray:
    """(n,) float64 of 0 and 1: whether the right choice of each item scores above all its others. A tie is wrong.

    Args:
        scores: (n, choices), or a list of n lists of any lengths from 2 on; compared in float64.
        right: (n,) or one for all, the index of the right choice.
        choices: n lists of what was scored, e.g. texts. Equal ones are a tie by definition, whatever the rounding of
            their scores.

    Raises ValueError on a score that is not a number, fewer than two choices or a wrong index; it names the item.
    """
    indices = np.broadcast_to(np.asarray(right), len(scores)).tolist()
    values = np.empty(len(scores))
    for item, (own, index) in enumerate(zip(scores, indices)):
        if own is None or index is None or None in list(own):
            raise ValueError(f"multiple_choice_accuracy: item {item}: the right choice or scores are missing")
        if len(own) < 2 or not 0 <= index < len(own):
            raise ValueError(
                f"multiple_choice_accuracy: item {item}: choice {index} of {len(own)} scores; at least 2 are needed"
            )
        row = np.asarray(own, np.float64)
        if not np.isfinite(row).all():
            raise ValueError(f"multiple_choice_accuracy: item {item}: scores {row} are not all numbers")
        is_tied = choices is not None and list(choices[item]).count(choices[item][index]) > 1
        values[item] = row[index] > np.delete(row, index).max() and not is_tied
    return values


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
class MultipleChoiceAccuracy(evaluate.Metric):
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
                raise ValueError("multiple_choice_accuracy: predictions and references have to be lists")
        labels = np.asarray(references)
        if labels.dtype.kind == "f" and (labels != labels.round()).any():
            raise ValueError("multiple_choice_accuracy: references have to be whole numbers")
        try:
            super().add_batch(predictions=predictions, references=references, **kwargs)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"multiple_choice_accuracy: a value is of a wrong type: {error}") from error

    def _compute(self, predictions, references, groups=None, exclude_groups=(), ci95=False):
        right = multiple_choice_accuracy(predictions, references)
        if groups is not None:
            if not isinstance(groups, (list, tuple, np.ndarray)) or len(groups) != len(right):
                raise ValueError(f"multiple_choice_accuracy: groups have to be a list of {len(right)}, one per item")
            if not all(isinstance(group, str) for group in groups) or not isinstance(
                exclude_groups, (list, tuple, set)
            ):
                raise ValueError("multiple_choice_accuracy: groups have to be texts, exclude_groups a list of them")
            kept = [group not in exclude_groups for group in groups]
            right, groups = right[kept], [group for group, keep in zip(groups, kept) if keep]
        if not len(right):
            raise ValueError("multiple_choice_accuracy: no item is left")
        result: dict[str, float | list[float]] = {"multiple_choice_accuracy": float(right.mean())}
        if ci95:
            result["multiple_choice_accuracy_ci95"] = _ci95(right)
        if groups is not None:
            members = {group: right[[g == group for g in groups]] for group in dict.fromkeys(groups)}
            result["multiple_choice_accuracy_macro"] = float(np.mean([values.mean() for values in members.values()]))
        return result
