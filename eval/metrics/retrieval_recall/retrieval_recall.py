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

    def _compute(self, predictions, references, k=(1, 5, 10), ci95=False):
        if min(k) < 1:
            raise ValueError(f"retrieval_recall: k is {min(k)}, but has to be 1 or more")
        ranks = best_ranks(predictions, references)
        result: dict[str, float | list[float]] = {}
        for depth in k:
            result[f"recall@{depth}"] = float((ranks <= depth).mean())
            if ci95:
                result[f"recall@{depth}_ci95"] = _ci95(ranks <= depth)
        return {**result, "median_rank": float(np.median(ranks))}
