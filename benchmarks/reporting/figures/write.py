"""All figures that the records at hand allow, a few per experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.reporting.choice import Choice, choose
from benchmarks.reporting.compare import Comparison
from benchmarks.reporting.drawn import ForestLine, Series
from benchmarks.reporting.figures.cost import cost_figure
from benchmarks.reporting.figures.curves import Panel, panels_figure
from benchmarks.reporting.figures.distributions import distributions_figure
from benchmarks.reporting.figures.forest import forest_figure
from benchmarks.reporting.figures.smoothness import smoothness_figure
from benchmarks.reporting.figures.style import name_figure, save
from benchmarks.reporting.figures.training import step_sizes_figure, training_figure
from benchmarks.reporting.items import FEW_SHOT, GENERAL, Experiment, Item, experiments, items_of
from benchmarks.reporting.rows import Row
from benchmarks.reporting.series import LONG, thin
from benchmarks.running.parallel import mapped
from fewshot.console import progress

FOREST_LINES = 40
"""Comparisons in one forest plot at most."""

DIFFERENCES = {
    "accuracy": "difference in test accuracy (percentage points; right of 0: regularized is better)",
    "loss": "difference in final test loss (left of 0: regularized is better)",
}
"""What a forest plot shows, by the metric of its rows."""


def write_figures(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    out: Path,
    choice: Choice | None = None,
    title: str = "",
    kinds: Sequence[str] | None = None,
) -> list[Path]:
    """Write every figure that `rows` and `comparisons` allow, as .png and .svg.

    Args:
        rows: of `rows.load`.
        comparisons: of `compare.compare`.
        out: the folder.
        choice: of `choice.choose` from these rows; made where None.
        title: a line above that of every figure; none where empty.
        kinds: only these, of `KINDS`.

    Returns:
        The files, in the order written. Equal records give equal bytes.
    """
    choice = choice or choose(experiments(items_of(rows)), comparisons)
    kinds = KINDS if kinds is None else tuple(kinds)
    forests = _forests(choice.differences) if _DIFFERENCES in kinds else ()
    tasks = [_Task(part, out, title, kinds) for part in (*forests, *choice.drawn)]
    paths: list[Path] = []
    with mapped(_write, tasks, least=4) as found, progress() as display:
        task = display.add_task("figures", total=len(tasks), note="")
        for written in found:
            paths += written
            display.advance(task)
    return paths


@dataclass(frozen=True)
class _Forest:
    """Some comparisons, for one forest plot."""

    name: str
    metric: str
    lines: Sequence[ForestLine]


def _forests(differences: Mapping[str, Sequence[ForestLine]]) -> Iterator[_Forest]:
    for metric, lines in differences.items():
        for start in range(0, len(lines), FOREST_LINES):
            part = f"-{start // FOREST_LINES + 1}" if len(lines) > FOREST_LINES else ""
            yield _Forest(f"{_DIFFERENCES}-{metric}{part}", metric, lines[start : start + FOREST_LINES])


@dataclass(frozen=True)
class _Task:
    """What one process draws."""

    part: Experiment | _Forest
    out: Path
    title: str
    kinds: Sequence[str]


def _write(task: _Task) -> list[Path]:
    paths = []
    for name, figure in _figures(task.part, task.kinds):
        if task.title:
            name_figure(figure, f"{task.title}\n{figure.get_suptitle()}")
        paths += save(figure, task.out / name)
    return paths


def _figures(part: Experiment | _Forest, kinds: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure), one after another so that only one is held."""
    if isinstance(part, _Forest):
        title = "Regularized − plain, paired on the same tests (p: Holm-corrected)"
        yield part.name, forest_figure(part.lines, title, DIFFERENCES[part.metric])
        return
    for kind, make in _MAKERS.items():
        figure = make(part) if kind in kinds else None
        if figure is not None:
            yield f"{kind}-{part.slug}", figure


def curves_of(group: Experiment, make: Callable[[Item], Series | None]) -> list[Series]:
    """One series an item that has it, thinned for drawing."""
    found = [make(item) for item in group.drawn()]
    return [thin(line, log=bool(line.x[-1] >= LONG)) for line in found if line is not None and len(line.x)]


def _learning(group: Experiment) -> Figure | None:
    rows = []
    for names in (("train_loss", "train_accuracy"), ("test_loss", "test_accuracy")):
        panels = [Panel(curves_of(group, lambda item, m=metric: item.tested(m)), metric, "") for metric in names]
        rows.append([panel for panel in panels if panel.series])
    if group.track != GENERAL or not any(rows):
        return None
    return panels_figure([row for row in rows if row], f"Learning curves: {group.heading}")


def _training(group: Experiment) -> Figure | None:
    losses = curves_of(group, lambda item: item.trained("loss"))
    if group.track == FEW_SHOT:
        panels = [
            ("loss", "meta-training loss", losses),
            ("accuracy", "meta-training accuracy", curves_of(group, lambda item: item.trained("accuracy"))),
            ("accuracy", "validation", curves_of(group, lambda item: item.trained("accuracy", "validation"))),
        ]
    else:
        panels = [
            ("meta_loss", "meta-training", losses),
            ("loss", "validation: final loss", curves_of(group, lambda item: item.trained("loss", "validation"))),
        ]
    panels = [panel for panel in panels if panel[2]]
    if not panels:
        return None
    clock = next(item.clock for item in group.items)
    return training_figure(panels, f"Meta-training: {group.heading}", clock)


def _step_sizes(group: Experiment) -> Figure | None:
    sizes = curves_of(group, lambda item: item.trained("step_size"))
    keep = curves_of(group, lambda item: item.trained("keep"))
    return step_sizes_figure(sizes, keep, f"Learned step sizes: {group.heading}") if sizes and keep else None


def _episodes(group: Experiment) -> Figure | None:
    spreads = [spread for item in group.drawn() if (spread := item.episodes) is not None]
    return distributions_figure(spreads, f"Test episodes: {group.heading}") if spreads else None


def _smoothness(group: Experiment) -> Figure | None:
    responses = [response for item in group.drawn() if (response := item.response) is not None]
    return smoothness_figure(responses, f"Updates around zero: {group.heading}") if responses else None


def _cost(group: Experiment) -> Figure | None:
    costs = [cost for item in group.drawn() if (cost := item.cost) is not None]
    return cost_figure(costs, f"Time per result: {group.heading}", group.result) if costs else None


_MAKERS: dict[str, Callable[[Experiment], Figure | None]] = {
    "curves": _learning,
    "training": _training,
    "step-sizes": _step_sizes,
    "episodes": _episodes,
    "smoothness": _smoothness,
    "cost": _cost,
}
_DIFFERENCES = "differences"
KINDS = (_DIFFERENCES, *_MAKERS)
"""Of figures; names of their files begin with them."""
