"""Rank correlation of similarities with human ratings: how semantic textual similarity is scored."""

import warnings

import datasets
import evaluate
import numpy as np
from scipy import stats

_DESCRIPTION = """
Spearman's and Pearson's correlation of predicted similarities (usually cosines) with people's ratings. In Spearman's,
equal values share their mean rank.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: list of floats, the similarity of each pair.
    references: list of floats, its rating; same length.
    ci95: whether to add a bootstrap 95% interval (500 resamples of the pairs), by default False.
Returns:
    sts_spearman: float in -1..1; NaN, with a warning, where all predictions are the same.
    sts_pearson: float in -1..1; NaN in the same case.
    sts_spearman_ci95: [low, high], with ci95.
Examples:
    >>> metric = evaluate.load("eval/metrics/sts_spearman")
    >>> metric.compute(predictions=[0.1, 0.5, 0.9], references=[0, 4, 5])["sts_spearman"]
    1.0
"""

_CITATION = """
@inproceedings{reimers2016task,
    title={Task-Oriented Intrinsic Evaluation of Semantic Textual Similarity},
    author={Reimers, Nils and Beyer, Philip and Gurevych, Iryna}, booktitle={COLING}, year={2016}
}
"""


def checked(predictions: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64. Raises ValueError where they cannot be ranked: NaN, fewer than 2 pairs, or constant ratings."""
    predictions, references = np.asarray(predictions, np.float64), np.asarray(references, np.float64)
    for name, values in (("predictions", predictions), ("references", references)):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise ValueError(f"sts_spearman: {name} {bad[0]} is {values[bad[0]]}, {len(bad)} in total")
        if len(values) < 2:
            raise ValueError(f"sts_spearman needs at least 2 pairs, got {len(values)}")
    if np.ptp(references) == 0:
        raise ValueError(f"sts_spearman: all references are {references[0]}, so there is no ranking")
    return predictions, references


def spearman(predictions: np.ndarray, references: np.ndarray) -> float:
    """Spearman's correlation of two (n,) arrays, in float64.

    NaN where it is undefined: fewer than 2 pairs, one of the two constant (e.g. a model that gives all texts the same
    vector), or a number that is not finite.
    """
    both = np.asarray(predictions, np.float64), np.asarray(references, np.float64)
    if len(both[0]) < 2 or not all(np.isfinite(values).all() and np.ptp(values) for values in both):
        return float("nan")
    return float(stats.spearmanr(*both).statistic)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class StsSpearman(evaluate.Metric):
    """The module that `evaluate.load` gives."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Keep a batch, as `compute` does with its own. ValueError if one is no list."""
        for given in (predictions, references):
            if isinstance(given, (str, bytes, dict)) or not hasattr(given, "__len__") or getattr(given, "ndim", 1) < 1:
                raise ValueError("sts_spearman: predictions and references have to be lists")
        try:
            super().add_batch(predictions=predictions, references=references, **kwargs)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"sts_spearman: a value is of a wrong type: {error}") from error

    def _compute(self, predictions, references, ci95=False):
        predictions, references = checked(predictions, references)
        if np.ptp(predictions) == 0:
            warnings.warn(f"sts_spearman is undefined: all predictions are {predictions[0]}", stacklevel=2)
            undefined = dict.fromkeys(("sts_spearman", "sts_pearson"), float("nan"))
            return {**undefined, "sts_spearman_ci95": [float("nan")] * 2} if ci95 else undefined
        result = {
            "sts_spearman": spearman(predictions, references),
            "sts_pearson": float(stats.pearsonr(predictions, references).statistic),
        }
        if ci95:
            rng = np.random.default_rng(0)
            resamples = (rng.integers(0, len(predictions), len(predictions)) for _ in range(500))
            drawn = [
                stats.spearmanr(predictions[rows], references[rows]).statistic
                for rows in resamples
                if np.ptp(predictions[rows]) and np.ptp(references[rows])  # a constant resample ranks nothing
            ]
            result["sts_spearman_ci95"] = np.percentile(drawn, (2.5, 97.5)).tolist()
        return result
