"""What is made of the values of single queries: the figure, its 95% interval, and the paired difference of two models.

A statistic holds what the data set knows and is the same for every model (groups, ratings, which queries belong
together); `values` are what one model gave. To add a statistic, write a class with these three methods here.

Intervals are percentile bootstraps with a fixed seed (Efron & Tibshirani 1993, chapter 13). Where
all values are equal there is nothing to resample; see `_of_equal_values`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from scipy import stats

from .metrics.sts_spearman.sts_spearman import spearman

RESAMPLES = 2000
CORRELATIONS = 500  # resamples of a correlation, whose ranks take time
BATCH = 100  # resamples at a time: memory does not grow with their number


@dataclass(frozen=True)
class Difference:
    """`tuned - base` on the same queries, its 95% interval, and the p-value of no difference (two-sided)."""

    value: float
    ci95: list[float]
    p: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.ci95[0] > 0 or self.ci95[1] < 0


class Statistic(Protocol):
    """What a `Scored` needs of its statistic. All values are float64 arrays of one dimension."""

    def value(self, values: np.ndarray) -> float:
        """The figure; NaN where it is undefined."""

    def ci95(self, values: np.ndarray) -> list[float]:
        """[low, high]."""

    def difference(self, base: np.ndarray, tuned: np.ndarray) -> Difference:
        """Two models compared on the same queries."""


@dataclass(frozen=True)
class Mean:
    """The mean of one number in 0..1 per query.

    Args:
        units: (n,) labels, or None where queries are independent. Queries with the same label are not, e.g. the
            captions of one picture: units are resampled, each with all its queries.
    """

    units: np.ndarray | None = field(default=None, compare=False)

    def value(self, values: np.ndarray) -> float:
        """The figure."""
        return float(values.mean())

    def ci95(self, values: np.ndarray) -> list[float]:
        """[low, high]."""
        return (
            _percentiles(self._resampled(values))
            if np.ptp(values)
            else _of_equal_values(values, 0, self._size(values))
        )

    def difference(self, base: np.ndarray, tuned: np.ndarray) -> Difference:
        """Of the means on the same queries."""
        return _difference(tuned - base, self._resampled, self.value, self._size(base))

    def _size(self, values: np.ndarray) -> float:
        return len(values) if self.units is None else len(np.unique(self.units))

    def _resampled(self, values: np.ndarray) -> np.ndarray:
        """(RESAMPLES,) means."""
        sums, counts = values, np.ones(len(values))
        if self.units is not None:
            _, unit = np.unique(self.units, return_inverse=True)
            sums, counts = np.bincount(unit, weights=values), np.bincount(unit).astype(float)
        return np.concatenate([sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in _draws(len(sums))])


@dataclass(frozen=True)
class Macro:
    """The mean over groups of each group's mean. Items are resampled within their group, as the groups are given.

    Args:
        groups: (n,) the group of each item.
    """

    groups: Sequence | np.ndarray = field(compare=False)

    def value(self, values: np.ndarray) -> float:
        """The figure."""
        return float(np.mean([part.mean() for part in self._parts(values)]))

    def ci95(self, values: np.ndarray) -> list[float]:
        """[low, high]."""
        return (
            _percentiles(self._resampled(values))
            if np.ptp(values)
            else _of_equal_values(values, 0, self._size(values))
        )

    def difference(self, base: np.ndarray, tuned: np.ndarray) -> Difference:
        """Of the means on the same queries."""
        return _difference(tuned - base, self._resampled, self.value, self._size(base))

    def _parts(self, values: np.ndarray) -> list[np.ndarray]:
        _, group, sizes = np.unique(np.asarray(self.groups), return_inverse=True, return_counts=True)
        return np.split(values[np.argsort(group, kind="stable")], np.cumsum(sizes)[:-1])

    def _size(self, values: np.ndarray) -> float:
        """Kish's effective number of items: an item of a small group weighs more."""
        parts = self._parts(values)
        return 1 / sum(1 / (len(parts) ** 2 * len(part)) for part in parts)

    def _resampled(self, values: np.ndarray) -> np.ndarray:
        parts = self._parts(values)
        means = np.zeros(RESAMPLES)
        for seed, part in enumerate(parts):
            means += np.concatenate([part[drawn].mean(axis=1) for drawn in _draws(len(part), seed)])
        return means / len(parts)


@dataclass(frozen=True)
class Spearman:
    """Spearman's correlation of one number per pair, e.g. a cosine, with what people said of the pair.

    Args:
        ratings: (n,) of the pairs.
    """

    ratings: np.ndarray = field(compare=False)

    def value(self, values: np.ndarray) -> float:
        """The figure."""
        return spearman(values, self.ratings)

    def ci95(self, values: np.ndarray) -> list[float]:
        """[low, high]."""
        return _percentiles(self._resampled(values)[0])

    def difference(self, base: np.ndarray, tuned: np.ndarray) -> Difference:
        """On the same resamples of the pairs."""
        resampled = np.subtract(*self._resampled(tuned, base))
        return Difference(self.value(tuned) - self.value(base), _percentiles(resampled), _p(resampled))

    def _resampled(self, *models: np.ndarray) -> np.ndarray:
        """(models, CORRELATIONS) of the same resamples. One that is constant ranks nothing: left out."""
        found = []
        for drawn in _draws(len(self.ratings), count=CORRELATIONS):
            rows, size = drawn.shape
            counts = np.bincount((drawn + size * np.arange(rows)[:, None]).ravel(), minlength=rows * size)
            counts = counts.reshape(rows, size)
            ratings, *ranked = (_ranks(column, counts) - (size + 1) / 2 for column in (self.ratings, *models))
            found.append([_correlation(ranks, ratings, counts) for ranks in ranked])
        correlations = np.concatenate(found, axis=1)
        return correlations[:, np.isfinite(correlations).all(axis=0)]


@dataclass(frozen=True)
class Sampled:
    """The mean of a metric over samples that the protocol draws, the same for every model: values (samples,)."""

    def value(self, values: np.ndarray) -> float:
        """The figure."""
        return float(values.mean())

    def ci95(self, values: np.ndarray) -> list[float]:
        """[low, high]."""
        return _percentiles(values)

    def difference(self, base: np.ndarray, tuned: np.ndarray) -> Difference:
        """On the same samples."""
        difference = tuned - base
        return Difference(self.value(difference), _percentiles(difference), _p(difference))


MEAN, SAMPLED = Mean(), Sampled()


@dataclass(frozen=True)
class About:
    """Where the data of a figure come from, and how it was measured.

    Args:
        source: Hub id, or names of local files.
        revision: the Hub's, or "sha256:" and the beginning of the files' hash.
        split: of the source.
        protocol: one short line, e.g. "cropped".
        gallery: how many pictures were ranked.
        share: (rows measured, rows published) where this is a part of the data set.
    """

    source: str = ""
    revision: str | None = None
    split: str | None = None
    protocol: str = ""
    gallery: int | None = None
    share: tuple[int, int] | None = None


@dataclass(frozen=True)
class Scored:
    """What a task gives for one metric.

    Args:
        values: of one model, (n,) float64; see the statistic.
        statistic: what is made of them.
        about: where the data come from.
        queries: how many queries or pairs there are, where it is not n.
    """

    values: np.ndarray
    statistic: Statistic = MEAN
    about: About = About()
    queries: int | None = None

    @property
    def value(self) -> float:
        """The figure; NaN where it is undefined, e.g. the correlation of a model that puts all texts in one place."""
        return self.statistic.value(self.values)


def holm(p_values: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which of several comparisons are beyond noise when all are looked at together (Holm 1979). NaN: not."""
    order = np.argsort(p_values)  # NaN last
    kept = [False] * len(p_values)
    for place, i in enumerate(order):
        if not p_values[i] <= level / (len(p_values) - place):
            break
        kept[i] = True
    return kept


def _draws(size: int, seed: int = 0, count: int = RESAMPLES) -> Iterator[np.ndarray]:
    """`count` rows of `size` indices, BATCH rows at a time or fewer where there are many indices."""
    rng, left = np.random.default_rng(seed), count
    step = max(1, min(BATCH, 2**24 // size))
    while left:
        yield rng.integers(0, size, (min(step, left), size))
        left -= min(step, left)


def _ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,) values, of which each row of (rows, n) `counts` draws some -> their mean ranks among those drawn."""
    order = np.argsort(values)
    _, tie = np.unique(values, return_inverse=True)
    ends = np.flatnonzero(np.diff(values[order], append=np.inf))  # the last of each group of equal values
    upto = counts[:, order].cumsum(axis=1)[:, ends]
    below = np.pad(upto[:, :-1], ((0, 0), (1, 0)))
    return ((below + upto + 1) / 2)[:, tie]


def _correlation(a: np.ndarray, b: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(rows,) Pearson's correlations of centred numbers that occur `counts` times. NaN where one is constant."""

    def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.einsum("ij,ij,ij->i", x, y, counts)

    with np.errstate(invalid="ignore", divide="ignore"):
        return product(a, b) / np.sqrt(product(a, a) * product(b, b))


def _percentiles(resampled: np.ndarray) -> list[float]:
    """[low, high]: the middle 95%; NaN where there is none."""
    return np.percentile(resampled, (2.5, 97.5)).tolist() if len(resampled) else [np.nan, np.nan]


def _p(resampled: np.ndarray) -> float:
    """The two-sided p-value of 0, of a normal distribution: 2,000 resamples cannot resolve the levels of `holm`."""
    if not len(resampled):
        return np.nan
    spread = resampled.std()
    return float(2 * stats.norm.sf(abs(resampled.mean()) / spread)) if spread else float(resampled.mean() == 0)


def _of_equal_values(values: np.ndarray, lowest: float, size: float) -> list[float]:
    """[low, high] of the mean where all values are equal, also where there is only one.

    Any other value, which lies in `lowest`..1, has at most the probability u = 1 - 0.025^(1/size), or it would have
    been seen. For shares this is the exact interval of Clopper & Pearson (1934).
    """
    equal, unseen = float(values[0]), 1 - 0.025 ** (1 / size)
    return [(1 - unseen) * equal + unseen * lowest, (1 - unseen) * equal + unseen]


def _difference(
    values: np.ndarray, resample: Callable[[np.ndarray], np.ndarray], value: Callable[[np.ndarray], float], size: float
) -> Difference:
    if np.ptp(values):
        resampled = resample(values)
        return Difference(value(values), _percentiles(resampled), _p(resampled))
    p = min(1.0, 2 * 0.5**size) if values[0] else 1.0  # of the sign test
    return Difference(value(values), _of_equal_values(values, -1, size), p)
