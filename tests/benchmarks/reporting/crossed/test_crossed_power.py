import math

import numpy as np
import pytest
from crossed_designs import draw, generator, table_of
from scipy import stats

from benchmarks.reporting.crossed.analysis import difference_of, mean_of
from benchmarks.reporting.crossed.power import More, more_needed, planned, rejection_rate


def pairs_needed(effect):
    """Fewest pairs with which the paired t-test has a power of 80 %, by its definition."""

    def power(n):
        critical = stats.t.ppf(0.975, n - 1)
        return stats.nct.sf(critical, n - 1, abs(effect) * n**0.5) + stats.nct.cdf(
            -critical, n - 1, abs(effect) * n**0.5
        )

    return next(n for n in range(2, 10_000) if power(n) >= 0.8)


def test_of_problems_alone_it_is_the_paired_t_tests():
    values = generator(0).normal(0.3, 1, 30)
    effect = values.mean() / values.std(ddof=1)
    found = more_needed(mean_of(values))
    assert found.problems == pairs_needed(effect) - 30
    assert found.seeds is None
    one_problem = more_needed(mean_of(values[:5, None]))
    assert one_problem.seeds == pairs_needed(values[:5].mean() / values[:5].std(ddof=1)) - 5
    assert one_problem.problems is None


@pytest.mark.parametrize(("which", "mean"), [("seeds", 0.45), ("problems", 0.3)])
def test_designs_of_the_size_it_says_reject_as_often_as_it_says(which, mean):
    seed, problem, rest = (1.5, 3.0, 1.0) if which == "problems" else (6.0, 1.2, 1.0)
    found = mean_of(table_of(mean, seed, problem, rest))
    more = getattr(more_needed(found), which)
    assert 1 <= more < 100
    shape = (5 + int(more), 25) if which == "seeds" else (5, 25 + int(more))
    parts = found.components()
    deviations = (parts.seeds[0] ** 0.5, parts.problems**0.5, parts.interaction[0] ** 0.5)
    tables = draw(generator(1), 2000, *shape, *deviations) + mean
    rejected = np.mean([mean_of(table).p < 0.05 for table in tables])
    print(f"{which}: {more:.0f} more, rejected {100 * rejected:.1f} %")
    assert 0.77 < rejected < 0.86


def test_more_problems_cannot_help_where_seeds_vary():
    """Three seeds far apart: with any number of problems it stays a t-test over three seeds."""
    found = mean_of(table_of(0.5, 25.0, 2.0, 1.0, seeds=3))
    more = more_needed(found)
    assert more.problems == math.inf
    assert 1 <= more.seeds < 100
    limit = planned(found, found.components(), 0, 10**9)
    assert limit == pytest.approx((found.components().seeds[0] / 3, 2), rel=1e-6)


def test_more_seeds_cannot_help_where_problems_vary():
    more = more_needed(mean_of(table_of(0.9, 2.0, 25.0, 1.0, problems=4)))
    assert more.seeds == math.inf
    assert 1 <= more.problems < 1000


def test_no_fewer_would_do():
    for key in range(12):
        found = mean_of(draw(generator(key), 1, 4, 8, 0.4, 0.4, 1)[0] + 0.3)
        parts, more = found.components(), more_needed(found)

        def power(seeds, problems, found=found, parts=parts):
            return rejection_rate(abs(found.mean), planned(found, parts, seeds, 8 + problems))

        for which, needed in (("seeds", more.seeds), ("problems", more.problems)):
            most = 200 if math.isinf(needed) else int(needed)
            powers = [power(n, 0) if which == "seeds" else power(0, n) for n in range(1, most + 1)]
            enough = [n for n, value in enumerate(powers, 1) if value >= 0.8]
            assert (enough[0] if enough else math.inf) == needed


def test_a_design_is_planned_as_it_was_found():
    a, b = draw(generator(3), 1, 3, 6, 2, 2, 0.3)[0], draw(generator(4), 1, 5, 6, 2, 2, 0.3)[0]
    for found in (mean_of(a), difference_of(a, b, same_seeds=False), mean_of(a[:, :1])):
        assert planned(found, found.components(), 0, found.problems) == pytest.approx(found.spreads[0])


def test_a_difference_beyond_doubt_needs_one_more():
    assert more_needed(mean_of(100 + generator(5).normal(size=(3, 4)))) == More(1, 1)
    assert more_needed(mean_of(np.full((3, 4), 2.0))) == More(1, 1)


def test_a_stricter_level_needs_more():
    found = mean_of(table_of(0.45, 6.0, 1.2, 1.0))
    assert more_needed(found, alpha=0.01).seeds > more_needed(found).seeds
    assert more_needed(found, target=0.9).seeds > more_needed(found).seeds


def test_nothing_can_be_told_of_no_effect_or_one_cell():
    for found in (mean_of(np.zeros((3, 4))), mean_of([[1.0]])):
        assert more_needed(found) == More(None, None)


@pytest.mark.parametrize("df", [0.5, 1.0, 2.7, 30.0, 9e4, 2e5])
def test_rejection_rate_is_the_noncentral_ts(df):
    for shift in (0.0, 0.3, 2.0, 6.0, 29.0, 31.0):
        critical = stats.t.ppf(0.975, df)
        assert rejection_rate(shift, (1.0, df)) == pytest.approx(stats.nct.sf(critical, df, shift), abs=1e-3)
    rates = [rejection_rate(shift, (1.0, df)) for shift in np.linspace(0, 80, 100)]
    assert np.all(np.diff(rates) > -1e-3)
