"""Jaccard similarity of the tops of two rankings, as ParaCLIP reports it (JS@10)."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
The share of ids that two ranked lists have in common among their first k, whatever the order:
    JS@k = |A[:k] & B[:k]| / |A[:k] | B[:k]|
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: list of ranked lists of ids, best first, each without repeats and with at least max(k) ids.
    references: likewise, the ranking to compare with; same length as predictions.
    k: list of depths, by default [10].
Returns:
    jaccard_similarity@k: float in 0..1 for each k, the mean over the pairs of lists.
Examples:
    >>> metric = evaluate.load("eval/metrics/jaccard_similarity")
    >>> metric.compute(predictions=[["a", "b", "c"]], references=[["b", "d", "c"]], k=[1, 3])
    {'jaccard_similarity@1': 0.0, 'jaccard_similarity@3': 0.5}
"""

_CITATION = """
@article{jaccard1912distribution,
    title={The Distribution of the Flora in the Alpine Zone},
    author={Jaccard, Paul}, journal={New Phytologist}, volume={11}, number={2}, year={1912}
}
"""


def jaccard_similarity(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """JS@k of each row: `a`, `b` are (n, >= k) ranked ids without repeats in a row -> (n,) float64 in 0..1."""
    if a.shape[1] < k or b.shape[1] < k:
        raise ValueError(f"jaccard_similarity@{k} needs rankings of {k} ids, got {min(a.shape[1], b.shape[1])}")
    common = (a[:, :k, None] == b[:, None, :k]).sum(axis=(1, 2))
    return common / (2 * k - common)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class JaccardSimilarity(evaluate.Metric):
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
        return {f"jaccard_similarity@{depth}": float(jaccard_similarity(a, b, depth).mean()) for depth in k}
