"""Rows that were tested on the same thing: one table of the page, one set of figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.reporting.compare import Comparison
from benchmarks.reporting.rows import Row
from fewshot.errors import InputError

LINES = 12
"""Rows in one figure at most."""
GROUPS, OF_CROWD = 40, 4
"""So many groups are all drawn; of more, only so many."""
DIFFERENCES, OF_CROWDED_DIFFERENCES = 160, 40
"""So many differences are all drawn; of more, or where not every group is drawn, only so many."""


@dataclass(frozen=True, eq=False)
class Group:
    """Rows that were tested on the same thing, and may be drawn together."""

    title: str
    slug: str
    """For file names and links."""
    rows: tuple[Row, ...]

    @property
    def track(self) -> str:
        return self.rows[0].track

    @property
    def dataset(self) -> str:
        return self.rows[0].dataset

    @property
    def higher_is_better(self) -> bool:
        return self.rows[0].higher_is_better

    @property
    def runs(self) -> int:
        """Records of all rows."""
        return sum(len(row.records) for row in self.rows)

    def drawn(self) -> tuple[Row, ...]:
        """No more rows than a figure can hold: first the best of each method and regularizer, then others."""
        if len(self.rows) <= LINES:
            return self.rows
        sign = -1 if self.higher_is_better else 1
        ranked = sorted(self.rows, key=lambda row: sign * row.analysis.mean if row.analysis else np.inf)
        first: dict[tuple[str, str], Row] = {}
        for row in ranked:
            first.setdefault((row.method, row.regularizer), row)
        best = {row.key for row in first.values()}
        order = [*first.values(), *(row for row in ranked if row.key not in best)]
        chosen = {row.key for row in order[:LINES]}
        return tuple(row for row in self.rows if row.key in chosen)

    @property
    def heading(self) -> str:
        """The title, and how many rows of all are drawn."""
        drawn = len(self.drawn())
        return self.title if drawn == len(self.rows) else f"{self.title} ({drawn} of {len(self.rows)} rows)"


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """Rows by what they were tested on, in the order of first appearance."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault((row.track, *row.tested_on), []).append(row)
    slugs: dict[str, int] = {}
    groups = []
    for members in found.values():
        slug = re.sub(r"[^a-z0-9]+", "-", members[0].on.lower()).strip("-")[:80] or "test"
        slugs[slug] = slugs.get(slug, 0) + 1
        groups.append(Group(members[0].on, slug if slugs[slug] == 1 else f"{slug}-{slugs[slug]}", tuple(members)))
    return groups


@dataclass(frozen=True, eq=False)
class Choice:
    """Groups, and what of them is drawn."""

    groups: tuple[Group, ...]
    """All of them."""
    drawn: tuple[Group, ...]
    """Those with figures and charts of their own, in the order of `groups`."""
    differences: Mapping[str, Sequence[Comparison]]
    """Lines of the forest plots, by metric."""
    note: str
    """What is not drawn, and how to see it; empty where everything is."""


def choose(groups: Sequence[Group], comparisons: Sequence[Comparison], most: int | None = None) -> Choice:
    """Which groups and differences are drawn; the choice never depends on results.

    Args:
        groups: of `groups_of`.
        comparisons: of `claims.compare`.
        most: groups drawn, those of most runs; None: all up to `GROUPS`, `OF_CROWD` of more.

    Raises:
        InputError: where `most` is negative.
    """
    if most is not None and most < 0:
        raise InputError(f"--drawn is {most}; it must be at least 0")
    if most is None:
        most = OF_CROWD if len(groups) > GROUPS else len(groups)
    ranked = sorted(range(len(groups)), key=lambda i: -groups[i].runs)  # stable: equal ones by their order
    chosen = sorted(ranked[:most])
    every = _by_metric(comparisons, [groups[i] for i in [*chosen, *sorted(ranked[most:])]])
    longest = DIFFERENCES if len(chosen) == len(groups) else OF_CROWDED_DIFFERENCES
    lines = {m: found if len(found) <= longest else found[:OF_CROWDED_DIFFERENCES] for m, found in every.items()}
    counts = [
        (len(chosen), len(groups), "experiments"),
        *((len(lines[m]), len(every[m]), "differences") for m in lines),
    ]
    left_out = [f"{shown:,} of {total:,} {what}" for shown, total, what in counts if shown < total]
    how = "--where narrows the report, --drawn N draws the N experiments of most runs"
    note = f"figures and charts show {', '.join(left_out)}; {how}" if left_out else ""
    return Choice(tuple(groups), tuple(groups[i] for i in chosen), lines, note)


def _by_metric(comparisons: Sequence[Comparison], groups: Sequence[Group]) -> dict[str, list[Comparison]]:
    """Comparisons of rows in `groups`, in their order."""
    places = {key: place for place, key in enumerate(row.key for group in groups for row in group.rows)}
    known = [c for c in comparisons if c.row.key in places and c.other.key in places]
    found: dict[str, list[Comparison]] = {}
    for c in sorted(known, key=lambda c: places[c.row.key]):
        found.setdefault(c.row.metric, []).append(c)
    return found
