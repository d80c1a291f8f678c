"""Figures: their numbers against scipy, their files, and that they read without colour."""

import itertools

import matplotlib as mpl
import msgspec
import numpy as np
import pytest
from makers import few_shot, measured, plausible_few_shot, plausible_general, suite
from scipy import stats

from benchmarks.reporting.claims import compare
from benchmarks.reporting.curves import averaged, band, histogram, optimizee_curve, thinned, training_curve
from benchmarks.reporting.groups import LINES, choose, groups_of
from benchmarks.reporting.kinds import differences, make_plots
from benchmarks.reporting.plots import Axis, ForestLine, Line, Panel, Plot
from benchmarks.reporting.read import rows_of
from benchmarks.reporting.render_matplotlib import figure_of, write_figures
from benchmarks.reporting.style import line_style


def plots_of(rows, kinds=None):
    return make_plots(choose(groups_of(rows), compare(rows)), kinds)


def trainings(records):
    return [record.results.best.runs for record in records]


def test_a_band_is_the_t_interval_at_every_point():
    values = np.random.Generator(np.random.Philox(0)).normal(size=(4, 7))
    found = band([(np.arange(7), row) for row in values])
    low, high = stats.t.interval(0.95, 3, values.mean(axis=0), stats.sem(values))
    np.testing.assert_allclose(found.low, low)
    np.testing.assert_allclose(found.high, high)
    assert found.n == 4
    assert np.isnan(band([([0, 1], [1.0, 2.0])]).low).all()


def test_a_mean_ends_where_its_first_curve_ends():
    found = band([([0, 5, 10], [3.0, 2.0, 1.0]), ([0, 5], [5.0, 4.0])])
    np.testing.assert_allclose(found.x, [0, 5])
    np.testing.assert_allclose(found.mean, [4, 3])


def test_optimizee_curves_are_over_seeds_or_else_over_initializations():
    tests = trainings(plausible_general(seed=seed, steps=20, initializations=3) for seed in range(3))
    losses = np.array([[run.test_loss for run in runs] for runs in tests])
    over_seeds = optimizee_curve(tests, "test_loss")
    np.testing.assert_allclose(over_seeds.mean, losses.mean(axis=(0, 1)))
    np.testing.assert_allclose(
        over_seeds.high - over_seeds.mean, stats.t.ppf(0.975, 2) * stats.sem(losses.mean(axis=1))
    )
    assert (over_seeds.unit, over_seeds.n, over_seeds.ended) == ("seeds", 3, "")
    single = optimizee_curve(tests[:1], "test_loss")
    np.testing.assert_allclose(single.high - single.mean, stats.t.ppf(0.975, 2) * stats.sem(losses[0]))
    assert single.unit == "initializations"


def test_divergence_is_said_and_ends_the_line():
    records = [plausible_general(seed=seed, steps=20, diverged_at=end) for seed, end in enumerate((None, 11))]
    found = optimizee_curve(trainings(records), "train_loss")
    assert found.x[-1] == 10
    assert found.ended == "1 of 10 runs diverged"


def test_a_task_without_accuracy_has_no_accuracy_curve():
    (runs,) = trainings([plausible_general(steps=20)])
    runs = [msgspec.structs.replace(run, test_accuracy=None) for run in runs]
    assert optimizee_curve([runs], "test_accuracy") is None
    assert optimizee_curve([runs], "test_loss") is not None


def test_training_curves_average_neighbours_and_leave_failed_validations_out():
    details = plausible_few_shot().details
    found = training_curve([details.curve], "episode", "loss")
    losses = [point["loss"] for point in details.curve]
    assert (len(losses), len(found.x), found.x[-1]) == (500, 167, 5000)
    assert found.mean[0] == pytest.approx(np.mean(losses[:3]))
    assert found.mean[-1] == pytest.approx(np.mean(losses[498:]))
    details.validation[2]["accuracy"] = -1.0
    assert 1500 not in training_curve([details.validation], "episode", "accuracy").x
    assert training_curve([details.curve], "episode", "unheard") is None


@pytest.mark.parametrize("log", [False, True])
def test_thinning_keeps_both_ends(log):
    kept = thinned(np.arange(0.0, 10_001), 50, log)
    assert 20 < len(kept) <= 50
    assert (kept[0], kept[-1]) == (0, 10_000)
    if log:
        assert (np.diff(kept)[-1]) > 100 * np.diff(kept)[0]
    x, y = averaged(np.arange(7), np.arange(7.0), 3)
    np.testing.assert_allclose(x, [2, 5, 6])
    np.testing.assert_allclose(y, [1, 4, 6])


def test_histograms_hold_every_episode():
    edges, share = histogram(np.array([0.0, 50.0, 100.0, 100.0]))
    assert share.sum() == pytest.approx(100)
    assert (edges[0], edges[-1], share[-1]) == (0, 100, 50)


def test_lines_differ_without_colour():
    learned = itertools.product(("simple", "dm", "rnnprop"), ("none", "smooth", "l2", "orthogonal", "spectral"))
    hand_designed = ((name, "none") for name in ("sgd", "sgdm", "adam", "amsgrad", "rmsprop"))
    styles = [line_style(*names, True) for names in learned] + [line_style(*names, False) for names in hand_designed]
    looks = {(s.dashes, s.marker if not s.dashes else "", s.fill) for s in styles}
    assert len(looks) == len(styles)
    assert all(s.dashes for s in styles[15:])
    assert not any(s.dashes for s in styles[:15])
    assert line_style("new", "newer", True) == line_style("new", "newer", True)


@pytest.mark.parametrize("name", ["mine", "theirs", "a", "b", "c"])
def test_what_plug_ins_bring_looks_like_nothing_built_in(name):
    methods = ("simple", "dm", "rnnprop", "meta_lstm", "sib", "protonet")
    regularizers = ("none", "smooth", "l2", "orthogonal", "spectral")
    hand_designed = [line_style(n, "none", False) for n in ("sgd", "sgdm", "adam", "amsgrad", "rmsprop")]
    theirs = line_style(name, "none", False)
    assert theirs.colour not in {style.colour for style in hand_designed}
    assert theirs.dashes not in {style.dashes for style in hand_designed}
    assert line_style(name, "none", True).marker not in {line_style(m, "none", True).marker for m in methods}
    own = line_style("simple", name, True)
    known = [line_style("simple", regularizer, True) for regularizer in regularizers]
    assert own.colour not in {style.colour for style in known}
    assert own.fill not in {style.fill for style in known}


@pytest.fixture(scope="module")
def rows():
    return [row for row in rows_of(suite(seeds=2)) if row.on in ("digits_mlp, 200 steps", "glyphs, 5-way 1-shot")]


def test_figures_are_files_with_words_and_units(rows, tmp_path):
    before = dict(mpl.rcParams)
    paths = write_figures(plots_of(rows), tmp_path)
    assert dict(mpl.rcParams) == before
    expected = {
        "curves-digits-mlp-200-steps": (
            "optimizer step",
            "test loss",
            "(cross-entropy, nats)",
            "simple + smooth",
            "seeds",
        ),
        "cost-digits-mlp-200-steps": ("per seed (s", "95 % interval of the", "test accuracy (%)"),
        "training-digits-mlp-200-steps": ("meta-training unroll", "validation: final loss"),
        "training-glyphs-5-way-1-shot": ("meta-training episode", "accuracy (%)"),
        "step-sizes-glyphs-5-way-1-shot": ("σ(i)", "σ(f)"),
        "episodes-glyphs-5-way-1-shot": ("accuracy of a test episode (%)", "600 episodes"),
        "smoothness-digits-mlp-200-steps": ("0.04 (", "a line a seed"),
        "differences-accuracy": ("percentage points", "digits_mlp, 200 steps", "Holm"),
    }
    names = {f"cost-{group}" for group in ("digits-mlp-200-steps", "glyphs-5-way-1-shot")} | set(expected)
    assert {path.name for path in paths} == {f"{name}.{kind}" for name in names for kind in ("png", "svg")}
    for name, words in expected.items():
        text = (tmp_path / f"{name}.svg").read_text()
        assert "<dc:date>" not in text
        for word in words:
            assert word in text, (name, word)


def test_equal_records_give_equal_bytes(tmp_path):
    records = [few_shot([30, 40, 50], regularizer, cost=measured(9.0)) for regularizer in ("none", "smooth")]
    written = []
    for number, order in enumerate((records, records[::-1])):
        written.append(write_figures(plots_of(rows_of(order)), tmp_path / str(number)))
    assert [path.name for path in written[0]] == [path.name for path in written[1]]
    assert len(written[0]) == 6
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*written, strict=True))


def test_no_records_no_figures(tmp_path):
    assert write_figures(plots_of([]), tmp_path / "none") == []
    assert plots_of(rows_of([few_shot(failed=True)])) == []


def test_one_figure_from_plain_arrays(tmp_path):
    x, y = np.arange(5), 0.5 / np.arange(1, 6)
    adam, smooth = line_style("adam", "none", False), line_style("simple", "smooth", True)
    lines = [
        Line("adam", "adam, 1 seed", "adam", "none", adam, x, 2 * y),
        Line("x < y", "x < y, 3 seeds; 1 ended (×)", "simple", "smooth", smooth, x, y, 0.8 * y, 1.2 * y, ended=True),
    ]
    panel = Panel("only", Axis("step"), Axis("loss", "log"), lines)
    png, svg = write_figures([Plot("curves", "lines", "one", "Plain & simple", "a note", "", [[panel]])], tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    text = svg.read_text()
    assert "Plain &amp; simple" in text
    assert "x &lt; y, 3 seeds; 1 ended" in text
    assert "adam, 1 seed<" in text
    assert "a note" in text


def test_undecided_differences_are_drawn_open():
    lines = [ForestLine("task", "a − b", 1.0, low, 1.5, "+1", low >= 0) for low in (0.0, -0.5)]
    panel = Panel("accuracy", Axis("points"), Axis(""), forest=lines)
    figure = figure_of(Plot("differences", "forest", "f", "title", "note", "", [[panel]]))
    drawn = [mark.get_markerfacecolor() for mark in figure.axes[0].lines if mark.get_marker() == "s"]
    assert drawn == ["#222222", "white"]


def test_forest_lines_are_the_comparisons(rows):
    comparisons = compare(rows)
    lines = differences("accuracy", comparisons).panels[0][0].forest
    assert len(lines) == len(comparisons) == 3
    assert sorted(line.mean for line in lines) == sorted(c.mean for c in comparisons)
    for line in lines:
        assert line.low < line.mean < line.high


def test_crowded_experiments_show_the_best_of_each_method_first():
    cores = [{"hidden_size": size, "layers": 2} for size in range(1, 31)]
    records = [plausible_general("simple", "none", 0, 1 + i / 30, steps=20, core=core) for i, core in enumerate(cores)]
    records.append(plausible_general("dm", "smooth", 0, 0.2, steps=20))
    (crowd,) = groups_of(rows_of(records))
    drawn = crowd.drawn()
    assert len(drawn) == LINES
    assert crowd.heading == "digits_mlp, 20 steps (12 of 31 rows)"
    assert any(row.method == "dm" for row in drawn)
    best = max((row for row in crowd.rows if row.method == "simple"), key=lambda row: row.analysis.mean)
    assert best in drawn
