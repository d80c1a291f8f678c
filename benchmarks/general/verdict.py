"""How meta-training went, in a line."""

from __future__ import annotations

from typing import Any

from benchmarks.running.schema import EARLY, GeneralFacts, GeneralTraining

MUCH = 0.5
"""A clamp that cuts more of the meta-gradient than this leaves little but signs."""
MANY = 0.1
"""A share of exploded unrolls above which meta-training has not converged."""


def how_it_went(facts: GeneralFacts) -> str | None:
    """Whether meta-training converged, what it clipped, and what to change.

    None where nothing was meta-trained, it failed, or its record is too old to tell.
    """
    training = facts.training
    if training is None or training.best_loss is None or training.early is None:
        return None
    last = "diverged" if training.last_loss is None else f"{training.last_loss:.3g}"
    settled = not training.early and (training.exploded or 0) <= MANY
    words = f"{'converged' if settled else 'not converged'}: validation loss {training.best_loss:.3g} at its"
    words += f" best (unroll {training.best_unroll:,} of {training.unroll:,}), {last} at last"
    if training.early:
        words += f", more than {EARLY - 1:.0%} worse: an early best, met by luck"
    if training.exploded is not None:
        words += f"; {training.exploded:.0%} of unrolls exploded"
    options = facts.config["training"]
    what = "meta-steps" if options.get("clip") == "norm" else "the meta-gradient"
    words += f"; the clamp cut {training.clipped:.0%} of {what}"
    changes = _changes(training, options)
    return f"seed {facts.seed}: {words}" + (f"; try {' or '.join(changes)}" if changes else "")


def _changes(training: GeneralTraining, options: dict[str, Any]) -> list[str]:
    """Options that may help, as words of a command line."""
    changes = []
    exact = options.get("second_order") or options.get("estimator") == "pes"
    if not exact and (training.early or (training.exploded or 0) > MANY):
        changes.append("--training.second-order")
    if not exact and training.early and options["truncation"] < options["horizon"]:
        changes.append(f"a --training.truncation above {options['truncation']}")
    if training.early or (training.exploded or 0) > MANY:
        changes.append(f"a --training.meta-rate below {options['meta_rate']:g}")
    if (training.clipped or 0) > MUCH and options.get("clip") != "norm":  # Adam cares little for a norm
        changes.append(f"a --training.clamp above {options['clamp']:g}")
    return changes
