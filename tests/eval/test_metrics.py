"""Each metric against a slow computation that reads like its formula, and as a module of `evaluate`."""

import doctest
from pathlib import Path
from types import SimpleNamespace

import evaluate
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import ranking
from eval.metrics.average_overlap.average_overlap import average_overlap
from eval.metrics.jaccard_similarity.jaccard_similarity import jaccard_similarity
from eval.metrics.retrieval_recall.retrieval_recall import best_ranks
from eval.metrics.zero_shot_accuracy.zero_shot_accuracy import mean_per_class, ranks_of
from eval.ranking import rank, top_k
from eval.tasks.image_text_retrieval import image_text_retrieval_values
from eval.tasks.paraphrased_retrieval import overlaps

METRICS = Path(__file__).parents[2] / "eval" / "metrics"


def slow_average_overlap(a, b, k):
    return sum(len(set(a[:d]) & set(b[:d])) / d for d in range(1, k + 1)) / k


def slow_jaccard(a, b, k):
    return len(set(a[:k]) & set(b[:k])) / len(set(a[:k]) | set(b[:k]))


rankings = st.integers(1, 8).flatmap(
    lambda k: st.tuples(
        st.just(k),
        st.lists(st.tuples(*[st.permutations(range(12)).map(lambda ids: ids[:9])] * 2), min_size=1, max_size=4),
    )
)


@settings(deadline=None)
@given(rankings)
def test_overlaps_are_their_formulas(case):
    k, pairs = case
    a, b = (np.array([pair[side] for pair in pairs]) for side in (0, 1))
    np.testing.assert_allclose(average_overlap(a, b, k), [slow_average_overlap(*pair, k) for pair in pairs])
    np.testing.assert_allclose(jaccard_similarity(a, b, k), [slow_jaccard(*pair, k) for pair in pairs])


@pytest.mark.parametrize(
    ("name", "slow"), [("average_overlap", slow_average_overlap), ("jaccard_similarity", slow_jaccard)]
)
def test_loads_as_an_evaluate_module(name, slow, tmp_path):
    metric = evaluate.load(str(METRICS / name), cache_dir=str(tmp_path))
    a, b = [["a", "b", "c"], ["d", "e", "f"]], [["b", "a", "x"], ["d", "e", "f"]]
    results = metric.compute(predictions=a, references=b, k=[1, 2, 3])
    assert results == pytest.approx(
        {f"{name}@{k}": (slow(a[0], b[0], k) + slow(a[1], b[1], k)) / 2 for k in (1, 2, 3)}
    )
    with pytest.raises(ValueError, match=f"{name}@4 needs rankings of 4 ids, got 3"):
        metric.compute(predictions=a, references=b, k=[4])


def test_ties_break_by_lower_index():
    gallery = np.array([[1.0, 0], [1, 0], [0, 1], [1, 0]])
    assert rank(np.array([[1.0, 0]]), gallery, 4).tolist() == [[0, 1, 3, 2]]


def test_paraphrased_retrieval_of_the_same_wording_is_1():
    embeds = np.random.default_rng(0).normal(size=(5, 4))
    assert all((values == 1).all() for values in overlaps(embeds, embeds, embeds, k=3).values())


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_recall_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    texts, gallery = rng.integers(-2, 3, (9, 2)), rng.integers(-2, 3, (6, 2))  # many ties
    own = rng.integers(0, 5, 9)  # picture 5 is a distractor
    measured = image_text_retrieval_values(texts, gallery, own, ks=(1, 3))
    for k in (1, 3):
        hits = [own[i] in sorted(range(6), key=lambda j: (-(texts[i] @ gallery[j]), j))[:k] for i in range(9)]
        assert measured[f"text_to_image_recall@{k}"].tolist() == hits
        hits = [
            any(own[i] == j for i in sorted(range(9), key=lambda i: (-(texts[i] @ gallery[j]), i))[:k])
            for j in sorted(set(own))
        ]
        assert measured[f"image_to_text_recall@{k}"].tolist() == hits


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 7), st.integers(1, 9), st.integers(1, 9))
def test_ranking_in_tiles_is_a_stable_sort(seed, k, queries, gallery):
    """Small whole numbers: many ties, and arithmetic without rounding, so that tiles cannot change a score."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-2, 3, (11, 3)).astype(np.float32), rng.integers(-2, 3, (23, 3)).astype(np.float16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "QUERIES", queries)
        patch.setattr(ranking, "GALLERY", gallery)
        ranked = rank(a, b, k)
    assert ranked.tolist() == [sorted(range(23), key=lambda j: (-(a[i] @ b[j]), j))[:k] for i in range(11)]


def test_ranking_of_a_small_gallery_and_of_no_numbers():
    assert rank(np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)[:2], 10).tolist() == [[0, 1], [1, 0], [0, 1]]
    with pytest.raises(ValueError, match="row 1 are not all numbers"):
        top_k([torch.tensor([[1.0, 2], [float("nan"), 1]])], 1)


def test_overlap_of_deep_rankings_is_its_formula():
    rng = np.random.default_rng(0)
    a, b = (np.stack([rng.permutation(400)[:300] for _ in range(3)]) for _ in "ab")
    np.testing.assert_allclose(average_overlap(a, b, 300), [slow_average_overlap(*pair, 300) for pair in zip(a, b)])


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_retrieval_recall_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    rankings = [rng.permutation(8)[:6].tolist() for _ in range(5)]
    right = [rng.permutation(8)[: rng.integers(1, 4)].tolist() for _ in range(5)]
    for rank_, ranking_, answers in zip(best_ranks(rankings, right), rankings, right):
        for k in range(1, 7):
            assert (rank_ <= k) == bool(set(ranking_[:k]) & set(answers))


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_zero_shot_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 4, (9, 7)), rng.integers(0, 7, 9)
    for row, label, rank_ in zip(scores, labels, ranks_of(scores, labels)):
        assert rank_ == sum(row[c] >= row[label] for c in range(7) if c != label)
    right = rng.integers(0, 2, 9).astype(float)
    expected = np.mean([right[labels == c].mean() for c in set(labels)])
    assert mean_per_class(right, labels).mean() == pytest.approx(expected)


MODULES = sorted(path.name for path in METRICS.iterdir() if (path / f"{path.name}.py").is_file())


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_the_docstrings_are_true(name, tmp_path):
    metric = evaluate.load(str(METRICS / name), cache_dir=str(tmp_path))
    names = {"evaluate": SimpleNamespace(load=lambda path: metric)}
    test = doctest.DocTestParser().get_doctest(metric.inputs_description, names, name, None, None)
    assert test.examples and doctest.DocTestRunner().run(test).failed == 0


PAIR = {"predictions": [["a", "b"], ["c", "d"]], "references": [["a", "b"], ["d", "e"]]}
CASES = {
    "average_overlap": ({**PAIR, "k": [1, 2]}, "average_overlap@2"),
    "jaccard_similarity": ({**PAIR, "k": [2]}, "jaccard_similarity@2"),
    "retrieval_recall": ({"predictions": [["a", "b"], ["b", "a"]], "references": [["a"]] * 2, "k": [1]}, "recall@1"),
    "zero_shot_accuracy": ({"predictions": [[0.1, 0.2], [0.3, 0.1]], "references": [1, 1]}, "top1_accuracy"),
    "multiple_choice_accuracy": (
        {"predictions": [[0.1, 0.2], [0.3, 0.1]], "references": [1, 1]},
        "multiple_choice_accuracy",
    ),
    "sts_spearman": ({"predictions": [0.1, 0.5, 0.3, 0.9], "references": [1, 2, 4, 3]}, "sts_spearman"),
}


@pytest.mark.parametrize("name", CASES)
def test_interval_on_request_holds_the_value(name, tmp_path):
    inputs, key = CASES[name]
    metric = evaluate.load(str(METRICS / name), cache_dir=str(tmp_path))
    result = metric.compute(**inputs, ci95=True)
    low, high = result[f"{key}_ci95"]
    assert low <= result[key] <= high and low < high
    assert f"{key}_ci95" not in metric.compute(**inputs)


@pytest.mark.parametrize("name", ["average_overlap", "jaccard_similarity"])
def test_overlap_of_two_score_matrices_given_in_chunks(name, tmp_path):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 6, 9)).astype(float)  # many ties
    metric = evaluate.load(str(METRICS / name), "scores", cache_dir=str(tmp_path))
    for rows in (slice(0, 4), slice(4, 6)):
        metric.add_batch(predictions=a[rows], references=b[rows])
    ranked = [[sorted(range(9), key=lambda j: (-row[j], j)) for row in scores] for scores in (a, b)]
    slow = {"average_overlap": slow_average_overlap, "jaccard_similarity": slow_jaccard}[name]
    expected = np.mean([slow(x, y, 3) for x, y in zip(*ranked)])
    assert metric.compute(k=[3])[f"{name}@3"] == pytest.approx(expected)


def test_groups_can_be_excluded(tmp_path):
    metric = evaluate.load(str(METRICS / "multiple_choice_accuracy"), cache_dir=str(tmp_path))
    inputs = {"predictions": [[1, 0], [1, 0], [0, 1]], "references": [0, 1, 0], "groups": ["a", "near", "b"]}
    result = metric.compute(**inputs, exclude_groups=["near"])
    assert result == {"multiple_choice_accuracy": 0.5, "multiple_choice_accuracy_macro": 0.5}
    with pytest.raises(ValueError, match="no item is left"):
        metric.compute(**inputs, exclude_groups=["a", "b", "near"])


REFUSED = [
    ("average_overlap", [["a", "a"]], [["a", "b"]], {"k": [2]}, "ranking 0 has an id twice"),
    ("average_overlap", [["a", "b"]], [["a", "b"]], {"k": [0]}, "k has to be 1 or more"),
    ("jaccard_similarity", [["a", "a"]], [["a", "b"]], {"k": [2]}, "has an id twice"),
    ("jaccard_similarity", [["a", "b"]], [["a"]], {"k": [2]}, "needs rankings of 2 ids, got 1"),
    ("retrieval_recall", [["a", "a"]], [["a"]], {}, "ranking 0 has an id twice"),
    ("retrieval_recall", [["a", "b"]], [["a"]], {"k": [0]}, "k is 0"),
    ("zero_shot_accuracy", [[0.1, float("nan")]], [0], {}, "item 0 are not numbers"),
    ("zero_shot_accuracy", [[0.1, 0.2]], [2], {}, "labels 2 to 2, but 2 classes"),
    ("zero_shot_accuracy", [[0.1]], [0], {}, r"shape \(1, 1\)"),
]


@pytest.mark.parametrize(("name", "predictions", "references", "options", "message"), REFUSED)
def test_metrics_refuse(name, predictions, references, options, message, tmp_path):
    metric = evaluate.load(str(METRICS / name), cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match=message):
        metric.compute(predictions=predictions, references=references, **options)
