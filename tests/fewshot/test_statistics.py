import math

import numpy as np
import pytest
from scipy import stats

from fewshot.engine.seeding import derive
from fewshot.engine.statistics import mean_interval, paired_difference


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
