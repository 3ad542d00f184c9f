"""Average overlap of two rankings (Webber, Moffat & Zobel 2010, section 3.1), as ParaCLIP reports it (AO@10)."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
How much two ranked lists agree, with more weight on the top:
    AO@k = 1/k * sum over d = 1..k of |A[:d] & B[:d]| / d
1 where both lists start with the same k items in the same order, 0 where they share none of their first k.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: list of ranked lists of ids (integers or strings), best first, each without repeats and with at least
        max(k) ids; or, with the configuration "scores", list of the scores of one gallery, ranked here in float64,
        ties by lower index.
    references: the rankings to compare with, in the same form; same length as predictions.
    k: a depth or a list of them, by default [10].
    ci95: whether to add a bootstrap 95% interval over the pairs, by default False.
Returns:
    average_overlap@k: float in 0..1 for each k, the mean over the pairs of lists.
    average_overlap@k_ci95: [low, high], with ci95.
Examples:
    >>> metric = evaluate.load("eval/metrics/average_overlap")
    >>> metric.compute(predictions=[["a", "b", "c"]], references=[["b", "a", "c"]], k=[1, 2])
    {'average_overlap@1': 0.0, 'average_overlap@2': 0.5}
"""

_CITATION = """
@article{webber2010similarity,
    title={A Similarity Measure for Indefinite Rankings},
    author={Webber, William and Moffat, Alistair and Zobel, Justin},
    journal={ACM Transactions on Information Systems}, volume={28}, number={4}, year={2010}
}
"""


def average_overlap(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """AO@k of each row: `a`, `b` are (n, >= k) ranked ids without repeats in a row -> (n,) float64 in 0..1."""
    if k < 1 or len(a) != len(b) or not len(a):
        raise ValueError(f"average_overlap: k has to be 1 or more, is {k}; {len(a)} rankings against {len(b)}")
    if a.shape[1] < k or b.shape[1] < k:
        raise ValueError(f"average_overlap@{k} needs rankings of {k} ids, got {min(a.shape[1], b.shape[1])}")
    overlap = np.empty(len(a))
    step = max(1, 2**26 // (k * k))  # rows at a time: comparing all with all takes k * k numbers per row
    depth = np.maximum(*np.indices((k, k)))
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        # an id at ranks (i, j) is common to both lists from depth max(i, j) + 1 on
        found, at = (a[rows, :k, None] == b[rows, None, :k]).reshape(-1, k * k).nonzero()
        first_common_at = np.zeros((len(a[rows]), k))
        np.add.at(first_common_at, (found, depth.ravel()[at]), 1)
        overlap[rows] = (first_common_at.cumsum(axis=1) / np.arange(1, k + 1)).mean(axis=1)
    return overlap


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


def _depths(k) -> list[int]:
    """`k`, a depth or a list of them, as a list; ValueError unless they are whole numbers of 1 or more."""
    depths = list(k) if isinstance(k, (list, tuple, np.ndarray)) else [k]
    are_whole = all(isinstance(depth, (int, np.integer)) and not isinstance(depth, bool) for depth in depths)
    if not depths or not are_whole or min(depths) < 1:
        raise ValueError(f"average_overlap: k has to be a whole number of 1 or more, or a list of them, is {k!r}")
    return [int(depth) for depth in depths]


def _check_ids(rankings) -> None:
    """ValueError unless the ids are all integers or all strings: 5 and "5" would never be equal."""
    rows = [ids.tolist() if hasattr(ids, "tolist") else ids for ids in rankings]
    kinds = {type(item) for ids in rows if isinstance(ids, (list, tuple)) for item in ids}
    are_integers = all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in kinds)
    if not are_integers and not all(issubclass(kind, str) for kind in kinds):
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"average_overlap: ids have to be all integers or all strings, got {found}")


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class AverageOverlap(evaluate.Metric):
    """The module that `evaluate.load` gives."""

    def _info(self):
        kinds = ("float64",) if self.config_name == "scores" else ("string", "int64")
        lists = [datasets.Sequence(datasets.Value(kind)) for kind in kinds]
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=[datasets.Features({"predictions": ids, "references": ids}) for ids in lists],
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Keep a batch, as `compute` does with its own. ValueError if one is no list."""
        for given in (predictions, references):
            if isinstance(given, (str, bytes, dict)) or not hasattr(given, "__len__") or getattr(given, "ndim", 1) < 1:
                raise ValueError("average_overlap: predictions and references have to be lists")
            if not len(given):
                raise ValueError("average_overlap: predictions and references are empty")
        if self.config_name != "scores":
            _check_ids([*predictions, *references])
        try:
            super().add_batch(predictions=predictions, references=references, **kwargs)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"average_overlap: a value is of a wrong type: {error}") from error

    def _compute(self, predictions, references, k=(10,), ci95=False):
        k = _depths(k)
        a, b = (self._ranked(rankings, max(k)) for rankings in (predictions, references))
        result: dict[str, float | list[float]] = {}
        for depth in k:
            values = average_overlap(a, b, depth)
            result[f"average_overlap@{depth}"] = float(values.mean())
            if ci95:
                result[f"average_overlap@{depth}_ci95"] = _ci95(values)
        return result

    def _ranked(self, rankings, k):
        if self.config_name == "scores":  # row by row: the matrix is never in memory as a whole
            scores = (np.asarray(row, np.float64) for row in rankings)
            rankings = [np.argsort(-row, kind="stable")[:k] if np.isfinite(row).all() else None for row in scores]
            if any(row is None for row in rankings):
                raise ValueError("average_overlap: scores are not all numbers")
        if any(ids is None or None in list(ids) for ids in rankings):
            raise ValueError("average_overlap: a ranking, or an id in it, is missing")
        shortest = min(map(len, rankings), default=0)
        ranked = np.array([list(ids[:shortest]) for ids in rankings]).reshape(len(rankings), shortest)
        for row, ids in enumerate(ranked):
            if len(set(ids)) < shortest:
                raise ValueError(f"average_overlap: the ranking {row} has an id twice")
        return ranked
