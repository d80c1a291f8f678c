"""Verdicts on the paper's claims, from rows with known differences."""

import numpy as np
import pytest
from makers import counts, draw, few_shot, optimized, source

from benchmarks.report import main
from benchmarks.reporting.claims import CLAIMS, CONTRADICTED, NOT_DECIDED, SUPPORTED, judge
from benchmarks.reporting.published import TABLES
from benchmarks.reporting.read import rows_of
from benchmarks.reporting.render_text import verdicts_text

PLAIN = np.array([0.50, 0.60, 0.70, 0.55])
NOISE = np.array([0.00, 0.01, -0.01, 0.005])


def verdicts(*records):
    return {(v.key, v.other.regularizer): v.verdict for v in judge(rows_of(records))}


@pytest.mark.parametrize(("gain", "expected"), [(0.1, SUPPORTED), (-0.1, CONTRADICTED), (0.001, NOT_DECIDED)])
def test_the_verdict_follows_the_interval(gain, expected):
    found = verdicts(optimized(PLAIN), optimized(PLAIN + gain + NOISE, "smooth"))
    assert found == {("table1-smooth", "none"): expected}


def test_table_1_claims_each_regularizer():
    found = verdicts(
        optimized(PLAIN),
        optimized(PLAIN + 0.1 + NOISE, "smooth"),
        optimized(PLAIN + 0.05 - NOISE, "l2"),
        optimized(PLAIN - 0.05 - NOISE, "spectral"),
        optimized(PLAIN - 0.3 + 2 * NOISE, "orthogonal"),
    )
    assert found == {
        ("table1-smooth", "none"): SUPPORTED,
        ("table1-l2", "none"): SUPPORTED,
        ("table1-spectral", "none"): CONTRADICTED,
        ("table1-orthogonal", "none"): SUPPORTED,  # the paper says it is worse
        ("table1-others", "l2"): SUPPORTED,
        ("table1-others", "spectral"): SUPPORTED,
        ("table1-others", "orthogonal"): SUPPORTED,
    }


def test_hand_designed_optimizers_are_compared_with_every_seed():
    smooth = [optimized(PLAIN + 0.1 + s * NOISE, "smooth", seed=s) for s in range(3)]
    found = judge(rows_of([*smooth, optimized(PLAIN, optimizer="adam"), optimized(PLAIN, optimizer="sgd")]))
    assert [v.key for v in found] == ["hand-designed"] * 2
    assert {v.verdict for v in found} == {SUPPORTED}
    assert {v.comparison.difference.n for v in found} == {3}


def test_transferred_rows_speak_to_transfer_alone():
    plain = optimized(PLAIN, transfer=source(0))
    smooth = optimized(PLAIN + 0.1 + NOISE, "smooth", transfer=source(0))
    found = judge(rows_of([plain, smooth, optimized(PLAIN, optimizer="adam")]))
    assert [v.key for v in found] == ["transfer", "transfer-hand-designed"]


def test_p_is_corrected_within_a_claim():
    smooth = optimized(draw(0, 12), "smooth")
    optimizers = [optimized(draw(i, 12), optimizer=name) for i, name in ((1, "adam"), (2, "sgd"))]
    found = judge(rows_of([smooth, *optimizers]))
    p = sorted(v.comparison.difference.p for v in found)
    corrected = sorted(v.comparison.p for v in found)
    assert corrected == pytest.approx([min(1, 2 * p[0]), min(1, max(2 * p[0], p[1]))])


def test_failures_decide_nothing_and_are_named():
    records = [few_shot(counts(0)), few_shot([], "smooth", failed=True)]
    (verdict,) = judge(rows_of(records))
    assert verdict.verdict == NOT_DECIDED
    assert "1 run failed" in verdicts_text([verdict])
    assert "nan" not in verdicts_text([verdict])


def test_dropped_pairs_are_named_with_the_verdict():
    records = [optimized(PLAIN), optimized(PLAIN + 0.1 + NOISE, "smooth", diverged={0})]
    text = verdicts_text(judge(rows_of(records)))
    assert "1 pair dropped, 1 against 0 test runs diverged" in text


def test_lines_name_interval_units_and_what_is_missing():
    text = verdicts_text(judge(rows_of([few_shot([40, 50, 60]), few_shot([42, 50, 61], "smooth")])))
    assert "Smoothed Meta-LSTM is better than Meta-LSTM (table 2)" in text
    assert "meta_lstm + smooth against meta_lstm on glyphs, 5-way 1-shot: **not decided** (+1.33 ± 3.31 points" in text
    assert "points over 3 episodes, p " in text
    assert "more episodes would show this difference at 80 % power" in text
    assert verdicts_text([]) == ""


def test_what_is_shown_never_changes_a_correction():
    rows = rows_of([optimized(draw(i), r) for i, r in enumerate(("none", "smooth", "l2", "orthogonal"))])
    everything = judge(rows)
    shown = judge(rows, [row for row in rows if row.regularizer == "smooth"])
    assert [v.key for v in shown] == ["table1-smooth", "table1-others", "table1-others"]
    kept = [v for v in everything if v.row.regularizer == "smooth"]
    assert [v.comparison.p for v in shown] == [v.comparison.p for v in kept]


def test_rows_of_equal_names_are_told_apart():
    records = [few_shot(counts(i), "smooth", penalty={"weight": w}) for i, w in enumerate((0.1, 1.0))]
    text = verdicts_text(judge(rows_of([few_shot(counts(2)), *records])))
    assert "meta_lstm + smooth (λ = 0.1) against meta_lstm on" in text
    assert "meta_lstm + smooth (λ = 1) against meta_lstm on" in text


def test_keys_are_unique():
    assert len({claim.text for claim in CLAIMS.values()}) == len(CLAIMS)


def test_a_claim_of_a_plug_in_gets_a_verdict(tmp_path, capsys):
    """From one file, with a table of its own, on the command line of the report."""
    plugin = tmp_path / "theirs.py"
    plugin.write_text(PLUGIN)
    records = [optimized(PLAIN, optimizer="theirs"), optimized(PLAIN + 0.1 + NOISE, "calm", optimizer="theirs")]
    for i, record in enumerate(records):
        record.write(tmp_path / "runs" / str(i) / "record.json")
    arguments = [str(tmp_path / "runs"), "--out", str(tmp_path), "--format", "md", "html", "--plugin", str(plugin)]
    try:
        main(arguments)
    finally:
        for registry, key in ((CLAIMS, "calm"), (TABLES, "theirs")):
            assert registry.origin(key).name == "theirs.py"
            del registry[key]
    text = (tmp_path / "tables.md").read_text()
    assert text == capsys.readouterr().out.partition("\n\nwritten to")[0] + "\n"
    assert "### Table 7: their optimizer" in text
    assert "Calm makes their optimizer better:" in text
    assert "- theirs + calm against theirs on digits_mlp, 2 steps: **supported** (+10" in text
    page = (tmp_path / "report.html").read_text()
    assert "Calm makes their optimizer better" in page
    assert "1 supported" in page


PLUGIN = """
from benchmarks.report import main
from benchmarks.reporting.claims import CLAIMS, Claim
from benchmarks.reporting.published import TABLES, Table

TABLES["theirs"] = Table("Table 7: their optimizer", lambda row: row.method == "theirs")
CLAIMS["calm"] = Claim(
    "Calm makes their optimizer better",
    first=lambda row: row.method == "theirs" and row.regularizer == "calm",
    second=lambda row: row.method == "theirs" and row.plain,
)
"""
