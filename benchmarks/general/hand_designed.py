"""A run of a hand-designed optimizer: its rate is chosen, and tested."""

from __future__ import annotations

import time

from benchmarks.general.base import GeneralExperiment, runs_of
from benchmarks.general.observe import GeneralObserver
from benchmarks.running.execute import measured
from benchmarks.running.record import Record
from benchmarks.running.schema import GeneralDetails, GeneralResults, GridPoint, RateCurves, TestedOptimizer, TestRun
from fewshot.console import note
from fewshot.general.evaluate import points
from fewshot.general.hand_designed import Choice, GridOptions, choose_rate, hand_designed, train_grid

REFERENCE = "adam"
"""The optimizer whose envelope over all rates others are compared with."""


class HandDesigned(GeneralExperiment):
    """Choose the learning rate on validation problems, then test."""

    def execute(self) -> Record:
        """Run and record."""
        options = self.config.training
        assert isinstance(options, GridOptions)
        started, name, results, failure = time.monotonic(), self.config.optimizer, None, None
        test, envelope = self.config.test, None
        with GeneralObserver(self.folder, f"{name} {self.config.task}", self.command.quiet) as observer:
            validation = self.problems("val", options.validation_problems)
            observer.begin("learning rates", options.points * len(validation) * test.steps)
            choice = choose_rate(name, options, validation, test.steps, observer.advance)
            chosen, rate = time.monotonic(), choice.rate
            if rate is None:
                failure = "every learning rate of the grid diverged"
            else:
                if choice.border:
                    note(
                        f"{name}: the chosen learning rate {rate:g} is the {choice.border} of its grid; a better one"
                        f" may lie beyond it: set --training.{'low' if choice.border == 'lowest' else 'high'}"
                    )
                if name == REFERENCE and options.envelope:
                    runs, envelope = self._every_rate(choice, observer)
                else:
                    runs = self.curves(hand_designed(name, rate, test.steps), observer, "")
                tested = TestedOptimizer(unroll=0, runs=runs)
                results = GeneralResults(best=tested, last=tested)
        grid = [GridPoint(**point) for point in choice.grid]
        details = GeneralDetails(grid=grid, border=choice.border, envelope=envelope)
        took = measured(chosen - started, time.monotonic() - chosen)
        return self.write(results, details, took, failure, meta_parameters=0, training=None, rate=rate)

    def _every_rate(self, choice: Choice, observer: GeneralObserver) -> tuple[list[TestRun], RateCurves]:
        """Curves per test problem of the chosen rate, and the losses of all."""
        test, rates = self.config.test, [point["rate"] for point in choice.grid]
        at = points(test.steps, test.points)
        observer.begin("test, every rate", len(rates) * test.initializations * test.steps)
        problems = self.problems("test", test.initializations)
        found = train_grid(self.config.optimizer, rates, problems, test.steps, at, observer.advance)
        losses = [[curve.test_loss + [None] * (len(at) - len(curve.test_loss)) for curve in each] for each in found]
        return runs_of(found[rates.index(choice.rate)]), RateCurves(rates=rates, step=at, test_loss=losses)
