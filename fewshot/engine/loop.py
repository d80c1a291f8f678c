"""The loop of every training: steps, validations, the best model, checkpoints, and what ends a run early.

Everything random in a step is a function of the seed and the step's number. A checkpoint therefore needs no generator,
and a run that was killed and continued ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from fewshot.engine.checkpoint import load_checkpoint, save_checkpoint, snapshot
from fewshot.engine.signals import PutOff
from fewshot.errors import InputError

FAILURES_IN_A_ROW = 20


class TrainingFailed(RuntimeError):
    """Training cannot go on; the message is the cause, and belongs in the record."""


class Observer(Protocol):
    """Who watches a run: progress bars, TensorBoard."""

    def step(self, done: int, scalars: dict[str, float], /) -> None:
        """A step has been taken."""
        ...

    def validated(self, done: int, score: float, best: bool, /) -> None:
        """The model has been validated; the score is NaN where that gave no number."""
        ...


class Outcome(NamedTuple):
    """What a step gives."""

    scalars: dict[str, float] | None
    """Worth recording, by name; None: nothing is."""
    not_finite: str | None = None
    """What was not finite, so that the step was skipped; None: everything was."""


@dataclass
class Progress:
    """Where a run stands; all of it is in a checkpoint."""

    done: int = 0
    """Of what the run is counted in: episodes, unrolls, steps."""
    skipped: int = 0
    """Steps in which something was not finite."""
    skipped_in_a_row: int = 0
    best_at: int = 0
    """How much was done when the best model was validated; 0: none was yet."""
    best_score: float | None = None
    curve: list[dict[str, float]] = field(default_factory=list)
    """Scalars along the run."""
    validation: list[dict[str, Any]] = field(default_factory=list)
    """Scores along the run."""
    seconds: float = 0.0
    """Time spent in training, validation included, over all interruptions."""
    interruptions: int = 0


class Trainer:
    """Runs a training, and can stop and continue after any step without changing its result.

    A subclass says what a step is, what is kept of it, when and how to validate, and what follows from that.
    """

    unit: ClassVar[str] = "step"
    """What the run is counted in."""
    plural: ClassVar[str] = "steps"
    """Of what is skipped where it is not finite."""
    higher_is_better: ClassVar[bool] = True
    """Of validation scores."""
    patience: ClassVar[int] = FAILURES_IN_A_ROW
    """Steps in a row that may be skipped, and one more."""
    remedy: ClassVar[str] = ""
    """Ends the message of a failure."""
    failure: ClassVar[type[TrainingFailed]] = TrainingFailed

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        total: int,
        identity: dict[str, str],
        checkpoint: Path | None = None,
        checkpoint_seconds: float = 30.0,
        stride: int = 1,
        writes: bool = True,
    ) -> None:
        """Set up; continues from `checkpoint` if it exists.

        Args:
            model: what is trained.
            optimizer: of its parameters.
            progress: a fresh one.
            total: at which the run ends.
            identity: what a checkpoint must have been made with (configuration, dataset), by name.
            checkpoint: where to save; None: nowhere.
            checkpoint_seconds: time between checkpoints.
            stride: what a step adds to what is done.
            writes: whether this process writes checkpoints.

        Raises:
            InputError: where the checkpoint cannot be read or belongs to something else.
        """
        self.model, self.optimizer, self.progress, self.total, self.stride = model, optimizer, progress, total, stride
        self.identity, self.checkpoint, self.checkpoint_seconds = identity, checkpoint, checkpoint_seconds
        self._writes = writes
        self.best = snapshot(self.kept)
        if checkpoint is not None and checkpoint.exists():
            self._restore(checkpoint)

    @property
    def kept(self) -> nn.Module:
        """The part of the model that the best one is kept of."""
        return self.model

    def run(self, observer: Observer, until: int | None = None) -> Any:
        """Train to the end, validating and checkpointing on the way; returns the progress.

        Where `until` is given, stop once so much is done, to be continued from the checkpoint.

        Ctrl-C and SIGTERM take effect after the step that is under way, once a checkpoint is saved; a second one takes
        effect at once.

        Raises:
            TrainingFailed: after too many steps in a row that were not finite.
            InputError: where a checkpoint cannot be written; the one before is still there.
        """
        progress, before, started = self.progress, self.progress.seconds, time.monotonic()
        saved, end = started, self.total if until is None else min(until, self.total)
        self.model.train()
        try:
            with PutOff() as signal:
                while progress.done < end:
                    self._advance(observer)
                    due = self._is_due()
                    if due:
                        self._validate(observer)
                    now = time.monotonic()
                    progress.seconds = before + now - started
                    if due or signal.received or now - saved > self.checkpoint_seconds:
                        self._save()
                        saved = time.monotonic()
                    if signal.received:
                        signal.act()
        finally:
            progress.seconds = before + time.monotonic() - started
        return progress

    def _advance(self, observer: Observer) -> None:
        """Take a step, unless the last of too many in a row was not finite."""
        progress = self.progress
        scalars, not_finite = self._step(progress.done)
        progress.skipped += not_finite is not None
        progress.skipped_in_a_row = 0 if not_finite is None else progress.skipped_in_a_row + 1
        if progress.skipped_in_a_row >= self.patience:
            times = f"in {self.patience} {self.plural} in a row, the last " if self.patience > 1 else ""
            raise self.failure(f"{not_finite} was not finite {times}at {self.unit} {progress.done}{self.remedy}")
        progress.done += self.stride
        if scalars is not None:
            self._keep(scalars)
            observer.step(progress.done, scalars)

    def _validate(self, observer: Observer) -> None:
        """Score the model, and keep it if it is the best so far."""
        progress, score = self.progress, self._score()
        progress.validation.append(self._point(score))
        best = progress.best_score
        better = score is not None and (best is None or (score > best if self.higher_is_better else score < best))
        if better:
            progress.best_score, progress.best_at, self.best = score, progress.done, snapshot(self.kept)
        observer.validated(progress.done, math.nan if score is None else score, better)
        self._after_validation(better)

    def _step(self, index: int) -> Outcome:
        """The step that begins where `index` are done; what is not finite moves no parameter."""
        raise NotImplementedError

    def _keep(self, scalars: dict[str, float]) -> None:
        """Extend the curve by a step's scalars."""
        raise NotImplementedError

    def _is_due(self) -> bool:
        """Whether to validate now."""
        raise NotImplementedError

    def _score(self) -> float | None:
        """Of the model as it is; None where it is not finite."""
        raise NotImplementedError

    def _point(self, score: float | None) -> dict[str, Any]:
        """What is recorded of a validation."""
        raise NotImplementedError

    def _after_validation(self, better: bool) -> None:
        """What follows from a validation, and whether it was the best so far."""

    def _save(self) -> None:
        if self.checkpoint is not None and self._writes:
            content = {
                "identity": self.identity,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "best": self.best,
                "progress": asdict(self.progress),
            }
            save_checkpoint(self.checkpoint, content)

    def _restore(self, path: Path) -> None:
        content: dict[str, Any] = load_checkpoint(path, next(self.model.parameters()).device)
        try:
            theirs, mine = content["identity"], self.identity
            differing = [name for name in {**mine, **theirs} if theirs.get(name) != mine.get(name)]
            if differing:
                raise InputError(
                    f"checkpoint {path} was made with another {' and '.join(differing)}; start over with --fresh"
                )
            self.model.load_state_dict(content["model"])
            self.optimizer.load_state_dict(content["optimizer"])
            self.best: dict[str, Tensor] = content["best"]
            self.progress = type(self.progress)(**content["progress"])
        except (LookupError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            raise InputError(f"checkpoint {path} is incomplete ({error!r:.120}); start over with --fresh") from error
        self.progress.interruptions += 1
