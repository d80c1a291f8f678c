"""Tables from records, against numbers worked out here."""

import itertools

import numpy as np
import pandas as pd
import pytest
from makers import counts, few_shot
from scipy import stats

from benchmarks.report import main
from benchmarks.reporting.read import load, rows_of
from benchmarks.reporting.render_text import to_text
from benchmarks.reporting.tables import to_frame
from fewshot.errors import InputError


def percent(correct):
    return 100 * np.asarray(correct) / 75


def test_one_seed_has_the_interval_over_episodes():
    frame = to_frame(rows_of([few_shot(counts(0))]))
    sample = percent(counts(0))
    low, high = stats.t.interval(0.95, 49, sample.mean(), stats.sem(sample))
    (line,) = frame.to_dict("records")
    assert line["value"] == pytest.approx(sample.mean())
    assert line["half_width"] == pytest.approx((high - low) / 2)
    assert (line["over"], line["one_model"], line["seeds"]) == ("50 episodes, one trained model", True, 1)
    assert np.isnan(line["difference"])


def test_several_seeds_have_the_interval_over_seeds_and_episodes():
    """Worked out here, by the formula of docs/statistics.md, with its floor."""
    records = [few_shot(counts(seed), seed=seed) for seed in range(4)]
    (line,) = to_frame(rows_of(records)).to_dict("records")
    y = np.array([percent(counts(seed)) for seed in range(4)])
    assert line["value"] == pytest.approx(y.mean())
    assert line["half_width"] == pytest.approx(_half_width(y))
    assert (line["over"], line["one_model"], line["seeds"]) == ("4 seeds × 50 episodes", False, 4)


def _half_width(y, confidence=0.95):
    s, e = y.shape
    seeds, problems = y.mean(axis=1, keepdims=True), y.mean(axis=0, keepdims=True)
    df_s, df_p, df_sp = s - 1, e - 1, (s - 1) * (e - 1)
    ms_s = e * ((seeds - y.mean()) ** 2).sum() / df_s
    ms_p = s * ((problems - y.mean()) ** 2).sum() / df_p
    ms_sp = ((y - seeds - problems + y.mean()) ** 2).sum() / df_sp
    bracket = ms_s + ms_p - ms_sp
    spreads = [(bracket, bracket**2 / (ms_s**2 / df_s + ms_p**2 / df_p + ms_sp**2 / df_sp))]
    if bracket < max(ms_s, ms_p):
        spreads = [(ms_s, df_s), (ms_p, df_p)]
    return max(stats.t.ppf((1 + confidence) / 2, df) * (v / (s * e)) ** 0.5 for v, df in spreads)


def test_differences_are_paired_by_episode_and_seed():
    plain = {seed: counts(seed) for seed in (0, 1, 2)}
    smooth = {seed: np.minimum(counts(seed) + counts(seed + 10, mean=17) % 4, 75) for seed in (1, 2, 3)}
    records = [few_shot(c, seed=s) for s, c in plain.items()]
    records += [few_shot(c, "smooth", seed=s) for s, c in smooth.items()]
    line = to_frame(rows_of(records)).to_dict("records")[1]
    pairs = np.array([percent(smooth[seed]) - percent(plain[seed]) for seed in (1, 2)])
    half, narrower = _half_width(pairs), _half_width(pairs, 0.9)
    assert line["difference"] == pytest.approx(pairs.mean())
    assert (line["low"], line["high"]) == pytest.approx((pairs.mean() - half, pairs.mean() + half))
    assert (line["p"] < 0.05) == (half < abs(pairs.mean()))
    assert line["no_larger_than"] == pytest.approx(abs(pairs.mean()) + narrower)
    assert (line["difference_over"], line["family"]) == ("2 seeds × 50 episodes", "table2")


def test_only_rows_on_the_same_episodes_are_compared():
    records = [few_shot(counts(0)), few_shot(counts(1), "smooth", which="other")]
    frame = to_frame(rows_of(records))
    assert frame["difference"].isna().all()
    records = [few_shot(counts(0), way=5), few_shot(counts(1), "smooth", way=10)]
    assert to_frame(rows_of(records))["difference"].isna().all()


def test_failures_are_counted_and_never_averaged():
    records = [few_shot(counts(0), seed=0), few_shot([], seed=1, failed=True)]
    (line,) = to_frame(rows_of(records)).to_dict("records")
    assert line["value"] == pytest.approx(percent(counts(0)).mean())
    assert (line["seeds"], line["failed"], line["over"]) == (1, 1, "50 episodes, one trained model")
    assert line["worst"] == pytest.approx((percent(counts(0)).mean() + percent(counts(0)).min()) / 2)
    text = to_text(to_frame(rows_of([few_shot([], failed=True)])))
    assert "failed" in text
    assert "nan" not in text


def test_rows_that_read_alike_show_what_differs():
    records = [few_shot(counts(i), "smooth", penalty={"weight": w}) for i, w in enumerate((0.1, 1.0))]
    frame = to_frame(rows_of(records))
    assert sorted(frame["settings"]) == ["λ = 0.1", "λ = 1"]
    assert "λ = 0.1" in to_text(frame)


def test_the_order_of_records_never_matters():
    records = [few_shot(counts(s), r, seed=s) for s, r in itertools.product((0, 1), ("none", "smooth"))]
    frames = [to_frame(rows_of(order)) for order in itertools.permutations(records)]
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])
    assert list(frames[0]["regularizer"]) == ["none", "smooth"]


def test_transductive_rows_carry_a_t():
    assert "meta_lstm (T)" in to_text(to_frame(rows_of([few_shot(counts(0), transductive=True)])))


def test_the_command_writes_both_files(tmp_path, capsys):
    few_shot(counts(0)).write(tmp_path / "runs" / "a" / "seed0" / "record.json")
    (tmp_path / "runs" / "b").mkdir()
    (tmp_path / "runs" / "b" / "record.json").write_text("{ broken")
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert "left out" in printed.err
    assert "broken" not in printed.out
    assert "meta_lstm" in (tmp_path / "out" / "tables.md").read_text()
    table = pd.read_csv(tmp_path / "out" / "tables.csv")
    assert table["value"][0] == pytest.approx(percent(counts(0)).mean())


def test_no_records_is_no_error(tmp_path, capsys):
    (tmp_path / "runs").mkdir()
    main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert "no records" in capsys.readouterr().out
    with pytest.raises(InputError, match="nowhere does not exist"):
        load([tmp_path / "nowhere"])
