import math
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from crossed_designs import draw, generator, table_of
from scipy import stats

from benchmarks.reporting.crossed.analysis import difference_of, mean_of, satterthwaite

BY_HAND = [[1, 2, 3, 6], [2, 4, 4, 6], [6, 6, 8, 12]]
"""Means of rows 3, 4, 8, of columns 3, 4, 5, 8; what is left is 1 or -1 in four cells."""


def test_three_seeds_and_four_problems_by_hand():
    """MS_S = 4 (4 + 1 + 9) / 2 = 28, MS_P = 3 (4 + 1 + 0 + 9) / 3 = 14, MS_SP = 4 / 6."""
    found = mean_of(BY_HAND)
    assert found.mean == 5
    assert (found.sides[0].seed, 3 * found.between) == pytest.approx((28, 14))
    assert found.sides[0].interaction == pytest.approx(4 / 6)
    variance, df = 124 / 3 / 12, (124 / 3) ** 2 / (28**2 / 2 + 14**2 / 3 + (4 / 6) ** 2 / 6)
    assert found.spreads == (pytest.approx((variance, df)),)
    assert df == pytest.approx(3.735, abs=5e-4)
    assert found.half_width(0.9) == pytest.approx(stats.t.ppf(0.95, df) * variance**0.5)
    parts = found.components()
    assert (*parts.seeds, parts.problems, *parts.interaction) == pytest.approx((82 / 12, 40 / 9, 2 / 3))


def test_worked_example():
    found = mean_of(table_of(0.282, 31.50, 2.607, 0.956))
    ((variance, df),) = found.spreads
    assert found.mean == pytest.approx(0.282)
    assert variance == pytest.approx(0.2652, abs=5e-5)
    assert df == pytest.approx(4.43, abs=5e-3)
    assert found.half_width() == pytest.approx(1.377, abs=5e-4)
    assert found.over == "seeds and problems"


@pytest.mark.parametrize(
    ("seed", "problem", "rest"), [(0.5, 2.0, 1.0), (2.0, 0.5, 1.0), (0.4, 0.5, 1.0), (0.9, 0.95, 1.0)]
)
def test_where_the_sum_is_below_its_parts_the_wider_of_two_intervals_stands(seed, problem, rest):
    found = mean_of(table_of(0.1, seed, problem, rest))
    halves = [stats.t.ppf(0.995, df) * (square / 125) ** 0.5 for square, df in ((seed, 4), (problem, 24))]
    assert found.half_width(0.99) == pytest.approx(max(halves))
    ps = [2 * stats.t.sf(0.1 / (square / 125) ** 0.5, df) for square, df in ((seed, 4), (problem, 24))]
    assert found.p == pytest.approx(max(ps))


def test_agrees_with_restricted_maximum_likelihood():
    """Of a balanced table with positive components, REML's are those of the mean squares (statsmodels' MixedLM)."""
    values = table_of(1.0, 9.0, 4.0, 1.0, seeds=4, problems=6)
    seed, problem = np.indices(values.shape)
    frame = pd.DataFrame({"y": values.ravel(), "seed": seed.ravel(), "problem": problem.ravel(), "all": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        effects = {"seed": "0 + C(seed)", "problem": "0 + C(problem)"}
        fit = smf.mixedlm("y ~ 1", frame, groups="all", vc_formula=effects, re_formula="0").fit(method="bfgs")
    found = mean_of(values)
    parts = found.components()
    assert dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True)) == pytest.approx(
        {"seed": parts.seeds[0], "problem": parts.problems}, rel=1e-3
    )
    assert fit.scale == pytest.approx(parts.interaction[0], rel=1e-3)
    assert fit.bse_fe["Intercept"] == pytest.approx(found.spreads[0][0] ** 0.5, rel=1e-3)


def test_mean_squares_are_those_of_least_squares():
    values = draw(generator(1), 1, 4, 7, 1, 2, 3)[0]
    seed, problem = np.indices(values.shape)

    def residual(*factors):
        columns = [np.ones((28, 1)), *((factor.reshape(-1, 1) == np.unique(factor)) for factor in factors)]
        design = np.hstack(columns).astype(float)
        solution = np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
        return ((values.ravel() - design @ solution) ** 2).sum()

    found = mean_of(values)
    assert found.sides[0].seed == pytest.approx((residual(problem) - residual(seed, problem)) / 3)
    assert 4 * found.between == pytest.approx((residual(seed) - residual(seed, problem)) / 6)
    assert found.sides[0].interaction == pytest.approx(residual(seed, problem) / 18)


def test_order_of_seeds_and_problems_changes_nothing():
    a, b = draw(generator(2), 2, 5, 9, 1, 1, 1)
    a[1, 3] = b[4, 7] = np.nan
    rows, columns, others = (generator(key).permutation(n) for key, n in ((3, 5), (4, 9), (5, 5)))
    for same_seeds, order in ((True, rows), (False, others)):
        found = difference_of(a, b, same_seeds=same_seeds)
        moved = difference_of(a[rows][:, columns], b[order][:, columns], same_seeds=same_seeds)
        assert (moved.missing, moved.problems) == (found.missing, found.problems) == (2, 7)
        assert moved.mean == pytest.approx(found.mean)
        assert (moved.p, moved.half_width()) == pytest.approx((found.p, found.half_width()))


def test_a_difference_has_the_other_sign_the_other_way_round():
    a, b = draw(generator(6), 2, 4, 8, 1, 1, 1)
    for same_seeds in (True, False):
        there, back = difference_of(a, b, same_seeds=same_seeds), difference_of(b, a, same_seeds=same_seeds)
        assert there.mean == pytest.approx(-back.mean)
        assert there.p == pytest.approx(back.p)


def test_unrelated_seeds_by_their_formula():
    a, b = draw(generator(7), 1, 3, 6, 1, 1, 1)[0], draw(generator(8), 1, 4, 6, 1, 1, 1)[0]
    found = difference_of(a, b, same_seeds=False)
    one, two = mean_of(a).sides[0], mean_of(b).sides[0]
    gap = np.var(a.mean(0) - b.mean(0), ddof=1)
    terms = [one.seed / 18, two.seed / 24, gap / 6, -one.interaction / 18, -two.interaction / 24]
    dfs = [2, 3, 5, 10, 15]
    df = sum(terms) ** 2 / sum(t**2 / n for t, n in zip(terms, dfs, strict=True))
    assert found.spreads == (pytest.approx((sum(terms), df)),)
    assert found.mean == pytest.approx(a.mean() - b.mean())
    seeds_vary = difference_of(a, b - b.mean(1, keepdims=True), same_seeds=False)
    assert seeds_vary.spreads[0][0] < found.spreads[0][0]


def test_a_method_without_seeds_is_the_same_for_every_seed():
    a, b = draw(generator(9), 1, 5, 8, 1, 1, 1)[0], generator(10).normal(size=8)
    found = difference_of(a, b)
    assert found == difference_of(a, np.tile(b, (5, 1))) == difference_of(a, b, same_seeds=False)
    assert not found.one_model
    ((variance, _),) = difference_of(table_of(0, 3, 2, 1), np.zeros(25)).spreads
    assert variance == pytest.approx(4 / 125)  # the problems' own differences count


def test_one_seed_is_a_t_interval_over_problems():
    a, b = generator(11).normal(size=(2, 30))
    for x, y, one_model in ((a[None], b[None], True), (a[None], b, True), (a, b, False)):
        found = difference_of(x, y)
        test = stats.ttest_rel(a, b)
        assert (found.p, *found.interval()) == pytest.approx((test.pvalue, *test.confidence_interval()))
        assert (found.over, found.one_model) == ("problems", one_model)
    assert difference_of(a, b).components().problems == pytest.approx(np.var(a - b, ddof=1))


def test_one_problem_is_a_t_interval_over_seeds():
    a, b = generator(12).normal(size=(2, 6, 1))
    found = difference_of(a, b)
    assert found.p == pytest.approx(stats.ttest_rel(a[:, 0], b[:, 0]).pvalue)
    welch = difference_of(a, b[:4], same_seeds=False)
    test = stats.ttest_ind(a[:, 0], b[:4, 0], equal_var=False)
    assert (welch.p, *welch.interval()) == pytest.approx((test.pvalue, *test.confidence_interval()))
    assert found.over == welch.over == "seeds"


def test_unrelated_single_model_counts_for_itself_alone():
    a, b = draw(generator(13), 1, 5, 8, 1, 1, 1)[0], generator(14).normal(size=(1, 8))
    found, without_seeds = difference_of(a, b, same_seeds=False), difference_of(a, b[0])
    assert found.one_model
    assert found.spreads == (pytest.approx(without_seeds.spreads[0]),)


def test_a_single_cell_has_no_interval():
    found = mean_of([[3.0]])
    assert found.mean == 3
    assert math.isnan(found.half_width())
    assert math.isnan(found.p)
    assert math.isnan(found.p_equivalence(10))
    assert not found.equivalent(10)
    assert (found.over, found.one_model) == ("", True)


def test_two_seeds_far_apart_decide_nothing():
    values = 1 + np.array([[-50.0], [50.5]]) + 0.1 * generator(15).normal(size=(2, 600))
    found = mean_of(values)
    assert found.spreads[0][1] == pytest.approx(1, abs=1e-3)
    assert found.half_width() > 600
    assert found.p > 0.9
    assert found.no_larger_than() > 300


def test_identical_rows_do_not_differ():
    values = draw(generator(16), 1, 5, 25, 1, 1, 1)[0]
    for found in (difference_of(values, values), mean_of(np.zeros((3, 4)))):
        assert (found.mean, found.p, found.half_width(), found.no_larger_than()) == (0, 1, 0, 0)
        assert found.equivalent(1e-9)
        assert found.p_equivalence(1e-9) == 0
    unrelated = difference_of(values, values, same_seeds=False)
    assert (unrelated.mean, unrelated.p) == (0, 1)
    assert unrelated.half_width() > 0


def test_the_same_difference_everywhere_leaves_no_doubt():
    found = mean_of(np.full((3, 4), 2.0))
    assert (found.mean, found.p, found.half_width(), found.no_larger_than()) == (2, 0, 0, 2)
    assert not found.equivalent(2)
    assert found.p_equivalence(1.0) == 1


@pytest.mark.parametrize("key", range(20))
def test_interval_p_and_equivalence_say_the_same(key):
    found = mean_of(draw(generator(key), 1, 3, 5, 0.3, 0.3, 1)[0] + 0.5 * (-1) ** key)
    assert found.half_width(1 - found.p) == pytest.approx(abs(found.mean))
    for alpha in (0.01, 0.05, 0.2):
        assert (found.p < alpha) == (abs(found.mean) > found.half_width(1 - alpha))
        bound = found.no_larger_than(alpha)
        assert bound == pytest.approx(max(abs(end) for end in found.interval(1 - 2 * alpha)))
        assert found.p_equivalence(bound) == pytest.approx(alpha)
        assert found.equivalent(bound * 1.001, alpha)
        assert not found.equivalent(bound, alpha)


def test_runs_without_a_value_leave_their_problem_out():
    values = draw(generator(17), 1, 4, 10, 1, 1, 1)[0]
    values[0, 2], values[3, 2], values[1, 7] = np.nan, np.inf, np.nan
    found, kept = mean_of(values), mean_of(np.delete(values, [2, 7], axis=1))
    assert (found.mean, found.spreads) == (kept.mean, kept.spreads)
    assert (found.missing, found.problems, found.problems_left_out, found.seeds_left_out) == (3, 8, 2, 0)


def test_a_seed_without_half_of_its_values_is_set_aside():
    values = draw(generator(18), 1, 4, 10, 1, 1, 1)[0]
    values[2, :6] = np.nan
    found, kept = mean_of(values), mean_of(np.delete(values, 2, axis=0))
    assert (found.mean, found.spreads) == (kept.mean, kept.spreads)
    assert (found.seeds_left_out, found.problems_left_out) == (1, 0)
    values[2, 5] = 0.0  # half of them: now its problems go
    assert (mean_of(values).seeds_left_out, mean_of(values).problems_left_out) == (0, 5)
    alone = mean_of(np.where([True, False, True], 1.0, np.nan)[None])
    assert (alone.problems, alone.seeds_left_out) == (2, 0)


def test_nothing_is_said_where_no_problem_has_all_values():
    found = mean_of([[1.0, np.nan], [np.nan, 2.0]])
    assert math.isnan(found.mean)
    assert math.isnan(found.p)
    assert (found.problems, found.missing, found.over) == (0, 2, "")
    assert math.isnan(mean_of(np.full((2, 3), np.nan)).mean)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="3 problems against 4"):
        difference_of(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(ValueError, match="2 seeds against 1"):
        difference_of(np.zeros((2, 3)), np.zeros((1, 3)))
    for bad in (np.zeros((0, 3)), 1.0, np.zeros((1, 1, 1))):
        with pytest.raises(ValueError, match="shape"):
            mean_of(bad)


def test_a_sum_of_one_term_is_the_term():
    assert satterthwaite([(2.0, 7)]) == (2.0, 7)
    assert satterthwaite([(1.0, 5), (1.0, 5)]) == (2.0, pytest.approx(10))
    assert satterthwaite([(0.0, 5), (0.0, 3)]) == (0.0, 3)
