"""Rows of both tracks, their pairs and comparisons, against numbers worked out here."""

import numpy as np
import pytest
from record_makers import counts, draw, general_record, make_record, source
from scipy import stats

from benchmarks.reporting.claims import NOT_DECIDED, judge, sentence
from benchmarks.reporting.compare import compare, compare_pairs
from benchmarks.reporting.items import items_of
from benchmarks.reporting.rows import group, load
from benchmarks.reporting.tables import to_frame
from benchmarks.running.record import write_record
from fewshot.errors import InputError

RS = ("none", "smooth")


def test_general_rows_hold_the_last_value_of_every_initialization():
    (row,) = group([general_record([0.7, 0.8, 0.9])])
    np.testing.assert_allclose(row.values[0], [70, 80, 90])
    np.testing.assert_allclose(row.losses[0], [1.3, 1.2, 1.1])
    assert row.labels == {
        "dataset": "digits",
        "task": "digits_mlp",
        "source": "",
        "optimizer": "simple",
        "regularizer": "none",
    }
    assert row.problem == "initializations"
    interval = row.interval()
    assert interval is not None
    assert (interval.mean, interval.n) == (pytest.approx(80), 3)


def test_a_task_without_accuracy_has_its_loss():
    plain, smooth = group([general_record([None] * 3), general_record([None] * 3, "smooth")])
    assert plain.metric == "loss"
    np.testing.assert_allclose(plain.values[0], [2.0, 1.9, 1.8])
    assert not plain.higher_is_better
    better = group([general_record([None] * 4, "smooth", optimizer="dm")])[0]
    assert better.values[0].shape == (4,)
    assert smooth.difference(plain).mean == 0


def test_diverged_runs_keep_their_place_and_are_never_averaged():
    plain = general_record([0.7, 0.8, 0.5, 0.6], diverged={1})
    smooth = general_record([0.8, 0.8, 0.7, 0.6], "smooth", diverged={3})
    rows = group([smooth, plain])
    assert np.isnan(rows[0].values[0][1])
    assert rows[0].diverged == 1
    assert rows[0].interval().mean == pytest.approx(60)
    difference = rows[1].difference(rows[0])
    assert difference.mean == pytest.approx((10 + 20) / 2)
    assert (difference.n, difference.dropped, difference.unit) == (2, 2, "initializations")


def test_all_diverged_is_no_number():
    rows = group([general_record([0.5, 0.5], diverged={0, 1}), general_record([0.6, 0.7], "smooth")])
    assert rows[0].interval() is None
    assert rows[1].difference(rows[0]) is None
    assert compare(rows) == []


def test_a_seed_that_diverged_everywhere_is_no_unit():
    records = [general_record(draw(s), seed=s, diverged={0, 1, 2, 3, 4} if s == 1 else ()) for s in range(3)]
    (row,) = group(records)
    means = [100 * draw(s).mean() for s in (0, 2)]
    assert row.interval().n == 2
    assert row.interval().mean == pytest.approx(np.mean(means))


def test_a_hand_designed_row_is_paired_with_every_seed():
    learned = [general_record(draw(s), "smooth", seed=s) for s in (0, 1, 2)]
    rows = group([*learned, general_record(draw(9), optimizer="adam")])
    adam, smooth = rows
    assert adam.hand_designed
    means = [100 * (draw(s) - draw(9)).mean() for s in (0, 1, 2)]
    difference = smooth.difference(adam)
    assert difference.mean == pytest.approx(np.mean(means))
    assert difference.half_width == pytest.approx(stats.t.ppf(0.975, 2) * stats.sem(means))
    assert (difference.n, difference.unit) == (3, "seeds")
    assert adam.difference(smooth).mean == pytest.approx(-np.mean(means))


def test_transferred_rows_pool_the_seeds_of_their_source():
    plain = [general_record(draw(s), transfer=source(s)) for s in range(3)]
    smooth = [general_record(draw(s + 3), "smooth", transfer=source(s, config_sha256="d")) for s in range(3)]
    rows = group(plain + smooth)
    assert [sorted(row.values) for row in rows] == [[0, 1, 2], [0, 1, 2]]
    assert rows[0].labels["source"] == "mnist_mlp"
    (comparison,) = compare(rows)
    assert comparison.difference.n == 3
    other_task = group([*plain, general_record(draw(0), transfer=source(0, task="digits_mlp"))])
    assert len(other_task) == 2


def test_only_one_protocol_a_row():
    rows = group([general_record(draw(0)), general_record(draw(1), "smooth", protocol="q")])
    assert rows[1].difference(rows[0]) is None
    assert len(group([general_record(draw(0)), general_record(draw(1), seed=1, protocol="q")])) == 2


def test_the_later_of_two_records_of_a_seed_counts():
    old = {**general_record(draw(0)), "measured": {"finished": "2026-01-01T00:00:00+00:00"}}
    new = {**general_record(draw(1)), "measured": {"finished": "2026-01-02T00:00:00+00:00"}}
    for order in ([old, new], [new, old]):
        (row,) = group(order)
        np.testing.assert_allclose(row.values[0], 100 * draw(1))
        assert len(row.records) == 1


def test_holm_within_a_table():
    rows = []
    for i, task in enumerate(("a", "b")):
        rows += group([general_record(draw(i, 12), task=task), general_record(draw(i + 5, 12), "smooth", task=task)])
    rows += group([general_record(draw(7, 12), optimizer="dm"), general_record(draw(8, 12), "smooth", optimizer="dm")])
    found = compare(rows)
    assert [c.table for c in found] == ["table1", "table1", "general"]
    first, second = sorted(found[:2], key=lambda c: c.difference.p)
    assert first.holm == pytest.approx(min(1, 2 * first.difference.p))
    assert second.holm == pytest.approx(min(1, max(2 * first.difference.p, second.difference.p)))
    assert found[2].holm == found[2].difference.p


def test_decided_follows_the_interval_and_power_says_what_is_missing():
    """Differences of 1, 2, 3, -1, 0 points: 1 ± 1.96 (sample deviation 1.58)."""
    plain = general_record([0.5] * 5)
    smooth = general_record([0.51, 0.52, 0.53, 0.49, 0.50], "smooth")
    (undecided,) = compare(group([plain, smooth]))
    assert undecided.better is None
    effect = 1.0 / np.std([1, 2, 3, -1, 0], ddof=1)
    powers = {n: _power(effect, n) for n in range(2, 60)}
    assert undecided.more == min(n for n, p in powers.items() if p >= 0.8) - 5
    (decided,) = compare(group([plain, general_record([0.61, 0.62, 0.63, 0.6, 0.6], "smooth")]))
    assert (decided.better, decided.more) == (True, 0)
    (worse,) = compare(group([plain, general_record([0.41, 0.42, 0.43, 0.4, 0.4], "smooth")]))
    assert worse.better is False
    (one,) = compare(group([general_record([0.5]), general_record([0.6], "smooth")]))
    assert (one.decided, one.more) == (False, None)


def _power(effect, n):
    critical = stats.t.ppf(0.975, n - 1)
    return 1 - stats.nct.cdf(critical, n - 1, effect * n**0.5) + stats.nct.cdf(-critical, n - 1, effect * n**0.5)


def test_pairs_without_a_common_problem_are_left_out():
    rows = group([general_record(draw(0)), general_record(draw(0), protocol="q")])
    assert compare_pairs([("x", rows[0], rows[1])]) == []


def test_records_of_other_layouts_are_named_and_left_out(tmp_path, capsys):
    write_record(tmp_path / "a" / "record.json", general_record(draw(0)), {})
    write_record(tmp_path / "b" / "record.json", {"track": "general", "config": {}, "status": "finished"}, {})
    write_record(tmp_path / "c" / "record.json", {"track": "pretraining"}, {})
    assert len(load([tmp_path])) == 1
    printed = capsys.readouterr().err
    assert printed.count("left out") == 1
    assert "lacks what a table needs" in printed
    with pytest.raises(InputError, match="lacks what a table needs"):
        group([{"track": "few_shot", "config": {}}])


def test_runs_of_other_numbers_of_problems_are_no_pair():
    """One value would be spread over all, others would end in an error of numpy."""
    plain = general_record([0.5] * 5)
    for count in (1, 4):
        rows = group([plain, general_record([0.6] * count, "smooth", config_test={"initializations": 5})])
        assert rows[1].difference(rows[0]) is None
        assert rows[1].margin(rows[0]) is None
        assert compare(rows) == []
        assert not to_frame(rows)["best"].any()
        (verdict,) = [v for v in judge(rows) if v.claim.key == "table1-smooth"]
        assert verdict.verdict == NOT_DECIDED
        assert f"runs of {count}, 5 initializations on one test" in sentence(verdict)


def test_seeds_of_other_numbers_of_problems_are_no_pair():
    test = {"initializations": 5}
    records = [general_record([0.6] * n, r, seed=s, config_test=test) for s, n in enumerate((5, 4)) for r in RS]
    rows = group(records)
    assert [len(row.values) for row in rows] == [2, 2]
    assert compare(rows) == []
    few = group([make_record(counts(0, n), seed=s) for s, n in enumerate((50, 40))])
    assert items_of(few)[0].episodes is None


def test_a_record_that_lacks_an_initialization_is_refused():
    record = general_record([0.5] * 3)
    del record["test"]["best"]["runs"][1]
    with pytest.raises(InputError, match="some initializations are missing"):
        group([record])


def test_sources_of_different_configurations_are_never_pooled():
    plain = [general_record(draw(s), transfer=source(s)) for s in range(3)]
    other = [general_record(draw(s + 3), transfer=source(s + 3, config_sha256="e")) for s in range(3)]
    rows = group(plain + other)
    assert sorted(sorted(row.values) for row in rows) == [[0, 1, 2], [3, 4, 5]]
    assert sorted(to_frame(rows)["settings"]) == ["transfer.config_sha256=c", "transfer.config_sha256=e"]


def test_the_partner_of_a_transferred_row_is_not_guessed():
    """Which of two plain sources was meta-trained like the smoothed one, their records do not say."""
    plain = [general_record(draw(s), transfer=source(s)) for s in range(2)]
    smooth = [general_record(draw(s + 3), "smooth", transfer=source(s, config_sha256="d")) for s in range(2)]
    other = general_record(draw(7), transfer=source(0, config_sha256="e"))
    assert len(compare(group(plain + smooth))) == 1
    assert [v.claim.key for v in judge(group(plain + smooth))] == ["transfer"]
    assert compare(group([*plain, *smooth, other])) == []
    assert judge(group([*plain, *smooth, other])) == []
