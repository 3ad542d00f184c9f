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
    predictions: list of ranked lists of ids, best first, each without repeats and with at least max(k) ids.
    references: likewise, the ranking to compare with; same length as predictions.
    k: list of depths, by default [10].
Returns:
    average_overlap@k: float in 0..1 for each k, the mean over the pairs of lists.
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
    if a.shape[1] < k or b.shape[1] < k:
        raise ValueError(f"average_overlap@{k} needs rankings of {k} ids, got {min(a.shape[1], b.shape[1])}")
    same = a[:, :k, None] == b[:, None, :k]
    # an id at ranks (i, j) is common to both lists from depth max(i, j) + 1 on
    depth = np.maximum(*np.indices((k, k)))
    first_common_at = np.stack([(same & (depth == d)).sum(axis=(1, 2)) for d in range(k)], axis=1)
    return (first_common_at.cumsum(axis=1) / np.arange(1, k + 1)).mean(axis=1)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class AverageOverlap(evaluate.Metric):
    def _info(self):
        ids = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": ids, "references": ids}),
        )

    def _compute(self, predictions, references, k=(10,)):
        shortest = min(map(len, [*predictions, *references]))
        a, b = (np.array([ids[:shortest] for ids in rankings]) for rankings in (predictions, references))
        return {f"average_overlap@{depth}": float(average_overlap(a, b, depth).mean()) for depth in k}
