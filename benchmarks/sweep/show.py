"""A sweep as a table, and as a heat map of two of its options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from benchmarks.reporting.canvas import close, new_figure, save, styled
from benchmarks.reporting.crossed.decisions import contrast
from benchmarks.reporting.rows import Row
from benchmarks.sweep.choose import Judged, Selection
from benchmarks.sweep.grid import Setting

_SYMBOLS = {"penalty.weight": "λ (penalty.weight)", "penalty.radius": "ε (penalty.radius)"}


@dataclass(frozen=True)
class Outcome:
    """What came of one side of a sweep."""

    regularizer: str
    settings: Sequence[Setting]
    """That were trained to the end."""
    selection: Selection
    higher_is_better: bool
    trials: int
    """Runs, those included that were stopped early."""
    tried: int
    """Settings, those included that were stopped early."""

    @property
    def chosen(self) -> Setting:
        """The setting chosen."""
        return self.settings[self.selection.chosen]

    @property
    def scale(self) -> float:
        """By which values are multiplied where they are shown."""
        return 100.0 if self.higher_is_better else 1.0

    @property
    def metric(self) -> str:
        """What values are."""
        return "validation accuracy (%)" if self.higher_is_better else "validation loss"


def table(outcome: Outcome) -> str:
    """Settings, best first, as Markdown."""
    judged = outcome.selection.judged
    sign = -1.0 if outcome.higher_is_better else 1.0
    order = sorted(range(len(judged)), key=lambda i: sign * judged[i].mean.mean)
    return pd.DataFrame([_line(outcome, i, judged[i]) for i in order]).to_markdown(index=False, disable_numparse=True)


def _line(outcome: Outcome, number: int, judged: Judged) -> dict[str, str]:
    scale, mean, behind = outcome.scale, judged.mean, judged.behind
    digits = 2 if outcome.higher_is_better else 4
    worse = "" if behind is None else f"{scale * behind.mean:.{digits}f} ± {scale * behind.half_width():.{digits}f}"
    marks = ["chosen"] * (number == outcome.selection.chosen) + ["best"] * (number == outcome.selection.best)
    marks += ["within one standard error"] * (judged.tied and behind is not None)
    return {
        **dict(outcome.settings[number]),
        outcome.metric: f"{scale * mean.mean:.{digits}f} ± {scale * mean.half_width():.{digits}f}",
        "behind the best by": worse,
        "seeds": str(judged.seeds),
        "without a value": f"{judged.missing}/{judged.seeds * mean.problems}",
        "": ", ".join(marks),
    }


def differences(rows: Sequence[Row]) -> list[str]:
    """Of what has a regularizer to what has none, each as it was chosen, on the same seeds and test problems."""
    lines = []
    for row in rows:
        for plain in (other for other in rows if other.plain and not row.plain and other.tested_on == row.tested_on):
            seeds = sorted({*row.values} & {*plain.values})
            if not seeds:
                continue
            a, b = (np.stack([each.values[seed] for seed in seeds]) for each in (row, plain))
            found = contrast(a, b, higher_is_better=row.higher_is_better)
            low, high = found.interval()
            unit = "points of test accuracy" if row.higher_is_better else "of test loss"
            lines.append(
                f"{row.regularizer} less {plain.regularizer}, both as chosen: {found.main.mean:+.3g} {unit},"
                f" 95 % interval {low:.3g} to {high:.3g}, p {found.p:.3g}, over {len(seeds)} seeds and test problems"
            )
    return lines


def heading(outcome: Outcome) -> str:
    """How many tries a side had."""
    stopped = outcome.tried - len(outcome.settings)
    early = f", of which {stopped} were stopped early" if stopped else ""
    return f"{outcome.regularizer}: {outcome.tried} settings{early}; {outcome.trials} trials"


def draw(outcome: Outcome, names: tuple[str, str], stem: Path, title: str) -> list[Path]:
    """Write the heat map of two options as .png and .svg; a cell is the best over the values of all others.

    Args:
        outcome: of a side that has both options.
        names: of the options along and up.
        stem: of the files.
        title: of the figure.
    """
    values, chosen = _cells(outcome, names)
    (across, up), scale = (sorted(_values(outcome.settings, name), key=float) for name in names), outcome.scale
    with styled():
        figure, axes = new_figure(1, 1, title, (1.6 + 0.95 * len(across), 1.2 + 0.62 * len(up)))
        place = axes[0, 0]
        place.grid(visible=False)
        image = place.imshow(scale * values, origin="lower", aspect="auto", cmap="cividis", norm=_norm(scale * values))
        for (row, column), value in np.ndenumerate(scale * values):
            dark = image.norm(value) < 0.5 if np.isfinite(value) else False
            text = f"{value:.{1 if outcome.higher_is_better else 3}f}" if np.isfinite(value) else "—"
            place.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=8)
        row, column = chosen
        place.add_patch(
            Rectangle((column - 0.47, row - 0.46), 0.94, 0.92, fill=False, edgecolor="#D55E00", linewidth=2.5)
        )
        place.set_xticks(range(len(across)), across)
        place.set_yticks(range(len(up)), up)
        place.set_xlabel(_SYMBOLS.get(names[0], names[0]))
        place.set_ylabel(_SYMBOLS.get(names[1], names[1]))
        figure.colorbar(image, ax=place, label=outcome.metric)
        others = [n for n, _ in outcome.settings[0] if n not in names]
        best = f"; each cell the best over {', '.join(others)}" if others else ""
        judged = outcome.selection.judged[outcome.selection.chosen]
        note = f"mean over {judged.seeds} seeds × {judged.mean.problems} validation problems{best}; chosen: framed"
        close(figure, axes, note, legend=False)
        return save(figure, stem)


def _norm(values: np.ndarray) -> Normalize:
    """Colours span the better half of the cells at least: one that went wrong does not make all others look alike."""
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [0.1, 0.9])
    margin = max(high - low, 1e-9)
    return Normalize(max(finite.min(), low - margin), min(finite.max(), high + margin) + 1e-9, clip=True)


def _values(settings: Sequence[Setting], name: str) -> list[str]:
    return list(dict.fromkeys(dict(setting)[name] for setting in settings))


def _cells(outcome: Outcome, names: tuple[str, str]) -> tuple[np.ndarray, tuple[int, int]]:
    """Means [up, across], NaN where no setting was trained to the end; and the cell of the chosen one."""
    across, up = (sorted(_values(outcome.settings, name), key=float) for name in names)
    sign = 1.0 if outcome.higher_is_better else -1.0
    cells = np.full((len(up), len(across)), np.nan)
    for setting, judged in zip(outcome.settings, outcome.selection.judged, strict=True):
        values: Mapping[str, str] = dict(setting)
        at = up.index(values[names[1]]), across.index(values[names[0]])
        cells[at] = sign * np.nanmax([sign * cells[at], sign * judged.mean.mean])
    chosen = dict(outcome.chosen)
    return cells, (up.index(chosen[names[1]]), across.index(chosen[names[0]]))


def two_numbers(settings: Sequence[Setting]) -> tuple[str, str] | None:
    """The two options of a heat map: λ and ε where both vary, else the first two with several numbers; None: no two."""
    names = [name for name, _ in settings[0] if len(_values(settings, name)) > 1 and _numeric(settings, name)]
    if {*_SYMBOLS} <= {*names}:
        return "penalty.weight", "penalty.radius"
    return (names[0], names[1]) if len(names) > 1 else None


def _numeric(settings: Sequence[Setting], name: str) -> bool:
    try:
        return all(np.isfinite(float(value)) for value in _values(settings, name))
    except ValueError:
        return False
