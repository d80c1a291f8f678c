"""How accuracy is spread over test episodes: what a mean and its interval do not show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reporting.drawn import Spread
from benchmarks.reporting.figures.style import new_figure, styled
from benchmarks.reporting.style import line_style


def histogram(values: np.ndarray, bins: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Edges [bins + 1] from 0 to 100 %, and the share of episodes in each bin in %, [bins]."""
    counts, edges = np.histogram(np.clip(values, 0, 100), bins=bins, range=(0, 100))
    return edges, 100 * counts / max(len(values), 1)


def distributions_figure(spreads: Sequence[Spread], title: str) -> Figure:
    """One ridge a row: share of episodes by accuracy, with quartiles (ticks) and the mean (marker)."""
    with styled():
        figure, axes = new_figure(1, 1, title, panel=(6.8, 0.9 + 0.62 * len(spreads)))
        panel = axes[0, 0]
        shares = [histogram(spread.values) for spread in spreads]
        tallest = max((share.max() for _, share in shares), default=1.0) or 1.0
        for place, (spread, (edges, share)) in enumerate(zip(spreads, shares, strict=True)):
            style = line_style(spread.method, spread.regularizer, True)
            base = len(spreads) - 1 - place
            height = base + 0.85 * share / tallest
            panel.stairs(height, edges, baseline=base, fill=True, color=style.colour, alpha=0.3)
            panel.stairs(height, edges, baseline=base, color=style.colour, linewidth=1)
            quartiles = np.percentile(spread.values, [25, 50, 75])
            panel.plot(quartiles, [base] * 3, marker="|", markersize=9, color="black", linestyle="-", linewidth=1)
            panel.plot(spread.values.mean(), base, marker=style.marker, color="black", fillstyle=style.fill)
        panel.set_yticks(range(len(spreads))[::-1], [f"{s.label}\n{len(s.values)} episodes" for s in spreads])
        panel.set(xlim=_range(spreads), ylim=(-0.25, max(len(spreads), 1)))
        panel.set_xlabel("accuracy of a test episode (%); ticks: quartiles, marker: mean, height: share of episodes")
        panel.tick_params(axis="y", length=0)
    return figure


def _range(spreads: Sequence[Spread]) -> tuple[float, float]:
    joined = np.concatenate([s.values for s in spreads]) if spreads else np.array([0.0, 100.0])
    return max(0.0, float(joined.min()) - 4), min(100.0, float(joined.max()) + 4)
