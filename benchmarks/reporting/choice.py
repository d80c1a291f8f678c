"""What figures and charts show: everything, or of a crowd what can be looked at (tables always hold every row)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.reporting.compare import Comparison
from benchmarks.reporting.drawn import ForestLine
from benchmarks.reporting.items import Experiment, forest_lines
from fewshot.errors import InputError

EXPERIMENTS, OF_CROWD = 40, 4
"""So many experiments are all drawn; of more, only so many."""
LINES_OF_CROWD = 40
"""Lines of a forest plot where not every experiment is drawn, or there are more than `LINES`."""
LINES = 160


@dataclass(frozen=True)
class Choice:
    """Experiments, and which of them are drawn."""

    groups: tuple[Experiment, ...]
    """All of them."""
    drawn: tuple[Experiment, ...]
    """Those with figures and charts of their own, in the order of `groups`."""
    differences: Mapping[str, Sequence[ForestLine]]
    """Lines of the forest plots, by metric."""
    note: str
    """What is not drawn, and how to see it; empty where everything is."""


def choose(groups: Sequence[Experiment], comparisons: Sequence[Comparison], most: int | None = None) -> Choice:
    """Which experiments and differences are drawn; the choice never depends on results.

    Args:
        groups: of `items.experiments`.
        comparisons: of `compare.compare`.
        most: experiments drawn, those of most runs; None: all up to `EXPERIMENTS`, `OF_CROWD` of more.

    Raises:
        InputError: where `most` is negative.
    """
    if most is not None and most < 0:
        raise InputError(f"--drawn is {most}; it must be at least 0")
    if most is None:
        most = OF_CROWD if len(groups) > EXPERIMENTS else len(groups)
    ranked = sorted(range(len(groups)), key=lambda i: -_runs(groups[i]))  # stable: equal ones by their order
    chosen = sorted(ranked[:most])
    order = [*chosen, *sorted(ranked[most:])]
    all_lines = forest_lines(comparisons, [groups[i] for i in order])
    longest = LINES if len(chosen) == len(groups) else LINES_OF_CROWD
    lines = {m: found if len(found) <= longest else found[:LINES_OF_CROWD] for m, found in all_lines.items()}
    counts = [
        (len(chosen), len(groups), "experiments"),
        *((len(lines[m]), len(all_lines[m]), "differences") for m in lines),
    ]
    left_out = [f"{shown:,} of {total:,} {what}" for shown, total, what in counts if shown < total]
    how = "--where narrows the report, --drawn N draws the N experiments of most runs"
    note = f"figures and charts show {', '.join(left_out)}; {how}" if left_out else ""
    return Choice(tuple(groups), tuple(groups[i] for i in chosen), lines, note)


def _runs(group: Experiment) -> int:
    return sum(len(item.row.records) for item in group.items)
