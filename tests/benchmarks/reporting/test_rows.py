"""Rows of both tracks, their pairs and comparisons, against numbers worked out here."""

import msgspec
import numpy as np
import pytest
from makers import counts, draw, few_shot, general, measured, optimized, source
from scipy import stats

from benchmarks.reporting.claims import compare, judge
from benchmarks.reporting.compare import Pair, compare_pairs, difference
from benchmarks.reporting.crossed.analysis import mean_of
from benchmarks.reporting.crossed.decisions import Verdict
from benchmarks.reporting.groups import choose, groups_of
from benchmarks.reporting.kinds import make_plots
from benchmarks.reporting.read import load, rows_of
from benchmarks.reporting.tables import to_frame
from benchmarks.reporting.wording import judged
from benchmarks.running.record import Record
from benchmarks.running.schema import DatasetFacts, PretrainingDetails, PretrainingFacts, PretrainingTraining
from fewshot.errors import InputError

RS = ("none", "smooth")


def test_general_rows_hold_the_last_value_of_every_initialization():
    (row,) = rows_of([optimized([0.7, 0.8, 0.9])])
    np.testing.assert_allclose(row.values[0], [70, 80, 90])
    assert row.labels == {
        "dataset": "digits",
        "task": "digits_mlp",
        "source": "",
        "method": "simple",
        "regularizer": "none",
    }
    assert row.problem == "initializations"
    assert row.analysis is not None
    assert (row.analysis.mean, row.analysis.problems) == (pytest.approx(80), 3)
    assert row.analysis.one_model


def test_a_task_without_accuracy_has_its_loss():
    plain, smooth = rows_of([optimized([None] * 3), optimized([None] * 3, "smooth")])
    assert plain.metric == "loss"
    np.testing.assert_allclose(plain.values[0], [2.0, 1.9, 1.8])
    assert not plain.higher_is_better
    better = rows_of([optimized([None] * 4, "smooth", optimizer="dm")])[0]
    assert better.values[0].shape == (4,)
    assert difference(smooth, plain).main.mean == 0


def test_diverged_runs_keep_their_place_and_are_never_averaged():
    plain = optimized([0.7, 0.8, 0.5, 0.6], diverged={1})
    smooth = optimized([0.8, 0.8, 0.7, 0.6], "smooth", diverged={3})
    rows = rows_of([smooth, plain])
    assert np.isnan(rows[0].values[0][1])
    assert rows[0].diverged == 1
    assert rows[0].analysis.mean == pytest.approx(60)
    assert rows[0].worst.mean == pytest.approx((70 + 50 + 50 + 60) / 4)
    found = difference(rows[1], rows[0])
    assert found.main.mean == pytest.approx((10 + 20) / 2)
    assert found.worst.mean == pytest.approx((10 + 30 + 20 - 10) / 4)
    assert (found.main.problems, found.missing, found.main.over) == (2, (1, 1), "problems")


def test_all_diverged_is_no_number():
    rows = rows_of([optimized([0.5, 0.5], diverged={0, 1}), optimized([0.6, 0.7], "smooth")])
    assert rows[0].analysis is None
    assert difference(rows[1], rows[0]) is None
    assert compare(rows) == []


def test_a_seed_that_diverged_everywhere_is_no_unit():
    records = [optimized(draw(s), seed=s, diverged={0, 1, 2, 3, 4} if s == 1 else ()) for s in range(3)]
    (row,) = rows_of(records)
    means = [100 * draw(s).mean() for s in (0, 2)]
    assert (row.analysis.sides[0].seeds, row.analysis.seeds_left_out) == (2, 1)
    assert row.analysis.mean == pytest.approx(np.mean(means))


def test_a_hand_designed_row_is_paired_with_every_seed():
    learned = [optimized(draw(s), "smooth", seed=s) for s in (0, 1, 2)]
    rows = rows_of([*learned, optimized(draw(9), optimizer="adam")])
    adam, smooth = rows
    assert adam.hand_designed
    means = [100 * (draw(s) - draw(9)).mean() for s in (0, 1, 2)]
    found = difference(smooth, adam)
    assert found.main.mean == pytest.approx(np.mean(means))
    assert (found.main.sides[0].seeds, found.main.problems, found.main.one_model) == (3, 5, False)
    crossed = [100 * (draw(s) - draw(9)) for s in (0, 1, 2)]
    assert found.main.half_width() == pytest.approx(mean_of(crossed).half_width())
    assert difference(adam, smooth).main.mean == pytest.approx(-np.mean(means))


def test_seeds_that_two_rows_do_not_share_are_unrelated():
    """Of those that they share only these count; a failed one has no value, and is counted."""
    plain = [optimized(draw(s), seed=s) for s in (0, 1, 2)]
    shared = [optimized(draw(s + 5), "smooth", seed=s) for s in (1, 2, 3)]
    rows = rows_of([*plain, *shared])
    assert difference(rows[1], rows[0]).main.mean == pytest.approx(
        100 * np.mean([draw(s + 5) - draw(s) for s in (1, 2)])
    )
    others = [optimized(draw(s + 5), "smooth", seed=s) for s in (3, 4)]
    rows = rows_of([*plain, *others])
    found = difference(rows[1], rows[0]).main
    assert [side.seeds for side in found.sides] == [2, 3]
    assert found.mean == pytest.approx(100 * (np.mean([draw(8), draw(9)]) - np.mean([draw(0), draw(1), draw(2)])))
    failed = [*plain, shared[0], optimized([], "smooth", seed=2, failed=True, initializations=5)]
    rows = rows_of(failed)
    found = difference(rows[1], rows[0])
    assert found.missing == (5, 0)
    assert found.main.mean == pytest.approx(100 * np.mean(draw(6) - draw(1)))


def test_transferred_rows_pool_the_seeds_of_their_source():
    plain = [optimized(draw(s), transfer=source(s)) for s in range(3)]
    smooth = [optimized(draw(s + 3), "smooth", transfer=source(s, config_sha256="d")) for s in range(3)]
    rows = rows_of(plain + smooth)
    assert [sorted(row.values) for row in rows] == [[0, 1, 2], [0, 1, 2]]
    assert rows[0].labels["source"] == "mnist_mlp"
    (comparison,) = compare(rows)
    assert comparison.contrast.main.sides[0].seeds == 3
    other_task = rows_of([*plain, optimized(draw(0), transfer=source(0, task="digits_mlp"))])
    assert len(other_task) == 2


def test_only_one_protocol_a_row():
    rows = rows_of([optimized(draw(0)), optimized(draw(1), "smooth", which="q")])
    assert difference(rows[1], rows[0]) is None
    assert len(rows_of([optimized(draw(0)), optimized(draw(1), seed=1, which="q")])) == 2


def test_the_later_of_two_records_of_a_seed_counts():
    old = optimized(draw(0), cost=measured(finished="2026-01-01T00:00:00+00:00"))
    new = optimized(draw(1), cost=measured(finished="2026-01-02T00:00:00+00:00"))
    for order in ([old, new], [new, old]):
        (row,) = rows_of(order)
        np.testing.assert_allclose(row.values[0], 100 * draw(1))
        assert len(row.records) == 1


def test_holm_within_a_claim_or_else_a_table():
    rows = []
    for i, task in enumerate(("a", "b")):
        rows += rows_of([optimized(draw(i, 12), task=task), optimized(draw(i + 5, 12), "smooth", task=task)])
    rows += rows_of([optimized(draw(7, 12), optimizer="dm"), optimized(draw(8, 12), "theirs", optimizer="dm")])
    found = compare(rows)
    assert [c.pair.family for c in found] == ["table1-smooth", "table1-smooth", "general"]
    first, second = sorted(found[:2], key=lambda c: c.contrast.p)
    assert first.decision.p == pytest.approx(min(1, 2 * first.contrast.p))
    assert second.decision.p == pytest.approx(min(1, max(2 * first.contrast.p, second.contrast.p)))
    assert found[2].decision.p == found[2].contrast.p


def test_decided_follows_the_interval_and_power_says_what_is_missing():
    """Differences of 1, 2, 3, -1, 0 points: 1 ± 1.96 (sample deviation 1.58)."""
    plain = optimized([0.5] * 5)
    smooth = optimized([0.51, 0.52, 0.53, 0.49, 0.50], "smooth")
    (undecided,) = compare(rows_of([plain, smooth]))
    assert undecided.better is None
    effect = 1.0 / np.std([1, 2, 3, -1, 0], ddof=1)
    powers = {n: _power(effect, n) for n in range(2, 60)}
    assert undecided.more.problems == min(n for n, p in powers.items() if p >= 0.8) - 5
    assert undecided.more.seeds is None
    (decided,) = compare(rows_of([plain, optimized([0.61, 0.62, 0.63, 0.6, 0.6], "smooth")]))
    assert (decided.better, decided.more.problems) == (True, None)
    (worse,) = compare(rows_of([plain, optimized([0.41, 0.42, 0.43, 0.4, 0.4], "smooth")]))
    assert worse.better is False
    (one,) = compare(rows_of([optimized([0.5]), optimized([0.6], "smooth")]))
    assert (one.decided, one.more.problems) == (False, None)


def _power(effect, n):
    critical = stats.t.ppf(0.975, n - 1)
    return 1 - stats.nct.cdf(critical, n - 1, effect * n**0.5) + stats.nct.cdf(-critical, n - 1, effect * n**0.5)


def test_pairs_without_a_common_problem_are_left_out():
    rows = rows_of([optimized(draw(0)), optimized(draw(0), which="q")])
    assert compare_pairs([Pair("x", rows[0], rows[1])]) == []


def test_records_of_other_layouts_are_named_and_left_out(tmp_path, capsys):
    good, bare = optimized(draw(0)), few_shot(counts(0))
    config = {"method": "meta_lstm"}
    good.write(tmp_path / "a" / "record.json")
    bare = Record.of(msgspec.structs.replace(bare.facts, config=config), bare.results, bare.details)
    bare.write(tmp_path / "b" / "record.json")
    pretraining(good).write(tmp_path / "c" / "record.json")
    assert len(load([tmp_path])) == 1
    printed = capsys.readouterr().err
    assert printed.count("left out") == 1
    assert "lacks what a table needs" in printed
    with pytest.raises(InputError, match="lacks what a table needs"):
        rows_of([bare])


def pretraining(like):
    """The record of a backbone."""
    facts = PretrainingFacts(
        config={},
        config_sha256="",
        seed=0,
        dataset=DatasetFacts(name="glyphs", fingerprint="f"),
        environment=like.facts.environment,
        processes=1,
        bfloat16=False,
        training=PretrainingTraining(step=1, best_step=1, best_accuracy=0.5),
    )
    return Record.of(facts, None, PretrainingDetails(curve=[], validation=[]))


def test_runs_of_other_numbers_of_problems_are_no_pair():
    """One value would be spread over all, others would end in an error of numpy."""
    plain = optimized([0.5] * 5)
    for count in (1, 4):
        rows = rows_of([plain, optimized([0.6] * count, "smooth", initializations=5)])
        assert difference(rows[1], rows[0]) is None
        assert compare(rows) == []
        assert not to_frame(rows)["best"].any()
        (verdict,) = [v for v in judge(rows) if v.key == "table1-smooth"]
        assert verdict.verdict is Verdict.NOT_DECIDED
        assert f"runs of {count}, 5 initializations on one test" in judged(verdict)


def test_seeds_of_other_numbers_of_problems_are_no_pair():
    records = [optimized([0.6] * n, r, seed=s, initializations=5) for s, n in enumerate((5, 4)) for r in RS]
    rows = rows_of(records)
    assert [len(row.values) for row in rows] == [2, 2]
    assert compare(rows) == []
    few = rows_of([few_shot(counts(0, n), seed=s) for s, n in enumerate((50, 40))])
    assert make_plots(choose(groups_of(few), []), ["episodes"]) == []


def test_a_record_that_lacks_an_initialization_is_refused():
    runs = optimized([0.5] * 3).results.best.runs
    record = general([runs[0], runs[2]])
    with pytest.raises(InputError, match="some initializations are missing"):
        rows_of([record])


def test_sources_of_different_configurations_are_never_pooled():
    plain = [optimized(draw(s), transfer=source(s)) for s in range(3)]
    other = [optimized(draw(s + 3), transfer=source(s + 3, config_sha256="e")) for s in range(3)]
    rows = rows_of(plain + other)
    assert sorted(sorted(row.values) for row in rows) == [[0, 1, 2], [3, 4, 5]]
    assert sorted(to_frame(rows)["settings"]) == ["source c", "source e"]


def test_the_partner_of_a_transferred_row_is_not_guessed():
    """Which of two plain sources was meta-trained like the smoothed one, their records do not say."""
    plain = [optimized(draw(s), transfer=source(s)) for s in range(2)]
    smooth = [optimized(draw(s + 3), "smooth", transfer=source(s, config_sha256="d")) for s in range(2)]
    other = optimized(draw(7), transfer=source(0, config_sha256="e"))
    assert len(compare(rows_of(plain + smooth))) == 1
    assert [v.key for v in judge(rows_of(plain + smooth))] == ["transfer"]
    assert compare(rows_of([*plain, *smooth, other])) == []
    assert judge(rows_of([*plain, *smooth, other])) == []
