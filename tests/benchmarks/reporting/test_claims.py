"""Verdicts on the paper's claims, from rows with known differences."""

import re

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from makers import ENVIRONMENT, counts, draw, few_shot, optimized, plausible_general, random, source

from benchmarks.report import main
from benchmarks.reporting.claims import CLAIMS, compare, judge
from benchmarks.reporting.compare import Margins
from benchmarks.reporting.crossed.decisions import Verdict
from benchmarks.reporting.published import TABLES
from benchmarks.reporting.read import rows_of
from benchmarks.reporting.render_text import to_text, verdicts_text
from benchmarks.reporting.tables import to_frame
from benchmarks.reporting.wording import said
from benchmarks.running.record import Record
from benchmarks.running.schema import GeneralDetails, ZeroStateUpdates
from fewshot.errors import InputError

PLAIN = np.array([0.50, 0.60, 0.70, 0.55])
NOISE = np.array([0.00, 0.01, -0.01, 0.005])


SUPPORTED, CONTRADICTED, NO_LARGER, NOT_DECIDED = Verdict


def verdicts(*records):
    return {(v.key, v.other.regularizer): v.verdict for v in judge(rows_of(records))}


@pytest.mark.parametrize(
    ("gain", "noise", "expected"),
    [(0.1, 1, SUPPORTED), (-0.1, 1, CONTRADICTED), (0.001, 0.5, NO_LARGER), (0.001, 3, NOT_DECIDED)],
)
def test_the_verdict_follows_the_interval(gain, noise, expected):
    found = verdicts(optimized(PLAIN), optimized(PLAIN + gain + noise * NOISE, "smooth"))
    assert found == {("table1-smooth", "none"): expected}


def test_table_1_claims_each_regularizer():
    found = verdicts(
        optimized(PLAIN),
        optimized(PLAIN + 0.1 + NOISE, "smooth"),
        optimized(PLAIN + 0.05 + 2 * NOISE, "l2"),
        optimized(PLAIN - 0.05 + 0.5 * NOISE, "spectral"),
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
    assert {side.seeds for v in found for side in v.comparison.contrast.main.sides} == {3}


def test_a_hand_designed_rival_is_no_exact_number():
    """The same differences from Adam on every problem but for its own spread: what is won is not decided."""
    smooth = [optimized(np.full(4, 0.6) + 0.001 * s, "smooth", seed=s) for s in range(3)]
    even, uneven = np.full(4, 0.58), np.array([0.50, 0.66, 0.52, 0.64])
    for adam, expected in ((even, SUPPORTED), (uneven, NOT_DECIDED)):
        (found,) = judge(rows_of([*smooth, optimized(adam, optimizer="adam")]))
        assert found.comparison.mean == pytest.approx(2.1)
        assert found.verdict is expected


def test_transferred_rows_speak_to_transfer_alone():
    plain = optimized(PLAIN, transfer=source(0))
    smooth = optimized(PLAIN + 0.1 + NOISE, "smooth", transfer=source(0))
    found = judge(rows_of([plain, smooth, optimized(PLAIN, optimizer="adam")]))
    assert [v.key for v in found] == ["transfer", "transfer-hand-designed"]


def test_transfer_needs_another_task():
    """A source that is the task itself, for other steps, speaks to a claim of its own."""
    plain = optimized(PLAIN, transfer=source(0, task="digits_mlp"))
    smooth = optimized(PLAIN + 0.1 + NOISE, "smooth", transfer=source(0, task="digits_mlp"))
    found = judge(rows_of([plain, smooth, optimized(PLAIN, optimizer="adam")]))
    assert [v.key for v in found] == ["again", "again-hand-designed"]


@pytest.mark.parametrize(("slopes", "expected"), [((0.5, 0.6, 0.4), SUPPORTED), ((4.0, 4.2, 4.1), CONTRADICTED)])
def test_smoothness_is_judged_over_seeds(slopes, expected):
    plain = [plausible_general(seed=s, steps=20, details=sloped(2.0 + 0.1 * s)) for s in range(3)]
    smooth = [plausible_general("simple", "smooth", s, steps=20, details=sloped(x)) for s, x in enumerate(slopes)]
    (found,) = [v for v in judge(rows_of([*plain, *smooth])) if v.key == "smoothness"]
    assert found.verdict is expected
    assert found.comparison.mean == pytest.approx(np.mean(slopes) - 2.1)
    assert "of the Lipschitz number over 3 seeds" in verdicts_text([found])
    assert "around zero" in verdicts_text([found])
    (one,) = [v for v in judge(rows_of([plain[0], smooth[0]])) if v.key == "smoothness"]
    assert one.verdict is NOT_DECIDED
    assert "nan" not in verdicts_text([one])


def sloped(lipschitz):
    return GeneralDetails(smoothness=ZeroStateUpdates(state=[0.0], update=[0.0], lipschitz=lipschitz))


def test_the_margin_is_an_option():
    records = [optimized(PLAIN), optimized(PLAIN + 0.001 + 3 * NOISE, "smooth")]
    (strict,), (generous,) = (judge(rows_of(records), Margins(points=p)) for p in (1.0, 10.0))
    assert (strict.verdict, generous.verdict) == (NOT_DECIDED, NO_LARGER)
    losses = [optimized([None] * 4), optimized([None] * 4, "smooth", offset=0.02)]
    (below,), (above,) = (judge(rows_of(losses), Margins(relative=r)) for r in (0.02, 0.005))
    assert below.comparison.margin == pytest.approx(0.02 * 1.85)
    assert (below.comparison.decision.equivalent, above.comparison.decision.equivalent) == (True, False)
    assert "practically nothing, at most 0.02 of the loss" in verdicts_text([below])
    with pytest.raises(InputError, match="--margin-points is -1"):
        Margins(points=-1.0)


def test_p_is_corrected_within_a_claim():
    smooth = optimized(draw(0, 12), "smooth")
    optimizers = [optimized(draw(i, 12), optimizer=name) for i, name in ((1, "adam"), (2, "sgd"))]
    found = judge(rows_of([smooth, *optimizers]))
    p = sorted(v.comparison.contrast.p for v in found)
    corrected = sorted(v.comparison.decision.p for v in found)
    assert corrected == pytest.approx([min(1, 2 * p[0]), min(1, max(2 * p[0], p[1]))])


def test_failures_decide_nothing_and_are_named():
    records = [few_shot(counts(0)), few_shot([], "smooth", failed=True)]
    (verdict,) = judge(rows_of(records))
    assert verdict.verdict == NOT_DECIDED
    assert "1 run failed" in verdicts_text([verdict])
    assert "nan" not in verdicts_text([verdict])


def test_a_method_is_never_better_because_its_bad_runs_are_missing():
    """Without the run that diverged 10 points better; with it at the worst value of both, 50 %, nothing is known."""
    records = [optimized(PLAIN), optimized(PLAIN + 0.1 + NOISE, "smooth", diverged={2})]
    found = judge(rows_of(records))
    assert found[0].verdict is NOT_DECIDED
    assert found[0].comparison.mean == pytest.approx(10 + 100 * NOISE[[0, 1, 3]].mean())
    assert "1 against 0 test runs without a value, +2.87 if these count as the worst" in verdicts_text(found)
    assert not to_frame(rows_of(records))["best"].any()


def test_threads_and_devices_that_differ_are_said():
    other = msgspec.structs.replace(ENVIRONMENT, threads=1)
    records = [optimized(PLAIN), optimized(PLAIN + 0.1 + NOISE, "smooth", environment=other)]
    assert "; computed with threads 1 against 2)" in verdicts_text(judge(rows_of(records)))
    assert "computed with threads 1 against 2" in list(to_frame(rows_of(records[::-1]))["remarks"])[1]
    mixed = to_frame(rows_of([optimized(PLAIN), optimized(PLAIN, seed=1, environment=other)]))
    assert list(mixed["remarks"]) == ["runs differ in threads (1, 2)"]
    assert list(to_frame(rows_of([optimized(PLAIN)]))["remarks"]) == [""]


def test_processors_and_precisions_that_differ_are_said():
    """A hand-designed rival of another precision; a partner of another processor; unknown ones are no difference."""
    first, second = (msgspec.structs.replace(ENVIRONMENT, processor=name) for name in ("Chip A", "Chip B"))
    records = [optimized(PLAIN, environment=first), optimized(PLAIN + NOISE, "smooth", environment=second)]
    assert list(to_frame(rows_of(records))["remarks"])[1] == "computed with processor Chip B against Chip A"
    mixed = rows_of([optimized(PLAIN, environment=first), optimized(PLAIN, seed=1, environment=second)])
    assert list(to_frame(mixed)["remarks"]) == ["runs differ in processor (Chip A, Chip B)"]
    unknown = [optimized(PLAIN), optimized(PLAIN + NOISE, "smooth", environment=second)]
    assert list(to_frame(rows_of(unknown))["remarks"]) == ["", ""]
    rivals = [optimized(PLAIN, "smooth", precision="bf16"), optimized(PLAIN + NOISE, optimizer="adam")]
    assert "; computed with precision bf16 against fp32" in verdicts_text(judge(rows_of(rivals)))
    other = rows_of([optimized(PLAIN), optimized(PLAIN + NOISE, "smooth", precision="bf16")])
    assert not compare(other), "of another configuration: no partners"


@pytest.mark.parametrize("recorded", [False, True])
def test_an_early_best_is_marked(recorded):
    """The best loss of the makers' facts is 0.3; records that do not say the last one have it in their curve."""
    records = []
    for seed, last in enumerate((0.3, 0.329, 0.34, None)):
        details = GeneralDetails(validation=[{"unroll": 800.0, "loss": 0.3}, {"unroll": 1000.0, "loss": last}])
        record = optimized(PLAIN, seed=seed, details=GeneralDetails() if recorded else details)
        records.append(_trained(record, lipschitz=0.5, last_loss=last, clipped=0.5) if recorded else record)
    assert list(to_frame(rows_of(records))["remarks"]) == ["early best in 2 of 4 seeds"]


def _trained(record, lipschitz, **training):
    facts = record.facts
    training = msgspec.structs.replace(facts.training, **training)
    facts = msgspec.structs.replace(facts, training=training, lipschitz=lipschitz)
    return Record.of(facts, record.results, record.details)


def test_how_optimizers_were_selected_is_shown_on_request(tmp_path, capsys):
    """Two seeds: 0.3 to 0.3 and 0.2 to 0.4, early; a hand-designed optimizer was not selected so."""
    numbers = {"lipschitz": 0.5, "clipped": 0.9}
    records = [
        _trained(optimized(PLAIN), **numbers, exploded=0.1, best_unroll=600, last_loss=0.3),
        _trained(optimized(PLAIN, seed=1), **numbers, exploded=0.3, best_unroll=1000, best_loss=0.2, last_loss=0.4),
        optimized(PLAIN, optimizer="adam"),
    ]
    frame = to_frame(rows_of(records)).set_index("method")
    columns = ["exploded", "clipped", "best_unroll", "best_loss", "last_loss"]
    assert frame.loc["simple", columns].tolist() == pytest.approx([20, 90, 800, 0.25, 0.35])
    assert frame.loc["adam", columns].isna().all()
    for number, record in enumerate(records):
        record.write(tmp_path / str(number) / "record.json")
    for words, shown in (([], False), (["--selection"], True)):
        main([str(tmp_path), "--out", str(tmp_path / "out"), "--format", "md", "tex", "html", *words])
        text, latex, page = (tmp_path / "out" / name for name in ("tables.md", "tables.tex", "report.html"))
        for heading in ("exploded (%)", "clipped (%)", "best unroll", "validation, best", "validation, last"):
            assert (heading in text.read_text()) == shown
            assert (heading.replace("%", r"\%") in latex.read_text()) == shown
        assert "selected at unroll 800: validation loss 0.25, at last 0.35; 20 % of unrolls exploded; 90 % of" in (
            page.read_text()
        )
    diverged = [_trained(optimized(PLAIN), **numbers, last_loss=None)]
    assert "| diverged" in to_text(to_frame(rows_of(diverged)), selection=True)


def test_lines_name_interval_units_and_what_is_missing():
    text = verdicts_text(judge(rows_of([few_shot([40, 50, 60]), few_shot([42, 50, 61], "smooth")])))
    assert "Smoothed Meta-LSTM is better than Meta-LSTM (table 2)" in text
    assert (
        "meta_lstm + smooth against meta_lstm on glyphs, 5-way 1-shot: **not decided** (+1.33 (-1.98 to +4.65) points"
        in text
    )
    assert "points over 3 episodes, one trained model, p 0.23; at most 3.59 points; " in text
    assert "more episodes would show this difference at 80 % power" in text
    assert verdicts_text([]) == ""


def test_what_is_shown_never_changes_a_correction(tmp_path):
    records = [optimized(draw(i), r) for i, r in enumerate(("none", "smooth", "l2", "orthogonal"))]
    whole, part = tmp_path / "whole", tmp_path / "part"
    for i, record in enumerate(records):
        record.write(tmp_path / "runs" / str(i) / "record.json")
    main([str(tmp_path / "runs"), "--out", str(whole), "--format", "md"])
    main([str(tmp_path / "runs"), "--out", str(part), "--format", "md", "--where", "regularizer=smooth"])
    everything, kept = (
        [line for line in (out / "tables.md").read_text().splitlines() if line.startswith("- ")]
        for out in (whole, part)
    )
    assert len(everything) == 5
    assert kept == [line for line in everything if line.startswith("- simple + smooth")]
    assert len(kept) == 3


def test_rows_of_equal_names_are_told_apart():
    records = [few_shot(counts(i), "smooth", penalty={"weight": w}) for i, w in enumerate((0.1, 1.0))]
    text = verdicts_text(judge(rows_of([few_shot(counts(2)), *records])))
    assert "meta_lstm + smooth (λ = 0.1) against meta_lstm on" in text
    assert "meta_lstm + smooth (λ = 1) against meta_lstm on" in text


def differing(seed, seeds, problems, gain, spread):
    """Plain and smoothed runs, two families, with a true difference of `gain` points."""
    made = []
    for name in ("simple", "dm"):
        for s in range(seeds):
            generator = random("differing", seed, name, s)
            plain = 0.6 + generator.normal(0, 0.02, problems)
            shift = gain / 100 + generator.normal(0, spread / 100) + generator.normal(0, spread / 100, problems)
            made += [optimized(plain, seed=s, optimizer=name), optimized(plain + shift, "smooth", s, optimizer=name)]
    return [*made, optimized(0.6 + random("adam", seed).normal(0, 0.02, problems), optimizer="adam")]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(2, 6), st.floats(-5, 5), st.floats(0.01, 3))
def test_words_and_numbers_agree_everywhere(seed, seeds, problems, gain, spread):
    """As printed: the verdict, the interval beside it, p, X; in the list, in the table and in the forest."""
    rows = rows_of(differing(seed, seeds, problems, gain, spread))
    judgements = judge(rows)
    for line, judgement in zip(_printed(judgements), judgements, strict=True):
        verdict, mean, low, high, p = line
        decided = verdict in ("supported", "contradicted")
        assert (p < 0.05) == decided
        assert (len({end[0] for end in (low, high) if end != "0"}) == 1) == decided
        assert (verdict == "supported") == (decided and mean[0] == "+")
        if verdict.startswith("no effect larger than"):
            assert float(verdict.split()[4]) <= 1.0
        forest = judgement.comparison
        assert (forest.low > 0 or forest.high < 0 or (0 in (forest.low, forest.high) and decided)) == decided
    frame = to_frame(rows, compare(rows, judgements))
    text = to_text(frame)
    for judgement in judgements:
        if judgement.row.method == judgement.other.method:
            assert said(judgement.comparison).difference.removesuffix(" points") in text
    order = random("order", seed).permutation(len(records := differing(seed, seeds, problems, gain, spread)))
    assert verdicts_text(judge(rows_of([records[i] for i in order]))) == verdicts_text(judgements)


def _printed(judgements):
    pattern = (
        r"\*\*(.+?)\*\* \(([+-][\d.]+) \(([+-]?[\d.]+) to ([+-]?[\d.]+)\) points over [^;)]+, p (< 0.0001|[\de.-]+)"
    )
    found = re.findall(pattern, verdicts_text(judgements))
    assert len(found) == len(judgements)
    return [(verdict, mean, low, high, float(p.removeprefix("< "))) for verdict, mean, low, high, p in found]


def test_seeds_and_problems_may_be_permuted():
    """Names of seeds and the order of problems are arbitrary: no number depends on them."""
    values = {(r, s): draw(10 * s + len(r), 6) for r in ("none", "smooth") for s in range(4)}
    order = random("problems").permutation(6)
    plain = [optimized(v, r, s) for (r, s), v in values.items()]
    permuted = [optimized(v[order], r, 7 - s) for (r, s), v in values.items()]
    first, second = (to_frame(rows_of(records)) for records in (plain, permuted))
    pd.testing.assert_frame_equal(first, second, rtol=1e-9)


def test_identical_rows_differ_by_nothing():
    records = [optimized(PLAIN, r, s) for r in ("none", "smooth") for s in range(3)]
    (found,) = judge(rows_of(records))
    assert found.verdict is NO_LARGER
    assert "no effect larger than 0.00 points** (+0.00 (0 to 0) points" in verdicts_text([found])


def test_one_problem_is_over_seeds():
    records = [optimized([0.5 + 0.01 * s + g], r, s) for r, g in (("none", 0), ("smooth", 0.1)) for s in range(3)]
    (found,) = judge(rows_of(records))
    assert (found.verdict, "over 3 seeds, p < 0.0001)" in verdicts_text([found])) == (SUPPORTED, True)


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
    assert (
        "- theirs + calm against theirs on digits_mlp, 2 steps: **supported** (+10.12 (+8.77 to +11.48) points" in text
    )
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
