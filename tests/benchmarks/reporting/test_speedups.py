"""Speed-ups over tuned Adam: which records are compared, what the tables, the page and the figure say of them."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from makers import general, random

from benchmarks.report import main
from benchmarks.reporting.compare import DEFAULT_MARGINS
from benchmarks.reporting.groups import choose, groups_of
from benchmarks.reporting.kinds import SPEED_UPS, make_plots
from benchmarks.reporting.read import rows_of
from benchmarks.reporting.render_matplotlib import figure_of
from benchmarks.reporting.render_text import notes_text, to_latex, to_text
from benchmarks.reporting.speedups import speed_ups
from benchmarks.reporting.tables import to_frame
from benchmarks.running import schema
from benchmarks.running.schema import GeneralDetails, RateCurves

PROBLEMS, LONG = 6, 400
RATES = (0.004, 0.006, 0.005)
"""Of the decay of losses, one a learning rate: the second is best everywhere."""


def loss(step, rate=0.006):
    return 2.3 * np.exp(-rate * np.asarray(step, dtype=float))


def run(initialization, losses, diverged_at=None):
    losses = list(map(float, losses))
    steps = list(range(len(losses)))
    accuracies = [float(np.exp(-x)) for x in losses]
    return schema.TestRun(
        initialization=initialization,
        diverged_at=diverged_at,
        step=steps,
        train_loss=losses,
        test_loss=losses,
        train_accuracy=accuracies,
        test_accuracy=accuracies,
    )


def adam(steps=LONG, problems=PROBLEMS, rates=RATES, **options):
    step = list(range(0, steps + 1, 2))
    curves = [[loss(step, rate).tolist() for _ in range(problems)] for rate in rates]
    envelope = RateCurves(rates=[0.1 * (i + 1) for i in range(len(rates))], step=step, test_loss=curves)
    runs = [run(i, loss(np.arange(steps + 1), rates[0])) for i in range(problems)]
    return general(runs, optimizer="adam", steps=steps, details=GeneralDetails(envelope=envelope), **options)


def learned(factor, seed=0, steps=100, problems=PROBLEMS, spread=0.0, diverged=(), **options):
    """As fast as Adam at its best with `factor` times as many steps; problems and seeds differ by `spread`."""
    faster = factor * np.exp(spread * random("speed", seed).normal(0, 1, problems))
    runs = [
        run(i, loss([0, 1]), 2) if i in diverged else run(i, loss(np.arange(steps + 1) * faster[i]))
        for i in range(problems)
    ]
    return general(runs, seed=seed, steps=steps, **options)


def found(*records):
    rows = rows_of(records)
    ratios = speed_ups(rows)
    return {row.label: ratios.get(row.key) for row in rows}


def said(method, *records):
    """The cell of a row."""
    table = to_text(to_frame(rows_of(records))).splitlines()
    header = next(line for line in table if line.startswith("| dataset"))
    names = [name.strip() for name in header.split("|")]
    lines = [dict(zip(names, map(str.strip, line.split("|")), strict=True)) for line in table if "| digits" in line]
    return next(line["speed-up"] for line in lines if line["method"].strip("*") == method)


def test_an_optimizer_is_as_many_times_faster_as_it_was_made():
    """Steps that a longer record of Adam needs, on the same problems."""
    records = [learned(2.5, seed, spread=0.05) for seed in range(3)]
    ratio = found(*records, adam())["simple"]
    low, high = ratio.interval()
    assert (ratio.bound, ratio.log.problems, ratio.log.sides[0].seeds) == ("", PROBLEMS, 3)
    assert 2.4 < ratio.ratio < 2.6
    assert low < ratio.ratio < high
    expected = [2.5 * np.exp(0.05 * random("speed", seed).normal(0, 1, PROBLEMS)) for seed in range(3)]
    assert ratio.ratio == pytest.approx(np.exp(np.log(expected).mean()), rel=1e-3)
    assert found(*records, adam())["adam"].ratio == pytest.approx(RATES[0] / RATES[1], rel=1e-3), "its rate is not best"


def test_loss_that_adam_never_has_gives_a_bound():
    """400 steps of Adam against 100: ratios above 4 cannot be told."""
    assert said("simple", learned(6.0), adam()) == "≥ 4 (≥ 4)"
    part = found(learned(3.9, spread=0.1), adam())["simple"]
    assert part.bound == "at least"
    assert 0 < part.censored < PROBLEMS
    low, high = part.interval()
    assert 3 < low < part.ratio < 4
    assert high == np.inf
    frame = to_frame(rows_of([learned(3.9, spread=0.1), adam()]))
    assert frame["speed_up_unreached"].tolist() == [0, part.censored]
    assert frame["speed_up_bound"].tolist() == ["", "at least"]


def test_loss_that_adam_has_at_once_is_a_bound_from_above():
    assert said("simple", learned(0.001), adam()) == "≤ 0.02 (≤ 0.02)"


def test_bounds_on_both_sides_are_no_number():
    runs = [run(i, loss(np.arange(101) * (9 if i % 2 else 0.001))) for i in range(PROBLEMS)]
    assert said("simple", general(runs, steps=100), adam()) == "?"


def test_diverged_runs_never_help():
    whole, part = (found(learned(2.0, spread=0.3, diverged=lost), adam())["simple"] for lost in ((), (0,)))
    assert part.log.missing == 1
    assert part.worst.mean < part.log.mean
    lows, highs = np.exp(np.transpose([part.log.interval(), part.worst.interval()]))
    assert part.interval() == pytest.approx((min(lows), max(highs)))
    assert highs[0] > highs[1], "so that neither alone would do, or the test shows nothing"
    assert whole.worst is whole.log


def test_the_longest_envelope_on_the_same_problems_counts():
    short, other = adam(steps=120), adam(which="other", task="cifar10_mlp")
    assert found(learned(2.0), short, other)["simple"].bound == "at least"
    few = adam(steps=900, problems=PROBLEMS - 1)
    for records in ([learned(2.0), short, few, adam()], [adam(), few, short, learned(2.0)]):
        assert found(*records)["simple"].ratio == pytest.approx(2, rel=1e-3)


@pytest.mark.parametrize(
    "rival",
    [
        pytest.param(lambda: adam(task="cifar10_mlp"), id="another task"),
        pytest.param(lambda: adam(problems=PROBLEMS - 1), id="fewer problems"),
        pytest.param(lambda: adam(dataset="other"), id="other data"),
        pytest.param(
            lambda: general([run(i, [2.0, 1.0]) for i in range(PROBLEMS)], optimizer="adam"), id="no envelope"
        ),
    ],
)
def test_nothing_is_said_without_an_envelope_on_the_same_problems(rival):
    records = [learned(2.0), rival()]
    assert found(*records)["simple"] is None
    frame = to_frame(rows_of(records))
    assert frame[frame["method"] == "simple"]["speed_up"].isna().all()


def test_more_problems_of_adam_are_the_same_first_ones():
    assert found(learned(2.0), adam(problems=PROBLEMS + 3))["simple"].ratio == pytest.approx(2, rel=1e-3)


def test_notes_explain_the_column_where_there_is_one():
    without, with_it = (to_frame(rows_of(records)) for records in ([learned(2.0)], [learned(2.0), adam()]))
    assert "Speed-up" not in notes_text(without, DEFAULT_MARGINS)
    assert "speed-up" not in to_text(without)
    assert "Speed-up: how many times as many steps Adam needs" in notes_text(with_it, DEFAULT_MARGINS)


def test_notes_on_rows_of_one_seed_name_what_re_runs_move():
    one, two = (to_frame(rows_of([learned(2.0, seed, spread=0.1) for seed in range(n)])) for n in (1, 2))
    assert 'under "Re-runs"; no smaller difference' in " ".join(notes_text(one, DEFAULT_MARGINS).split())
    assert "Re-runs" not in notes_text(two, DEFAULT_MARGINS)
    page = Path(__file__).parents[3] / "docs" / "statistics.md"
    assert "**Re-runs.**" in page.read_text(), "what the note points to"


def test_the_figure_has_a_line_a_row_on_a_logarithmic_axis():
    rows = rows_of([learned(3.0), learned(6.0, optimizer="dm"), adam()])
    (plot,) = make_plots(choose(groups_of(rows), []), [SPEED_UPS], speed_ups(rows))
    (panel,) = plot.panels[0]
    assert {line.label: line.decided for line in panel.forest} == {"simple": True, "dm": True, "adam": True}
    assert panel.reach[1] > 4
    axes = figure_of(plot).axes[0]
    assert (axes.get_xscale(), axes.lines[0].get_xdata()[0]) == ("log", 1)
    assert axes.get_xlim() == pytest.approx(panel.reach)
    assert not make_plots(choose(groups_of(rows), []), [SPEED_UPS], {})


def test_the_command_says_it_everywhere(tmp_path):
    for i, record in enumerate([learned(2.0, spread=0.1), learned(6.0, optimizer="dm"), adam()]):
        record.write(tmp_path / "runs" / str(i) / "record.json")
    main([str(tmp_path / "runs"), "--out", str(tmp_path)])
    assert "≥ 4 (≥ 4)" in (tmp_path / "tables.md").read_text()
    assert r"$\geq$ 4 ($\geq$ 4)" in (tmp_path / "tables.tex").read_text()
    frame = pd.read_csv(io.StringIO((tmp_path / "tables.csv").read_text())).set_index("method")
    assert frame.loc["simple", "speed_up"] == pytest.approx(2, rel=0.1)
    assert frame.loc["simple", "speed_up_low"] < frame.loc["simple", "speed_up"] < frame.loc["simple", "speed_up_high"]
    assert (tmp_path / "figures" / "speed-up.png").stat().st_size > 1000
    page = (tmp_path / "report.html").read_text()
    assert page.count("speed-up over tuned Adam</th>") == 2
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])
    (chart,) = [chart for chart in data["charts"] if chart["id"] == "speed-up"]
    axis = chart["panels"][0]["x"]
    assert (axis["log"], axis["neutral"]) == (True, 1.0)
    assert all(None not in line["high"] for line in chart["panels"][0]["lines"]), "open ends go as far as the axis"


def test_latex_has_the_signs():
    assert r"$\leq$" in to_latex(to_frame(rows_of([learned(0.001), adam()])))
