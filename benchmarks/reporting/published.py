"""The tables of a report: which rows stand in each, and what the paper prints there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.reporting.rows import Row
from fewshot.registry import Registry


@dataclass(frozen=True)
class Published:
    """An accuracy of the paper in %, as mean ± what the paper prints behind it (it does not say of what)."""

    mean: float
    spread: float


@dataclass(frozen=True)
class Table:
    """Rows under one title; p-values are corrected within it."""

    title: str
    holds: Callable[[Row], bool]
    published: Callable[[Row], Published | None] = lambda row: None
    """The paper's value of the experiment that a row repeats, whatever its other options; None where it has none."""


TABLES: Registry[Table] = Registry("table")
"""In the order of the report. A row stands in the first that holds it, or else in one of its method alone."""

STEPS = 10_000
"""Of the optimizee in table 1: a 3-layer CNN on CIFAR-10."""
TABLE1 = {
    "none": Published(69.02, 0.58),
    "smooth": Published(72.50, 0.49),
    "l2": Published(69.69, 0.56),
    "orthogonal": Published(10.00, 0.04),
    "spectral": Published(69.35, 1.23),
}
"""By regularizer of the SimpleOptimizer."""
FEW_SHOT = {
    ("meta_lstm", "none", "mini_imagenet", 5, 1): Published(38.20, 0.73),
    ("meta_lstm", "none", "mini_imagenet", 5, 5): Published(56.56, 0.65),
    ("meta_lstm", "none", "tiered_imagenet", 5, 1): Published(36.43, 0.65),
    ("meta_lstm", "none", "tiered_imagenet", 5, 5): Published(53.45, 0.61),
    ("meta_lstm", "smooth", "mini_imagenet", 5, 1): Published(40.42, 0.68),
    ("meta_lstm", "smooth", "mini_imagenet", 5, 5): Published(58.90, 0.61),
    ("meta_lstm", "smooth", "tiered_imagenet", 5, 1): Published(36.74, 0.76),
    ("meta_lstm", "smooth", "tiered_imagenet", 5, 5): Published(55.14, 0.60),
    ("sib", "none", "mini_imagenet", 5, 1): Published(69.6, 0.6),
    ("sib", "none", "mini_imagenet", 5, 5): Published(78.9, 0.4),
    ("sib", "none", "cifar_fs", 5, 1): Published(78.4, 0.6),
    ("sib", "none", "cifar_fs", 5, 5): Published(85.3, 0.4),
    ("sib", "smooth", "mini_imagenet", 5, 1): Published(70.0, 0.5),
    ("sib", "smooth", "mini_imagenet", 5, 5): Published(80.8, 0.3),
    ("sib", "smooth", "cifar_fs", 5, 1): Published(79.2, 0.4),
    ("sib", "smooth", "cifar_fs", 5, 5): Published(86.1, 0.4),
}
"""By method, regularizer, dataset, way and shot. SIB's backbone is a WRN-28-10."""


def _few_shot(*methods: str) -> Callable[[Row], bool]:
    return lambda row: row.track == "few_shot" and row.method in methods and not row.source


def _elsewhere(row: Row) -> bool:
    return row.track == "few_shot" and bool(row.source)


def _simple(row: Row) -> bool:
    return row.track == "general" and row.method == "simple" and not row.source


def _other_optimizer(row: Row) -> bool:
    return row.track == "general" and (row.hand_designed or row.method in ("simple", "dm", "rnnprop"))


def _table1(row: Row) -> Published | None:
    same = row.labels["task"] == "cifar10_cnn" and row.config["test"]["steps"] == STEPS
    return TABLE1.get(row.regularizer) if same else None


def _tables23(row: Row) -> Published | None:
    return FEW_SHOT.get((row.method, row.regularizer, row.dataset, row.labels["way"], row.labels["shot"]))


TABLES.register("table1", Table("Table 1: regularizers of SimpleOptimizer", _simple, _table1))
TABLES.register("table2", Table("Table 2: Meta-LSTM", _few_shot("meta_lstm"), _tables23))
TABLES.register("table3", Table("Table 3: SIB", _few_shot("sib"), _tables23))
TABLES.register("few_shot", Table("Few-shot learning, other methods", _few_shot("protonet", "maml")))
TABLES.register("few_shot_transfer", Table("Few-shot learners tested on other data or shots", _elsewhere))
TABLES.register("general", Table("General training, other optimizers", _other_optimizer))


def table_of(row: Row) -> str:
    """Key of the table in which a row stands."""
    return next((key for key, table in TABLES.items() if table.holds(row)), f"{row.track}/{row.method}")


def title_of(key: str) -> str:
    """Title of a table; of one of a method alone, derived from its name."""
    if key in TABLES:
        return TABLES[key].title
    track, _, method = key.partition("/")
    return f"{'Few-shot learning' if track == 'few_shot' else 'General training'}: {method}"


def published(row: Row) -> Published | None:
    """What the paper prints for the experiment that a row repeats."""
    table = TABLES.get(table_of(row))
    return None if table is None else table.published(row)
