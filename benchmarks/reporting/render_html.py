"""The page: one self-contained HTML file that opens from disk, on a phone, without network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from benchmarks.reporting import wording
from benchmarks.reporting.charts import charts_of
from benchmarks.reporting.claims import Judgement
from benchmarks.reporting.compare import DEFAULT_MARGINS, Comparison, Margins, best_rows
from benchmarks.reporting.crossed.speedup import SpeedUp
from benchmarks.reporting.groups import Group
from benchmarks.reporting.layout import cards_of, not_judged, scales_of, tables_of, tally
from benchmarks.reporting.plots import Plot
from benchmarks.reporting.provenance import provenance


def to_html(
    groups: Sequence[Group],
    comparisons: Sequence[Comparison],
    judgements: Sequence[Judgement],
    plots: Sequence[Plot],
    note: str = "",
    title: str = "",
    margins: Margins = DEFAULT_MARGINS,
    ratios: Mapping[tuple[str, ...], SpeedUp] | None = None,
    best: Set[tuple[str, ...]] | None = None,
) -> str:
    """Verdicts first, then tables, charts, and the provenance of every row. Equal records give equal text.

    Args:
        groups: of `groups.groups_of`.
        comparisons: of `claims.compare`.
        judgements: of `claims.judge`.
        plots: of `kinds.make_plots`.
        note: what of the groups is not drawn.
        title: of the page; a general one where empty.
        margins: by which comparisons were judged.
        ratios: of `speedups.speed_ups`; none where None.
        best: of `compare.best_rows`; made where None.
    """
    if best is None:
        best = best_rows([row for group in groups for row in group.rows])
    charts = charts_of(plots)
    cards = cards_of(judgements)
    context: dict[str, Any] = {
        "title": title or "Benchmark report",
        "summary": _summary(groups),
        "cards": cards,
        "tally": tally(judgements),
        "not_judged": not_judged(cards),
        "scales": scales_of(cards),
        "tables": tables_of(groups, comparisons, ratios or {}, best),
        "charts": charts,
        "note": note,
        "options": _options(groups),
        "data": {"charts": charts, **provenance(groups)},
        "plotly": get_plotlyjs() if charts else "",
        "margins": margins,
        "wording": wording,
    }
    return _environment().get_template("report.html.j2").render(context)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["tone"] = lambda verdict: verdict.name.lower().replace("_", "-")
    environment.filters["minus"] = lambda text: text.replace("-", "−")
    return environment


def _summary(groups: Sequence[Group]) -> Mapping[str, Any]:
    records = [record for group in groups for row in group.rows for record in row.records.values()]
    return {
        "rows": sum(len(group.rows) for group in groups),
        "runs": len(records),
        "failed": sum(record.facts.status != "finished" for record in records),
        "datasets": len({group.dataset for group in groups}),
        "commits": sorted({str(record.facts.environment.commit)[:10] for record in records}),
        "latest": max((record.measured.finished for record in records), default="")[:10],
    }


def _options(groups: Sequence[Group]) -> dict[str, list[str]]:
    """What the page can be filtered by."""
    rows = [row for group in groups for row in group.rows]
    return {name: sorted({getattr(row, name) for row in rows}) for name in ("dataset", "method", "regularizer")}
