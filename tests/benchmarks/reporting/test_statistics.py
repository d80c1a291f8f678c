import math

import numpy as np
import pytest
from scipy import stats

from benchmarks.reporting import statistics
from benchmarks.reporting.statistics import holm, mean_interval, paired_difference, pairs_needed, power
from fewshot.seeding import derive


def values(n, seed=0):
    return np.random.Generator(np.random.Philox(seed)).normal(50, 10, n)


@pytest.mark.parametrize("n", [2, 5, 600])
def test_interval_is_scipys_t_interval(n):
    sample = values(n)
    interval = mean_interval(sample)
    low, high = stats.t.interval(0.95, n - 1, loc=sample.mean(), scale=stats.sem(sample))
    assert interval.mean - interval.half_width == pytest.approx(low, rel=1e-12)
    assert interval.mean + interval.half_width == pytest.approx(high, rel=1e-12)
    assert interval.n == n


def test_interval_by_hand():
    """Mean 2, standard deviation 1, n = 3: half-width 4.302653 / sqrt(3)."""
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2
    assert interval.half_width == pytest.approx(4.3026527297 / math.sqrt(3), rel=1e-10)


def test_one_value_has_no_interval():
    assert math.isnan(mean_interval([3.0]).half_width)


@pytest.mark.parametrize("bad", [[], [1.0, float("nan")], [1.0, float("inf")], [[1.0]]])
def test_failures_are_never_averaged(bad):
    with pytest.raises(ValueError, match="finite"):
        mean_interval(bad)


def test_paired_difference_is_scipys():
    a, b = values(80), values(80, seed=1)
    difference = paired_difference(a, b)
    test = stats.ttest_rel(a, b)
    low, high = test.confidence_interval(0.95)
    assert difference.mean - difference.half_width == pytest.approx(low, rel=1e-12)
    assert difference.mean + difference.half_width == pytest.approx(high, rel=1e-12)
    assert difference.p == pytest.approx(stats.wilcoxon(a, b).pvalue, rel=1e-12)


def test_pairing_matters():
    a = values(200)
    shifted = a + 0.1 + 0.01 * values(200, seed=2) - 0.5
    paired = paired_difference(shifted, a)
    assert paired.half_width < 0.05 * mean_interval(a).half_width
    assert paired.p < 1e-3


def test_equal_methods_do_not_differ():
    difference = paired_difference(values(50), values(50))
    assert (difference.mean, difference.half_width, difference.p) == (0, 0, 1)


def test_the_interval_covers_as_often_as_it_says():
    generator = np.random.Generator(np.random.Philox(3))
    intervals = [mean_interval(sample) for sample in generator.normal(0, 1, (2000, 8))]
    covered = np.mean([abs(i.mean) <= i.half_width for i in intervals])
    assert 0.935 < covered < 0.965


def test_derived_seeds_are_distinct_and_stable():
    assert derive(0, "init") == 1519069808562059438
    assert len({derive(seed, name, i) for seed in range(5) for name in ("a", "b") for i in range(20)}) == 200
    assert all(0 <= derive(seed, "x") < 2**63 for seed in range(100))


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04, and never falls."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.6]), [0.02, np.nan, 0.6])
    np.testing.assert_array_equal(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).shape == (0,)


def test_power_at_published_sizes():
    """Cohen's small and medium effects need 199 and 34 pairs at 80 % power (G*Power 3.1, paired t, two-sided)."""
    assert pairs_needed(0.5) == 34
    assert pairs_needed(-0.2) == 199
    assert power(0.5, 33) < 0.8 <= power(0.5, 34)
    assert power(0.0, 10) == pytest.approx(0.05)


def test_power_is_how_often_the_test_rejects():
    samples = np.random.Generator(np.random.Philox(0)).normal(0.7, 1.0, (20_000, 12))
    rejected = (stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05).mean()
    assert power(0.7, 12) == pytest.approx(rejected, abs=0.01)


def test_power_has_no_gap_between_small_and_large_samples():
    assert power(0.02, 10_001) == pytest.approx(power(0.02, 10_000), abs=2e-4)
    assert power(20.0, 2) == pytest.approx(stats.chi2.cdf((20 * 2**0.5 / stats.t.ppf(0.975, 1)) ** 2, 1), abs=0.005)
    assert power(1e6, 5) == 1.0


def test_no_number_of_pairs_shows_no_effect():
    assert pairs_needed(0.0) is None
    assert pairs_needed(float("nan")) is None
    assert pairs_needed(1e-9) is None
    assert pairs_needed(100.0) == 2


@pytest.mark.parametrize(("target", "alpha"), [(0.8, 0.05), (0.95, 0.01), (0.2, 0.05)])
def test_the_search_for_pairs_finds_the_fewest(target, alpha):
    """Against its definition, and against doubling and halving from two pairs; 0.028 is where the tests change over."""
    effects = [3e-4, 0.003, 0.02, 0.02797, 0.028, 0.02803, 0.05, -0.21, 0.5, 0.9, 1.7, 4.0, 50.0]
    for effect in effects:
        found = pairs_needed(effect, target, alpha)
        assert power(effect, found, alpha) >= target
        assert found == 2 or power(effect, found - 1, alpha) < target
        assert found == _doubling(effect, target, alpha)


def _doubling(effect, target, alpha):
    low, high = 1, 2
    while power(effect, high, alpha) < target:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if power(effect, middle, alpha) < target else (low, middle)
    return high


def test_the_search_for_pairs_asks_for_few_powers(monkeypatch):
    calls = []
    monkeypatch.setattr(statistics, "power", lambda *arguments: calls.append(1) or power(*arguments))
    for effect in (1.0, 0.2, 0.03):
        calls.clear()
        pairs_needed(effect)
        assert len(calls) <= 8
