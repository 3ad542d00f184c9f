"""Each metric's formula, worked out slowly, and checks of a module of `evaluate`."""

import doctest
from pathlib import Path
from types import SimpleNamespace

import evaluate
import numpy as np

METRICS = Path(__file__).parents[3] / "eval" / "metrics"


def slow_average_overlap(a, b, k):
    return sum(len(set(a[:d]) & set(b[:d])) / d for d in range(1, k + 1)) / k


def slow_jaccard(a, b, k):
    return len(set(a[:k]) & set(b[:k])) / len(set(a[:k]) | set(b[:k]))


def slow_ranks(values):
    """Mean rank among equals, by counting."""
    return [sum(o < v for o in values) + (sum(o == v for o in values) + 1) / 2 for v in values]


def slow_pearson(a, b):
    n, a, b = len(a), np.array(a, float), np.array(b, float)
    return (((a - a.sum() / n) * (b - b.sum() / n)).sum()) / (
        (((a - a.sum() / n) ** 2).sum() * ((b - b.sum() / n) ** 2).sum()) ** 0.5
    )


def load(name, cache_dir, config=None):
    return evaluate.load(str(METRICS / name), config, cache_dir=str(cache_dir))


def holds_its_examples(metric):
    """Whether the examples in the documentation of the metric are true."""
    names = {"evaluate": SimpleNamespace(load=lambda path: metric)}
    test = doctest.DocTestParser().get_doctest(metric.inputs_description, names, metric.name, None, None)
    return bool(test.examples) and doctest.DocTestRunner().run(test).failed == 0


def interval_holds_the_value(metric, key, **inputs):
    """Whether `ci95` adds an interval around the value, and only then."""
    result = metric.compute(**inputs, ci95=True)
    low, high = result[f"{key}_ci95"]
    return low <= result[key] <= high and low < high and f"{key}_ci95" not in metric.compute(**inputs)
