import numpy as np
import pytest
from scipy import stats

from eval import statistics
from eval.statistics import MEAN, SAMPLED, Macro, Mean, Scored, Spearman, holm

RNG = np.random.default_rng(0)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    intervals = [MEAN.ci95(RNG.normal(size=100)) for _ in range(200)]
    assert 0.90 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.985


def test_captions_of_one_picture_are_resampled_together():
    of_picture = RNG.uniform(size=40)
    values, units = np.repeat(of_picture, 5), np.repeat([f"{i}.png" for i in range(40)], 5)
    together, alone = Mean(units).ci95(values), MEAN.ci95(values)
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])  # the square root of 5, in expectation
    assert together == pytest.approx(MEAN.ci95(np.sort(of_picture)), abs=0.02)
    assert Mean(units).value(values) == pytest.approx(of_picture.mean())
    base = np.repeat(RNG.uniform(size=40), 5)
    wide, narrow = (s.difference(base, values).ci95 for s in (Mean(units), MEAN))
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_pictures_with_more_captions_weigh_more():
    values, units = np.array([1.0, 1.0, 1.0, 0.0]), np.array([0, 0, 0, 1])
    assert set(np.round(Mean(units)._resampled(values), 6)) == {0.0, 0.75, 1.0}
    assert Mean(units).value(values) == 0.75


@pytest.mark.parametrize("sizes", [[1], [10, 1], [3, 40, 7]])
def test_a_macro_average_stays_between_0_and_1(sizes):
    groups = np.repeat([f"group {i}" for i in range(len(sizes))], sizes)
    macro = Macro(groups)
    right = np.ones(len(groups))
    assert macro.value(right) == 1
    low, high = macro.ci95(right)
    assert 0 <= low < high == 1
    mixed = RNG.integers(0, 2, len(groups)).astype(float)
    low, high = macro.ci95(mixed)
    assert 0 <= low <= macro.value(mixed) <= high <= 1
    assert macro.value(mixed) == pytest.approx(np.mean([mixed[groups == g].mean() for g in dict.fromkeys(groups)]))


def test_a_macro_average_is_resampled_within_its_groups():
    values, groups = np.array([0.0, 1.0, 1.0, 1.0]), ["a", "a", "b", "b"]
    assert set(Macro(groups)._resampled(values)) == {0.5, 0.75, 1.0}  # "b" is always right


@pytest.mark.parametrize("n", [1, 2, 50])
def test_equal_values_have_the_exact_interval(n):
    exact = stats.binomtest(n, n).proportion_ci(0.95, "exact")
    assert MEAN.ci95(np.ones(n)) == pytest.approx([exact.low, exact.high])
    assert MEAN.ci95(np.zeros(n)) == pytest.approx([1 - exact.high, 1 - exact.low])
    low, high = MEAN.ci95(np.full(n, 0.4))
    assert 0 < low < 0.4 < high < 1


def test_one_query_is_never_beyond_noise_and_many_that_agree_are():
    assert not MEAN.difference(np.zeros(1), np.ones(1)).beyond_noise
    assert MEAN.difference(np.zeros(1), np.ones(1)).p == 1
    assert MEAN.difference(np.zeros(50), np.ones(50)).beyond_noise
    same = MEAN.difference(np.ones(50), np.ones(50))
    assert (same.value, same.p, same.beyond_noise) == (0, 1, False)


def test_differences_are_paired():
    base = RNG.uniform(0, 0.9, 200)
    found = MEAN.difference(base, base + 0.01 + RNG.normal(0, 0.001, 200))
    assert found.beyond_noise
    assert found.p < 1e-6
    assert found.ci95 == pytest.approx([0.01, 0.01], abs=1e-3)
    assert not MEAN.difference(base, RNG.permutation(base)).beyond_noise


@pytest.mark.parametrize("levels", [1000, 4])
def test_a_correlation_is_resampled_as_scipy_would(levels):
    ratings = RNG.integers(0, 6, 30).astype(float)
    base, tuned = (np.round(levels * (ratings + scale * RNG.normal(size=30)) / 6) for scale in (3, 1))
    found = Spearman(ratings)._resampled(base, tuned)
    drawn = np.concatenate(list(statistics._draws(30, count=statistics.CORRELATIONS)))
    expected = [[stats.spearmanr(values[rows], ratings[rows]).statistic for rows in drawn] for values in (base, tuned)]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert Spearman(ratings).value(base) == pytest.approx(stats.spearmanr(base, ratings).statistic)
    difference = Spearman(ratings).difference(base, tuned)
    assert difference.ci95[0] < difference.value < difference.ci95[1]


def test_a_model_that_puts_all_texts_in_one_place_is_undefined():
    ratings, flat = np.array([0.0, 1.0, 5.0]), np.ones(3)
    assert np.isnan(Scored(flat, Spearman(ratings)).value)
    assert np.isnan(Spearman(ratings).ci95(flat)).all()
    difference = Spearman(ratings).difference(flat, np.array([0.1, 0.2, 0.3]))
    assert np.isnan([difference.value, difference.p]).all()
    assert not difference.beyond_noise


def test_samples_are_their_own_interval():
    samples = RNG.normal(0.5, 0.1, 1000)
    assert SAMPLED.ci95(samples) == np.percentile(samples, (2.5, 97.5)).tolist()
    assert SAMPLED.difference(samples, samples + 0.1).ci95 == pytest.approx([0.1, 0.1])


def test_holm_looks_at_all_comparisons_together():
    # thresholds 0.0125, 0.0167, 0.025, 0.05: the first that fails ends it
    assert holm([0.01, 0.04, 0.03, 0.005]) == [True, False, False, True]
    assert holm([0.01, 0.02, 0.03]) == [True, True, True]
    assert holm([np.nan, 0.02]) == [False, True]
    assert holm([]) == []
