"""Recall of retrieval at several depths, and the median rank, with any number of right answers per query."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
A query is answered at k where one of its right answers is among the first k of its ranking: R@k is
the share of such queries. The rank of a query is that of its best right answer, from 1; the median rank is the median
over queries. Text-to-image and image-to-text are two calls: with texts as queries and one picture each, then with
pictures as queries and all their texts.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: list of ranked lists of ids, best first, each without repeats.
    references: list of lists of ids, the right answers of each query; at least one each.
    k: list of depths, by default [1, 5, 10]. A ranking may be shorter than k only where it holds the whole gallery.
    ci95: whether to add a bootstrap 95% interval over the queries, by default False.
Returns:
    recall@k: float in 0..1 for each k.
    recall@k_ci95: [low, high], with ci95.
    median_rank: float, 1 or more; inf where at least half of the queries have no right answer in their ranking.
Examples:
    >>> metric = evaluate.load("eval/metrics/retrieval_recall")
    >>> metric.compute(predictions=[["a", "b"], ["b", "a"]], references=[["a"], ["a", "c"]], k=[1, 2])
    {'recall@1': 0.5, 'recall@2': 1.0, 'median_rank': 1.5}
"""

_CITATION = """
@article{hodosh2013framing,
    title={Framing Image Description as a Ranking Task: Data, Models and Evaluation Metrics},
    author={Hodosh, Micah and Young, Peter and Hockenmaier, Julia},
    journal={Journal of Artificial Intelligence Research}, volume={47}, year={2013}
}
"""


def best_ranks(rankings: list[list], right: list[list]) -> np.ndarray:
    """(n,) float64 rank, from 1, of each query's best right answer; inf where its ranking has none.

    Raises ValueError on other lengths, a query without a right answer, or an id twice in a ranking.
    """
    if len(rankings) != len(right) or not len(rankings):
        raise ValueError(f"retrieval_recall: {len(rankings)} rankings for {len(right)} lists of right answers")
    ranks = np.full(len(rankings), np.inf)
    for i, (ranking, answers) in enumerate(zip(rankings, right)):
        if ranking is None or answers is None:
            raise ValueError(f"retrieval_recall: the ranking or the right answers of query {i} are missing")
        place = {item: rank for rank, item in enumerate(ranking, start=1)}
        if len(place) < len(ranking):
            raise ValueError(f"retrieval_recall: the ranking {i} has an id twice")
        if not len(answers):
            raise ValueError(f"retrieval_recall: the query {i} has no right answer")
        ranks[i] = min((place[answer] for answer in answers if answer in place), default=np.inf)
    return ranks


def _ci95(values: np.ndarray) -> list[float]:
    """[low, high]: seeded percentile bootstrap (2,000 resamples) of the mean."""
    rng = np.random.default_rng(0)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(2000)]
    return np.percentile(means, (2.5, 97.5)).tolist()


def _depths(k) -> list[int]:
    """`k` as whole numbers of 1 or more; ValueError if it is anything else."""
    is_list = isinstance(k, (list, tuple, np.ndarray)) and len(k) > 0
    if not is_list or not all(isinstance(depth, (int, np.integer)) and depth >= 1 for depth in k):
        raise ValueError(f"retrieval_recall: k has to be a list of whole numbers of 1 or more, is {k!r}")
    return [int(depth) for depth in k]


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class RetrievalRecall(evaluate.Metric):
    """The module that `evaluate.load` gives."""

    def _info(self):
        ids = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": ids, "references": ids}),
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Keep a batch, as `compute` does with its own. ValueError if one is no list."""
        for given in (predictions, references):
            if isinstance(given, (str, bytes, dict)) or not hasattr(given, "__len__") or getattr(given, "ndim", 1) < 1:
                raise ValueError("retrieval_recall: predictions and references have to be lists")
        try:
            super().add_batch(predictions=predictions, references=references, **kwargs)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"retrieval_recall: a value is of a wrong type: {error}") from error

    def _compute(self, predictions, references, k=(1, 5, 10), ci95=False):
        k = _depths(k)
        ranks = best_ranks(predictions, references)
        result: dict[str, float | list[float]] = {}
        for depth in k:
            result[f"recall@{depth}"] = float((ranks <= depth).mean())
            if ci95:
                result[f"recall@{depth}_ci95"] = _ci95(ranks <= depth)
        return {**result, "median_rank": float(np.median(ranks))}
