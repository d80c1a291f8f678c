"""Outputs of an optimizer on states around zero: Figure 7 of the paper."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.reporting.drawn import Response
from benchmarks.reporting.figures.style import draw_line, new_figure, shared_legend, styled
from benchmarks.reporting.style import line_style


def smoothness_figure(responses: Sequence[Response], title: str) -> Figure:
    """(a) updates in the order drawn, (b) over sorted states, with each optimizer's Lipschitz number."""
    with styled():
        figure, axes = new_figure(1, 2, title)
        by_number, by_state = axes[0]
        for response in responses:
            style = line_style(response.method, response.regularizer, True)
            number = "" if response.lipschitz is None else f", Lipschitz number {response.lipschitz:.3g}"
            label = response.label + number
            by_number.plot(response.update, color=style.colour, linewidth=0.6, alpha=0.85)
            order = np.argsort(response.state, kind="stable")
            draw_line(by_state, response.state[order], response.update[order], style, label)
        by_number.set(xlabel="number of the state", ylabel="update (step of one weight)", title="(a) as drawn")
        by_state.set(
            xlabel="state (preprocessed gradient)", ylabel="update (step of one weight)", title="(b) sorted by state"
        )
        by_state.axvline(0, color="black", linewidth=0.6)
        shared_legend(figure, axes)
    return figure
