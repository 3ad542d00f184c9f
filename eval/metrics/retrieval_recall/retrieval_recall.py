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
    predictions: list of ranked lists of ids (integers or strings), best first, each without repeats.
    references: list of lists of ids, the right answers of each query; at least one each.
    k: a depth or a list of them, by default [1, 5, 10]. A ranking may be shorter than k only where it holds the whole
        gallery.
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


def retrieval_recall(ranks: np.ndarray, k: int) -> np.ndarray:
    """R@k of each query: (n,) ranks from 1 of its best right answer, inf where there is none -> (n,) float64 0 or 1.

    Raises ValueError where a rank is not a number, or below 1.
    """
    ranks = np.asarray(ranks, np.float64)
    if k < 1 or not (ranks >= 1).all():
        raise ValueError(f"retrieval_recall: ranks and k have to be 1 or more, got {ranks.min(initial=k)} and {k}")
    return (ranks <= k).astype(np.float64)


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
        raise ValueError(f"retrieval_recall: k has to be a whole number of 1 or more, or a list of them, is {k!r}")
    return [int(depth) for depth in depths]


def _check_ids(rankings) -> None:
    """ValueError unless the ids are all integers or all strings: 5 and "5" would never be equal."""
    rows = [ids.tolist() if hasattr(ids, "tolist") else ids for ids in rankings]
    kinds = {type(item) for ids in rows if isinstance(ids, (list, tuple)) for item in ids}
    are_integers = all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in kinds)
    if not are_integers and not all(issubclass(kind, str) for kind in kinds):
        found = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise ValueError(f"retrieval_recall: ids have to be all integers or all strings, got {found}")


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class RetrievalRecall(evaluate.Metric):
    """The module that `evaluate.load` gives."""

    def _info(self):
        lists = [datasets.Sequence(datasets.Value(kind)) for kind in ("string", "int64")]
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
                raise ValueError("retrieval_recall: predictions and references have to be lists")
            if not len(given):
                raise ValueError("retrieval_recall: predictions and references are empty")
        _check_ids([*predictions, *references])
        try:
            super().add_batch(predictions=predictions, references=references, **kwargs)
        except (TypeError, OverflowError) as error:
            raise ValueError(f"retrieval_recall: a value is of a wrong type: {error}") from error

    def _compute(self, predictions, references, k=(1, 5, 10), ci95=False):
        k = _depths(k)
        ranks = best_ranks(predictions, references)
        result: dict[str, float | list[float]] = {}
        for depth in k:
            values = retrieval_recall(ranks, depth)
            result[f"recall@{depth}"] = float(values.mean())
            if ci95:
                result[f"recall@{depth}_ci95"] = _ci95(values)
        return {**result, "median_rank": float(np.median(ranks))}
