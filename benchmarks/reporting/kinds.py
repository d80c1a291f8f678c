"""The kinds of plots, each described once: what the records of a group allow, a plot a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reporting import wording
from benchmarks.reporting.compare import Comparison, unpaired
from benchmarks.reporting.crossed.speedup import SpeedUp
from benchmarks.reporting.curves import LONG, Band, histogram, optimizee_curve, thin, thinned, training_curve
from benchmarks.reporting.groups import Choice, Group
from benchmarks.reporting.plots import BANDS, Axis, ForestLine, Form, Line, Panel, Plot
from benchmarks.reporting.rows import Row
from benchmarks.running.parallel import mapped
from benchmarks.running.schema import FewShotDetails, GeneralDetails, ZeroStateUpdates
from fewshot.console import progress


@dataclass(frozen=True)
class Metric:
    """What an axis shows."""

    label: str
    """With its unit."""
    scale: float = 1.0
    """Recorded values are multiplied by this."""
    log: bool = False
    ends: tuple[float, float] | None = None
    """Beyond which there is no value."""


_PERCENT = (0.0, 100.0)

METRICS = {
    "train_loss": Metric("training loss (cross-entropy, nats)", log=True),
    "test_loss": Metric("test loss (cross-entropy, nats)", log=True),
    "train_accuracy": Metric("training accuracy (%)", 100.0, ends=_PERCENT),
    "test_accuracy": Metric("test accuracy (%)", 100.0, ends=_PERCENT),
    "loss": Metric("loss (cross-entropy, nats)", log=True),
    "accuracy": Metric("accuracy (%)", 100.0, ends=_PERCENT),
    "meta_loss": Metric("meta-loss (weighted sum over a truncation)", log=True),
    "step_size": Metric("learned step size, mean σ(i)", log=True),
    "keep": Metric("weight kept, mean σ(f)"),
}
"""Of curves."""
_TESTED = ("test_loss", "train_loss", "test_accuracy", "train_accuracy")
_TRAINED = ("loss", "accuracy", "step_size", "keep")
_VALIDATED = ("loss", "accuracy")
_STEP = "optimizer step"


@dataclass(frozen=True, eq=False)
class Curves:
    """What the records of a row say beyond its values, thinned for drawing; only what they have."""

    row: Row
    tested: Mapping[str, Band]
    """Of optimizees, by metric."""
    trained: Mapping[str, Band]
    """Of meta-training, by metric."""
    validated: Mapping[str, Band]
    """Of its validation, by metric."""
    around_zero: Sequence[ZeroStateUpdates]
    """Of every seed's optimizer."""


def curves_of(row: Row) -> Curves:
    """Read the records of a row, each once."""
    records = [record.whole() for record in row.finished]
    details: list[FewShotDetails | GeneralDetails] = [record.details for record in records]
    tests = [record.results.best.runs for record in records] if row.track == "general" else []
    curves, validation = [d.curve for d in details], [d.validation for d in details]
    around_zero = [d.smoothness for d in details if isinstance(d, GeneralDetails) and d.smoothness is not None]
    return Curves(
        row,
        _thinned({name: optimizee_curve(tests, name) for name in _TESTED}),
        _thinned({name: training_curve(curves, clock(row), name) for name in _TRAINED}),
        _thinned({name: training_curve(validation, clock(row), name) for name in _VALIDATED}),
        around_zero,
    )


def _thinned(bands: Mapping[str, Band | None]) -> dict[str, Band]:
    return {name: thin(band) for name, band in bands.items() if band is not None and len(band.x)}


def clock(row: Row) -> str:
    """What meta-training counts."""
    return "episode" if row.track == "few_shot" else "unroll"


def make_plots(
    choice: Choice,
    kinds: Sequence[str] | None = None,
    ratios: Mapping[tuple[str, ...], SpeedUp] | None = None,
) -> list[Plot]:
    """Every plot of a choice that its records allow: differences, then group by group.

    Args:
        choice: of `groups.choose`.
        kinds: only these, of `KINDS`; None: all.
        ratios: of `speedups.speed_ups`; none where None.
    """
    kinds = KINDS if kinds is None else kinds
    plots = [differences(metric, lines) for metric, lines in choice.differences.items() if DIFFERENCES in kinds]
    if ratios and SPEED_UPS in kinds and (found := speed_up_plot(choice.drawn, ratios)):
        plots.append(found)
    tasks = [(group, tuple(kinds)) for group in choice.drawn]
    with mapped(_plots, tasks, least=4) as made, progress() as display:
        task = display.add_task("curves", total=len(tasks), note="")
        for found in made:
            plots += found
            display.advance(task)
    return plots


def _plots(task: tuple[Group, Sequence[str]]) -> list[Plot]:
    group, kinds = task
    curves = [curves_of(row) for row in group.drawn()] if {*_FROM_CURVES} & {*kinds} else []
    made = [_FROM_CURVES[kind](group, curves) for kind in _FROM_CURVES if kind in kinds]
    made += [_FROM_ROWS[kind](group) for kind in _FROM_ROWS if kind in kinds]
    return [plot for plot in made if plot is not None]


def differences(metric: str, comparisons: Sequence[Comparison]) -> Plot:
    """Paired differences with their intervals beside the line of no difference."""
    lines = [
        ForestLine(c.row.on, f"{c.row.label} − {c.other.label}", c.mean, c.low, c.high, wording.numbers(c), c.decided)
        for c in comparisons
    ]
    return Plot(
        DIFFERENCES,
        "forest",
        f"{DIFFERENCES}-{metric}",
        "Regularized − plain, paired on the same tests",
        "Bars: intervals that hold for all of a claim at once, at 95 %; filled: zero is excluded, p (Holm) < 0.05.",
        "",
        [[Panel(metric, Axis(wording.DIFFERENCES[metric]), Axis(""), forest=lines)]],
    )


def speed_up_plot(groups: Sequence[Group], ratios: Mapping[tuple[str, ...], SpeedUp]) -> Plot | None:
    """Speed-ups over Adam at its best beside the line of equals; None where no row has one."""
    lines = []
    for row in (row for group in groups for row in group.drawn() if row.key in ratios):
        found = ratios[row.key]
        low, high = found.interval()
        words = wording.speed_up(found.ratio, low, high, found.bound)
        lines.append(ForestLine(row.on, row.label, found.ratio, low, high, words, low > 1 or high < 1))
    if not lines:
        return None
    note = (
        "Times as many steps as Adam needs for the same loss, with the best rate of its grid for every problem and "
        "step. Bars: 95 % intervals over seeds and test problems; open where Adam's steps do not tell; filled: 1 is "
        "excluded."
    )
    x = Axis("steps of tuned Adam over own steps (right of 1: faster)", "log")
    panel = Panel("speed-up", x, Axis(""), forest=lines)
    return Plot(SPEED_UPS, "forest", SPEED_UPS, "Speed-up over tuned Adam", note, "", [[panel]])


def _learning(group: Group, curves: Sequence[Curves]) -> Plot | None:
    names = (("test_loss", "test_accuracy"), ("train_loss", "train_accuracy"))
    panels = [
        [_panel(curves, lambda c, n=name: c.tested.get(n), _in_words(name), name, _STEP) for name in row]
        for row in names
    ]
    note = "Dashed: hand-designed. A line ends (×) where the first of its runs diverged."
    return _plot("curves", group, "Learning curves", panels, note)


def _in_words(metric: str) -> str:
    return metric.replace("train_", "training ").replace("_", " ")


def _training(group: Group, curves: Sequence[Curves]) -> Plot | None:
    x, few_shot = f"meta-training {clock(group.rows[0])}", group.track == "few_shot"
    judged = "accuracy" if few_shot else "loss"
    panels = [
        _panel(curves, lambda c: c.trained.get("accuracy"), "accuracy", "accuracy", x),
        _panel(curves, lambda c: c.trained.get("loss"), "loss", "loss" if few_shot else "meta_loss", x),
        _panel(
            curves,
            lambda c: c.validated.get(judged),
            "validation: accuracy" if few_shot else "validation: final loss",
            judged,
            x,
        ),
    ]
    return _plot("training", group, "Meta-training", [panels], "Neighbouring steps are averaged.")


def _step_sizes(group: Group, curves: Sequence[Curves]) -> Plot | None:
    """How far a Meta-LSTM follows gradients, σ(i), and how much of a weight it keeps, σ(f), while it learns."""
    x = f"meta-training {clock(group.rows[0])}"
    panels = [
        _panel(curves, lambda c: c.trained.get("step_size"), "step size", "step_size", x),
        _panel(curves, lambda c: c.trained.get("keep"), "weight kept", "keep", x),
    ]
    return _plot("step-sizes", group, "Learned step sizes", [panels], "Means over weights and inner steps.")


def _panel(
    curves: Sequence[Curves], pick: Callable[[Curves], Band | None], title: str, metric: str, x_title: str
) -> Panel:
    axis = METRICS[metric]
    found = [(c.row, band) for c in curves if (band := pick(c)) is not None]
    log = axis.log and all((band.mean > 0).all() for _, band in found)
    longest = max((band.x[-1] for _, band in found), default=0.0)
    return Panel(
        title,
        Axis(x_title, "symlog" if longest >= LONG and x_title == _STEP else "linear"),
        Axis(axis.label, "log" if log else "linear", axis.ends),
        [_line(row, band, axis) for row, band in found],
    )


def _line(row: Row, band: Band, metric: Metric) -> Line:
    low, high = (np.clip(metric.scale * end, *(metric.ends or (None, None))) for end in (band.low, band.high))
    ended = f"; {band.ended} (×)" if band.ended else ""
    return Line(
        row.label,
        f"{row.label}, {wording.count(band.n, band.unit)}{ended}",
        row.method,
        row.regularizer,
        row.style,
        band.x,
        metric.scale * band.mean,
        low if band.n > 1 else None,
        high if band.n > 1 else None,
        ended=bool(band.ended),
    )


def _smoothness(group: Group, curves: Sequence[Curves]) -> Plot | None:
    """Outputs of optimizers on states around zero, a line a seed: Figure 7 of the paper."""
    lines = []
    for c in curves:
        if c.row.source:  # the optimizer of another row, which is drawn there
            continue
        slopes = [found.lipschitz for found in c.around_zero]
        for found in c.around_zero:
            state, update = np.asarray(found.state), np.asarray(found.update)
            order = np.argsort(state, kind="stable")[thinned(state)]
            spread = f", {min(slopes):.3g} to {max(slopes):.3g}" if len(slopes) > 1 else ""
            legend = f"{c.row.label}: {np.mean(slopes):.3g} ({wording.count(len(slopes), 'seeds')}{spread})"
            look = (c.row.label, legend, c.row.method, c.row.regularizer, c.row.style)
            lines.append(Line(*look, state[order], update[order]))
    panel = Panel("updates", Axis("state (preprocessed gradient)"), Axis("update (step of one weight)"), lines)
    note = (
        "Outputs for states drawn around zero (Figure 7 of the paper), a line a seed, and Lipschitz numbers: mean, "
        "smallest to largest. Steep is not smooth."
    )
    return _plot("smoothness", group, "Updates around zero", [[panel]], note)


def _episodes(group: Group) -> Plot | None:
    """How accuracy is spread over test episodes: what a mean and its interval do not show."""
    lines = []
    for row in group.drawn():
        if row.track == "few_shot" and row.values and not unpaired(row, row):
            values = np.mean(list(row.values.values()), axis=0)
            legend = f"{row.label}, {len(values)} episodes, mean {values.mean():.2f} %"
            q1, q2, q3 = map(float, np.percentile(values, [25, 50, 75]))
            look = (row.label, legend, row.method, row.regularizer, row.style)
            edges, share = histogram(values)
            lines.append(Line(*look, edges, share, quartiles=(q1, q2, q3), mean=float(values.mean())))
    panel = Panel("episodes", Axis("accuracy of a test episode (%)"), Axis("share of episodes (%)"), lines)
    note = "With several seeds, each episode's mean over them."
    return _plot("episodes", group, "Test episodes", [[panel]], note, "histograms")


def _cost(group: Group) -> Plot | None:
    """What a result costs."""
    lines = []
    for row in group.drawn():
        seconds = np.array([s for record in row.finished if (s := record.measured.train_seconds)])
        if len(seconds) and row.analysis is not None:
            mean, half = row.analysis.mean, row.analysis.half_width()
            look = (row.label, row.label, row.method, row.regularizer, row.style)
            place = np.array([np.median(seconds)]), np.array([mean])
            low, high = np.array([mean - half]), np.array([mean + half])
            lines.append(Line(*look, *place, low, high, seconds[[seconds.argmin()]], seconds[[seconds.argmax()]]))
    x = Axis("time of meta-training per seed (s, median)", "log")
    y = Axis(wording.result_name(group.rows[0]), ends=_PERCENT if group.higher_is_better else None)
    panel = Panel("cost", x, y, lines)
    note = (
        "Up and to the left is better. Bars: 95 % interval of the result, fastest to slowest seed. Time by the clock: "
        "records do not say what else the machine did."
    )
    if not group.higher_is_better:
        note = note.replace("Up", "Down")
    return _plot("cost", group, "Time per result", [[panel]], note, "points")


def _plot(
    kind: str, group: Group, title: str, panels: Sequence[Sequence[Panel]], note: str, form: Form = "lines"
) -> Plot | None:
    kept = [found for row in panels if (found := [panel for panel in row if panel])]
    if not kept:
        return None
    lines = [panel.lines for row in kept for panel in row] if form == "lines" else []
    if any(len(found) > BANDS and any(line.low is not None for line in found) for found in lines):
        note += f" Bands are drawn of up to {BANDS} lines."
    elif form == "lines" and any(panel.cut for row in kept for panel in row):
        note += " A band is left out where it reaches below a logarithmic axis."
    return Plot(kind, form, f"{kind}-{group.slug}", f"{title}: {group.heading}", note, group.dataset, kept)


DIFFERENCES = "differences"
SPEED_UPS = "speed-up"
_FROM_CURVES: dict[str, Callable[[Group, Sequence[Curves]], Plot | None]] = {
    "curves": _learning,
    "training": _training,
    "step-sizes": _step_sizes,
    "smoothness": _smoothness,
}
_FROM_ROWS: dict[str, Callable[[Group], Plot | None]] = {"episodes": _episodes, "cost": _cost}
KINDS = (DIFFERENCES, SPEED_UPS, "curves", "training", "step-sizes", "episodes", "smoothness", "cost")
"""In the order of the page; names of files begin with them."""
