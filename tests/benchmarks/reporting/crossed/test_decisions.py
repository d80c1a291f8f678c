import math

import numpy as np
import pytest
from crossed_designs import draw, generator
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.reporting.crossed.analysis import Analysis
from benchmarks.reporting.crossed.decisions import Contrast, Verdict, contrast, decide, holm
from benchmarks.reporting.crossed.missing import worst_case

numbers = st.tuples(st.floats(-8, 8), st.floats(0.1, 3), st.floats(1, 200))


def analysis_of(mean, deviation=1.0, df=100.0):
    return Analysis(mean, 25, (), 1.0, ((deviation**2, df),), False, 0, 0, 0)


def contrast_of(*parts):
    found = analysis_of(*parts)
    return Contrast(found, found, (0, 0))


def decided(*contrasts, margin=0.5, expected=1, alpha=0.05):
    return decide(contrasts, [expected] * len(contrasts), [margin] * len(contrasts), alpha)


def one(found, **options):
    return decided(found, **options)[0]


def test_the_four_verdicts():
    assert one(contrast_of(3.0)).verdict is Verdict.SUPPORTED
    assert one(contrast_of(3.0), expected=-1).verdict is Verdict.CONTRADICTED
    assert one(contrast_of(-3.0), expected=-1).verdict is Verdict.SUPPORTED
    assert one(contrast_of(1.0)).verdict is Verdict.NOT_DECIDED
    assert one(contrast_of(0.1, 0.2)).verdict is Verdict.NO_LARGER


def test_a_decided_difference_may_be_practically_nothing():
    found = one(contrast_of(0.1, 0.01))
    assert (found.verdict, found.equivalent) == (Verdict.SUPPORTED, True)
    assert found.no_larger_than == pytest.approx(0.1 + 0.0166, abs=1e-4)


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04, and never falls."""
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.6]), [0.02, np.nan, 0.6])
    np.testing.assert_array_equal(holm([0.9, 0.8]), [1.0, 1.0])
    assert holm([]).shape == (0,)


def test_holms_steps_by_hand():
    """p 0.0027, 0.023 and 0.21 of three: 0.05 / 3 rejects, 0.05 / 2 rejects, 0.05 does not."""
    found = decided(contrast_of(-2.31), contrast_of(1.26), contrast_of(3.08))
    assert [d.level for d in found] == pytest.approx([0.05 / 2, 0.05, 0.05 / 3])
    assert [d.verdict.name for d in found] == ["CONTRADICTED", "NOT_DECIDED", "SUPPORTED"]
    assert (found[0].low, found[0].high) == (pytest.approx(-2.31 - 2.435, abs=1e-3), 0)  # 0.05 / 3 would contain zero
    assert found[2].low == pytest.approx(3.08 - 2.435, abs=1e-3)
    first = decided(contrast_of(1.2), contrast_of(2.0), contrast_of(1.9))  # the first step does not reject
    assert [d.level for d in first] == pytest.approx([0.05 / 3] * 3)


@settings(max_examples=300, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=12), st.sampled_from([0.01, 0.05, 0.2]), st.randoms())
def test_words_and_numbers_agree(family, alpha, random):
    family = [*family, *family[:2]]  # ties
    contrasts = [contrast_of(*parts) for parts in family]
    found = decided(*contrasts, margin=1.0, alpha=alpha)
    for decision, c in zip(found, contrasts, strict=True):
        low, high = c.main.interval(1 - alpha)
        assert decision.low <= low <= high <= decision.high
        assert (decision.low, decision.high) == c.interval(1 - alpha / len(family)) or 0 in (
            decision.low,
            decision.high,
        )
        if abs(c.p - decision.level) > 1e-9:
            assert (c.p < decision.level) == (decision.p < alpha)
            assert (decision.low < 0 < decision.high) == (decision.p >= alpha)
        assert (decision.p < alpha) == (decision.verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED))
        assert (decision.verdict is Verdict.SUPPORTED) <= (c.main.mean > 0)
        assert decision.equivalent == (decision.no_larger_than < 1.0)
        assert (decision.verdict is Verdict.NO_LARGER) == (decision.equivalent and not decision.p < alpha)
    order = random.sample(range(len(family)), len(family))
    assert decided(*[contrasts[i] for i in order], margin=1.0, alpha=alpha) == [found[i] for i in order]


def test_families_without_a_difference_are_rarely_wrong():
    """At most 5 % of families of ten say anything, where an interval at a time says something in two of five."""
    rng, wrong, loose = generator(0), 0, 0
    for _ in range(400):
        family = [contrast(y, np.zeros_like(y), higher_is_better=True) for y in draw(rng, 10, 5, 25, 0.6, 0.3, 1)]
        wrong += any(d.p < 0.05 for d in decided(*family))
        loose += any(c.p < 0.05 for c in family)
    print(
        f"families of ten without a difference: {wrong / 4:.1f} % say something, {loose / 4:.1f} % without correction"
    )
    assert 5 <= wrong <= 32
    assert loose > 120


@pytest.mark.parametrize(("differences", "least"), [(0, 93), (5, 90), (9, 89), (10, 93)])
def test_all_intervals_of_a_family_hold_at_once(differences, least):
    """Of ten contrasts, as many without doubt; 95 % where Holm decides nothing or everything, at least 90 % between."""
    rng, held = generator(differences), []
    true = np.where(np.arange(10) < differences, 100.0, 0.0)
    for _ in range(1000):
        found = decided(*[contrast_of(mean) for mean in true + rng.standard_t(100, 10)])
        held.append([d.low < t < d.high for d, t in zip(found, true, strict=True)])
    together, alone = 100 * np.mean(np.all(held, axis=1)), 100 * np.mean(held, axis=0)
    print(
        f"{differences} differences of ten: all intervals hold in {together:.1f} %, each in {alone.min():.1f} % or more"
    )
    assert least < together < 97
    assert alone.min() > 94


def test_a_contrast_without_p_counts_for_nothing():
    nothing = contrast([[1.0]], [[2.0]], higher_is_better=True)
    found = decided(contrast_of(2.1), nothing)
    assert found[0] == one(contrast_of(2.1))
    assert found[0].verdict is Verdict.SUPPORTED
    assert found[1].verdict is Verdict.NOT_DECIDED
    assert math.isnan(found[1].low)
    assert math.isnan(found[1].no_larger_than)
    assert not found[1].equivalent
    assert decide([], [], []) == []
    for half in (Contrast(analysis_of(3.0), nothing.main, (1, 0)), Contrast(nothing.main, analysis_of(3.0), (1, 0))):
        assert one(half).verdict is Verdict.NOT_DECIDED
        assert np.isnan([half.p, *half.interval(), half.no_larger_than()]).all()


def test_worst_case_is_the_worst_value_of_both():
    a, b = np.array([[1.0, np.nan], [3.0, 4.0]]), np.array([np.inf, 0.5])
    for higher_is_better, worst in ((True, 0.5), (False, 4.0)):
        x, y = worst_case([a, b], higher_is_better)
        np.testing.assert_array_equal(x, [[1, worst], [3, 4]])
        np.testing.assert_array_equal(y, [worst, 0.5])
    assert np.isnan(worst_case([np.array([np.nan])], True)[0]).all()


def losses(key=1):
    """Of two methods, [seeds, problems]; the first is lower by 1 on every seed and problem, more or less."""
    a, b = 10 + draw(generator(key), 2, 5, 25, 0.2, 0.5, 0.3)
    return a, b + 1


def test_with_all_values_both_analyses_are_one():
    found = contrast(*losses(), higher_is_better=False)
    assert found.worst is found.main
    assert (found.p, *found.interval(0.9)) == (found.main.p, *found.main.interval(0.9))


@pytest.mark.parametrize("same_seeds", [True, False])
def test_better_is_not_claimed_where_divergence_as_the_worst_denies_it(same_seeds):
    a, b = losses()
    whole = contrast(a, b, higher_is_better=False, same_seeds=same_seeds)
    a[generator(2).random(a.shape) < 0.4] = np.nan  # 40 % of its runs diverged
    a[:, :4] = losses()[0][:, :4]
    found = contrast(a, b, higher_is_better=False, same_seeds=same_seeds)
    assert len(found.worst.sides) == len(found.main.sides) == (1 if same_seeds else 2)
    assert found.missing[0] > 30
    assert found.missing[1] == 0
    assert found.main.p < 0.05
    assert found.p > 0.05
    assert one(whole, expected=-1).verdict is Verdict.SUPPORTED
    assert one(found, expected=-1).verdict is Verdict.NOT_DECIDED
    low, high = found.interval()
    assert low <= found.main.interval()[0]
    assert high >= max(0, found.main.interval()[1])


def test_a_rival_that_diverges_helps_nobody_to_lose():
    a, b = losses()
    b[0, 3] = b[2, 7] = np.nan
    found = contrast(a, b, higher_is_better=False)
    assert found.missing == (0, 2)
    assert one(found, expected=-1).verdict is Verdict.SUPPORTED


def test_analyses_of_opposite_sign_decide_nothing():
    found = Contrast(analysis_of(4.0), analysis_of(-4.0), (9, 0))
    assert found.p == 1
    low, high = found.interval()
    assert low < -4 < 4 < high
    assert one(found).verdict is Verdict.NOT_DECIDED


def test_a_method_that_diverges_is_not_equivalent():
    a, b = losses()
    b = a + 0.01 * (b - 1 - a)
    assert one(contrast(a, b, higher_is_better=False)).verdict is Verdict.NO_LARGER
    a[:, ::2] = np.nan
    assert one(contrast(a, b, higher_is_better=False)).verdict is Verdict.NOT_DECIDED


def test_a_failed_seed_counts_as_a_row_of_the_worst():
    a, b = losses()
    a[4] = np.nan
    found = contrast(a, b, higher_is_better=False)
    assert (found.main.seeds_left_out, found.main.problems_left_out) == (1, 0)
    assert found.main.mean == contrast(a[:4], b[:4], higher_is_better=False).main.mean
    worst = max(np.nanmax(a), b.max())
    assert found.worst.mean == pytest.approx((np.nansum(a) + 25 * worst - b.sum()) / 125)
