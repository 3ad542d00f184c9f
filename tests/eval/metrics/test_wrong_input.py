"""Whatever a metric is given instead of numbers or rankings is refused with a ValueError that names the metric."""

import importlib

import numpy as np
import pytest

NAN = float("nan")
GOOD = {
    "average_overlap": ([["a", "b"]], [["b", "a"]]),
    "jaccard_similarity": ([["a", "b"]], [["b", "a"]]),
    "retrieval_recall": ([["a", "b"]], [["a"]]),
    "multiple_choice_accuracy": ([[0.9, 0.1]], [0]),
    "zero_shot_accuracy": ([[0.9, 0.1]], [0]),
    "sts_spearman": ([0.1, 0.2, 0.3], [1, 2, 3]),
}
WITH_K = ("average_overlap", "jaccard_similarity", "retrieval_recall")


@pytest.fixture
def compute(tmp_path):
    def run(name, **inputs):
        module = importlib.import_module(f"eval.metrics.{name}.{name}")
        metric = getattr(module, "".join(map(str.capitalize, name.split("_"))))
        return metric(cache_dir=str(tmp_path)).compute(**inputs)

    return run


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize(
    "wrong", [5, "abc", {"a": 1}, np.array(3), [None], [], [[], []], [10**30], [Ellipsis]], ids=repr
)
def test_wrong_types_and_lengths(name, wrong, compute):
    predictions, references = GOOD[name]
    depths = {"k": [1]} if name in WITH_K else {}
    compute(name, predictions=predictions, references=references, **depths)
    for pair in ((wrong, references), (predictions, wrong), (wrong, wrong)):
        if name == "retrieval_recall" and pair[0] is predictions and str(wrong) == str([10**30]):
            continue  # an id like any other
        with pytest.raises(ValueError, match=r"\w"):
            compute(name, predictions=pair[0], references=pair[1], **depths)


@pytest.mark.parametrize(
    ("name", "predictions"),
    [("multiple_choice_accuracy", [[NAN, 1]]), ("zero_shot_accuracy", [[NAN, 1]]), ("sts_spearman", [NAN, 1, 2])],
)
def test_what_is_not_a_number(name, predictions, compute):
    with pytest.raises(ValueError, match=name):
        compute(name, predictions=predictions, references=GOOD[name][1])
    missing = [[None, 1.0]] if isinstance(predictions[0], list) else [None, 1.0, 2.0]
    with pytest.raises(ValueError, match=name):
        compute(name, predictions=missing, references=GOOD[name][1])


@pytest.mark.parametrize("name", WITH_K)
@pytest.mark.parametrize("k", [0, 1.0, True, None, [], [0], [-1], [1.5], ["1"], "1", [NAN], [None], [[1]]], ids=repr)
def test_wrong_depths(name, k, compute):
    predictions, references = GOOD[name]
    with pytest.raises(ValueError, match=f"{name}: k has to be a whole number of 1 or more, or a list"):
        compute(name, predictions=predictions, references=references, k=k)


@pytest.mark.parametrize("k", [10**9, 10**30])
def test_depths_beyond_the_rankings(k, compute):
    for name in WITH_K[:2]:
        with pytest.raises(ValueError, match=f"{name}@{k} needs rankings of {k} ids, got 2"):
            compute(name, predictions=[["a", "b"]], references=[["a", "b"]], k=[k])


@pytest.mark.parametrize("name", ["multiple_choice_accuracy", "zero_shot_accuracy"])
def test_a_label_that_is_no_whole_number(name, compute):
    with pytest.raises(ValueError, match=f"{name}: references have to be whole numbers"):
        compute(name, predictions=[[0.9, 0.1]], references=[0.5])


@pytest.mark.parametrize("name", [name for name in GOOD if name != "sts_spearman"])
def test_interval_of_equal_values_is_exact(name, compute):
    """One item of one: any other outcome has at most the probability 0.975, or it would not have been so likely."""
    predictions, references = (values[:1] for values in GOOD[name])
    depth = {"k": 2} if name in WITH_K else {}
    result = compute(name, predictions=predictions, references=references, ci95=True, **depth)
    key = next(key for key in result if key.endswith("_ci95"))
    assert result[key.removesuffix("_ci95")] == 1 or name == "average_overlap"
    equal = result[key.removesuffix("_ci95")]
    assert result[key] == pytest.approx([0.025 * equal, 0.025 * equal + 0.975])


@pytest.mark.parametrize("groups", [5, "a", [], [None], [[1]], ["a", "b"]])
def test_wrong_groups(groups, compute):
    with pytest.raises(ValueError, match="multiple_choice_accuracy: groups"):
        compute("multiple_choice_accuracy", predictions=[[0.9, 0.1]], references=[0], groups=groups)
