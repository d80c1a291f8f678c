import math

import numpy as np
import pytest
from crossed_designs import generator

from benchmarks.reporting.crossed.analysis import mean_of
from benchmarks.reporting.crossed.speedup import envelope, speed_up, steps_needed

STEPS = np.arange(0, 101, 10.0)


def curve(steps, rate=0.02):
    return 2.3 * np.exp(-rate * np.asarray(steps, dtype=float))


def test_envelope_is_the_best_rate_so_far():
    losses = [[[3, 2, 5, np.nan]], [[3, 4, 1, 2]], [[np.nan, np.inf, np.nan, np.nan]]]
    np.testing.assert_array_equal(envelope(losses), [[3, 2, 1, 1]])
    np.testing.assert_array_equal(envelope(losses[2:]), [[np.inf] * 4])


def test_steps_needed_by_hand():
    """Loss 4, 4, 2, 1 at steps 0, 10, 20, 40."""
    curves, steps = [[4.0, 4, 2, 1], [4, 4, 2, 1]], [0.0, 10, 20, 40]
    targets = [[4.0, 3.0], [2.0, 1.5], [1.0, 0.5], [np.nan, 9.0]]
    expected = [[0, 15], [20, 30], [40, np.inf], [np.nan, 0]]
    np.testing.assert_allclose(steps_needed(curves, steps, targets), expected)


def test_an_optimizer_against_itself_is_as_fast():
    problems = np.array([curve(STEPS, rate) for rate in (0.01, 0.02, 0.05)])
    found = speed_up(problems[:, 5], 50, problems, STEPS)
    assert found.ratio == pytest.approx(1)
    assert found.interval() == pytest.approx((1, 1), abs=1e-6)
    assert (found.censored, found.immediate) == (0, 0)


@pytest.mark.parametrize("factor", [0.5, 1.7, 3.0])
def test_a_faster_optimizer_is_as_many_times_faster(factor):
    problems = np.array([curve(STEPS, rate) for rate in (0.01, 0.015, 0.02)])
    targets = np.array([[curve(30 * factor, rate) for rate in (0.01, 0.015, 0.02)]] * 4)
    found = speed_up(targets, 30, problems, STEPS)
    assert found.ratio == pytest.approx(factor, rel=0.02)  # straight lines between points


def test_its_interval_is_that_of_the_logarithms():
    rng = generator(0)
    ratios = np.exp(rng.normal(0.5, 0.1, (3, 1)) + rng.normal(0, 0.1, (3, 6)))
    steps = np.linspace(0, 1000, 20_001)
    found = speed_up(curve(100 * ratios, 0.003), 100, np.tile(curve(steps, 0.003), (6, 1)), steps)
    expected = mean_of(np.log(ratios))
    assert math.log(found.ratio) == pytest.approx(expected.mean, abs=1e-5)
    assert np.log(found.interval()) == pytest.approx(expected.interval(), abs=1e-4)
    assert found.log.p == pytest.approx(expected.p, rel=1e-3)


def test_what_is_never_reached_counts_as_the_last_step():
    problems = np.tile(curve(STEPS), (3, 1))
    found = speed_up([[1e-3, 1e-4, curve(50)]], 50, problems, STEPS)
    assert found.censored == 2
    assert found.log.mean == pytest.approx(2 / 3 * math.log(2))
    never = speed_up([[1.0]], 50, np.full((1, 11), np.inf), STEPS)  # every rate diverged
    assert (never.censored, never.ratio) == (1, 2)


def test_what_is_reached_at_once_counts_as_the_first_step():
    found = speed_up([[9.0, 2.3, curve(10)]], 50, np.tile(curve(STEPS), (3, 1)), STEPS)
    assert found.immediate == 3
    assert found.ratio == pytest.approx(10 / 50)


def test_a_run_that_diverged_is_counted_and_in_the_worst_case_the_slowest():
    problems = np.tile(curve(STEPS), (3, 1))
    targets = np.array([[curve(40), np.nan, curve(60)], [curve(40), curve(50), curve(70)]])
    found = speed_up(targets, 50, problems, STEPS)
    assert (found.log.missing, found.log.problems) == (1, 2)
    ratios = [[40, 40, 60], [40, 50, 70]]
    assert found.worst.mean == pytest.approx(np.log(np.divide(ratios, 50)).mean(), abs=1e-2)
    complete = speed_up(targets[1:], 50, problems, STEPS)
    assert complete.worst is complete.log


def test_shapes_and_steps_that_do_not_fit_are_refused():
    problems = np.tile(curve(STEPS), (3, 1))
    with pytest.raises(ValueError, match="do not fit"):
        speed_up(np.ones((2, 4)), 50, problems, STEPS)
    with pytest.raises(ValueError, match="do not fit"):
        speed_up(np.ones((2, 3)), 50, problems, STEPS[1:])
    with pytest.raises(ValueError, match="above 0"):
        speed_up(np.ones((2, 3)), 0, problems, STEPS)
