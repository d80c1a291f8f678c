"""Named settings of the general track."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.general.config import GeneralConfig
from benchmarks.running.identity import fitting
from fewshot.engine.general import UnrollOptions
from fewshot.errors import one_of
from fewshot.general.hand_designed import GridOptions
from fewshot.general.tasks import TASKS
from fewshot.optimizers import LEARNED
from fewshot.registry import Registry
from fewshot.regularizers import REGULARIZERS


def paper(base: GeneralConfig) -> GeneralConfig:
    """The paper's settings, and its code's where it gives none.

    Smoothing finds its maximum at the ends of the interval where a state has one column, which is as large as PGD's
    and cheaper; λ and ε are the authors' code's.
    """
    if not base.learned:
        return replace(base, training=GridOptions())
    return replace(base, penalty=_penalty(base), training=UnrollOptions())


QUICK_WEIGHTS = {"smooth": 1000.0, "l2": 1e-2, "orthogonal": 1e-2}
"""λ of the quick preset: the best on digits_mlp's validation problems of a few orders of magnitude, one seed each."""


def quick(base: GeneralConfig) -> GeneralConfig:
    """For networks of a few thousand weights on two CPU cores: a minute or two."""
    if not base.learned:
        return replace(base, training=GridOptions(validation_problems=3))
    training = UnrollOptions(unrolls=40, meta_rate=1e-3, meta_decay="cosine", judged_on="next", validate_every=5)
    return replace(base, penalty=_quick_penalty(base), training=training)


def stable(base: GeneralConfig) -> GeneralConfig:
    """For networks of some ten thousand weights: meta-gradients with second derivatives, small steps along them,
    explosions left out; some minutes (docs/deviations.md, 36)."""
    if not base.learned:
        return quick(base)
    training = UnrollOptions(
        unrolls=200,
        truncation=50,
        second_order=True,
        judged_on="next",
        normalize_weights=True,
        objective="log",
        loss_cap=1.5,
        clip="norm",
        meta_rate=1e-3,
        meta_decay="cosine",
        validate_every=10,
    )
    core = fitting(LEARNED[base.optimizer].Options, output_multiplier=0.1)
    return replace(base, core=core, penalty=_quick_penalty(base), training=training)


def _quick_penalty(base: GeneralConfig) -> Any:
    known = base.regularizer in QUICK_WEIGHTS
    return _penalty(base, **{"weight": QUICK_WEIGHTS[base.regularizer]} if known else {})


def _penalty(base: GeneralConfig, **values: Any) -> Any:
    kind = REGULARIZERS[base.regularizer].Options
    core = LEARNED[base.optimizer](torch.Generator())
    return fitting(kind, **values, maximum="endpoints" if core.state_size == 1 else "auto")


Preset = Callable[[GeneralConfig], GeneralConfig]
PRESETS: Registry[Preset] = Registry("preset")
PRESETS.register("paper", paper)
PRESETS.register("quick", quick)
PRESETS.register("stable", stable)


def preset_name(name: str, base: GeneralConfig) -> str:
    """The preset that `name` means; "auto" is quick for the small tasks, else paper.

    Raises:
        InputError: for an unknown name.
    """
    one_of("preset", name, ["auto", *PRESETS])
    return name if name != "auto" else "quick" if TASKS[base.task].quick else "paper"


def preset(name: str, base: GeneralConfig) -> GeneralConfig:
    """`base` with the settings of a preset; see `preset_name`."""
    return PRESETS[preset_name(name, base)](base)
