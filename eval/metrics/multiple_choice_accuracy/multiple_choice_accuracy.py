"""Accuracy of choosing the right one of several texts by score (ARO, SugarCrepe); a tie is wrong."""

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


def is_right(scores: list[float], right: int) -> bool:
    """Whether choice `right` scores above every other. Raises ValueError on NaN, one choice or a wrong index."""
    if scores is None or right is None or None in list(scores):
        raise ValueError(f"multiple_choice_accuracy: the right choice or scores are missing: {right} of {scores}")
    if len(scores) < 2 or not 0 <= right < len(scores):
        raise ValueError(f"multiple_choice_accuracy: choice {right} of {len(scores)} scores; at least 2 are needed")
    if not np.isfinite(scores).all():
        raise ValueError(f"multiple_choice_accuracy: scores {scores} are not all numbers")
    return all(scores[right] > score for i, score in enumerate(scores) if i != right)


def _ci95(values: np.ndarray) -> list[float]:
    """[low, high]: seeded percentile bootstrap (2,000 resamples) of the mean."""
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
                {"predictions": datasets.Sequence(datasets.Value("float")), "references": datasets.Value("int64")}
            ),
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Keep a batch, as `compute` does with its own. ValueError if one is no list."""
        for given in (predictions, references):
            if isinstance(given, (str, bytes, dict)) or not hasattr(given, "__len__") or getattr(given, "ndim", 1) < 1:
                raise ValueError("multiple_choice_accuracy: predictions and references have to be lists")
        try:
            super().add_batch(predictions=predictions, references=references, **kwargs)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"multiple_choice_accuracy: a value is of a wrong type: {error}") from error

    def _compute(self, predictions, references, groups=None, exclude_groups=(), ci95=False):
        right = np.array([is_right(scores, i) for scores, i in zip(predictions, references)], dtype=float)
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
