"""What the paper's tables 1 to 3 say, to stand beside our rows of the same experiment."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.reporting.rows import Row


@dataclass(frozen=True)
class Published:
    """An accuracy of the paper in %, as mean ± what the paper prints behind it (it does not say of what)."""

    mean: float
    spread: float


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


def published(row: Row) -> Published | None:
    """The paper's value of the experiment that a row repeats, whatever its other options; None where it has none."""
    labels = row.labels
    if row.track == "few_shot":
        names = ("method", "regularizer", "dataset", "way", "shot")
        return FEW_SHOT.get(tuple(labels[name] for name in names))
    same = labels["optimizer"] == "simple" and not labels["source"] and row.config["test"].get("steps") == STEPS
    return TABLE1.get(labels["regularizer"]) if same and labels["task"] == "cifar10_cnn" else None
