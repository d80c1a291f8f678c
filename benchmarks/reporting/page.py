"""The page: one self-contained HTML file that opens from disk, on a phone, without network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from benchmarks.reporting.charts import charts_of
from benchmarks.reporting.choice import Choice, choose
from benchmarks.reporting.claims import Verdict
from benchmarks.reporting.compare import Comparison
from benchmarks.reporting.items import Experiment, experiments, items_of
from benchmarks.reporting.lines import tables_of
from benchmarks.reporting.provenance import provenance
from benchmarks.reporting.rows import Row
from benchmarks.reporting.verdicts import cards_of, not_judged, scales_of, tally
from fewshot.files import write_text


def write_page(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    claims: Sequence[Verdict],
    out: Path,
    choice: Choice | None = None,
    title: str = "",
) -> Path:
    """Write report.html: verdicts first, then tables, charts, and the provenance of every row.

    Args:
        rows: of `rows.load`.
        comparisons: of `compare.compare`.
        claims: of `claims.judge`.
        out: the folder.
        choice: of `choice.choose` from these rows; made where None.
        title: of the page; a general one where empty.

    Returns:
        The file. Equal records give equal bytes.
    """
    path = out / "report.html"
    write_text(path, render(rows, comparisons, claims, choice, title))
    return path


def render(
    rows: Sequence[Row],
    comparisons: Sequence[Comparison],
    claims: Sequence[Verdict],
    choice: Choice | None = None,
    title: str = "",
) -> str:
    """The page as text."""
    choice = choice or choose(experiments(items_of(rows)), comparisons)
    groups = choice.groups
    charts = charts_of(choice.drawn, choice.differences)
    cards = cards_of(claims, groups)
    context: dict[str, Any] = {
        "title": title or "Benchmark report",
        "summary": _summary(groups),
        "cards": cards,
        "tally": tally([pair for card in cards for pair in card.pairs]),
        "not_judged": not_judged(cards),
        "scales": scales_of(cards),
        "tables": tables_of(groups, comparisons),
        "charts": charts,
        "note": choice.note,
        "options": _options(groups),
        "data": {"charts": charts, **provenance(groups)},
        "plotly": get_plotlyjs() if charts else "",
    }
    return _environment().get_template("report.html.j2").render(context)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _summary(groups: Sequence[Experiment]) -> Mapping[str, Any]:
    records = [record for group in groups for item in group.items for record in item.row.records]
    return {
        "rows": sum(len(group.items) for group in groups),
        "runs": len(records),
        "failed": sum(record["status"] != "finished" for record in records),
        "datasets": len({group.dataset for group in groups}),
        "commits": sorted({str(record.get("commit"))[:10] for record in records}),
        "latest": max((record.get("measured", {}).get("finished") or "" for record in records), default="")[:10],
    }


def _options(groups: Sequence[Experiment]) -> dict[str, list[str]]:
    """What the page can be filtered by."""
    items = [item for group in groups for item in group.items]
    return {
        "dataset": sorted({item.dataset for item in items}),
        "method": sorted({item.method for item in items}),
        "regularizer": sorted({item.regularizer for item in items}),
    }
