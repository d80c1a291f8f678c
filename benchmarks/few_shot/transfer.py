"""Testing a meta-trained few-shot learner on another dataset, shot, number of queries, or way."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.few_shot.base import FewShotBase
from benchmarks.few_shot.command import FewShotCommand
from benchmarks.few_shot.config import FewShotConfig, Transfer
from benchmarks.few_shot.observe import FewShotObserver
from benchmarks.running.execute import measured
from benchmarks.running.record import Record
from benchmarks.running.schema import FewShotDetails, FewShotResults, TestedEpisodes
from fewshot.data.catalog import refuse_leak
from fewshot.data.store import Dataset
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.regularizers import REGULARIZERS
from fewshot.trained import TrainedLearner, load_learner
from fewshot.weights_file import options_of


class Transferred(FewShotBase):
    """Only test a learner, on the test split of whatever dataset."""

    def __init__(self, command: FewShotCommand, dataset: Dataset, device: torch.device) -> None:
        """Read the learner, and refuse what it cannot be tested on.

        Args:
            command: what to test it on, and how.
            dataset: of images.
            device: where it runs.

        Raises:
            InputError: where the learner or its backbone cannot be read, it is not for so many classes, or has seen
                classes that the dataset holds out.
        """
        assert command.evaluate is not None
        path = Path(command.evaluate)
        backbone = command.backbones if "backbones" in command.given else None
        learner = load_learner(path, backbone, device).of_way(command.way)
        _refuse_leaks(learner, dataset, command.force)
        super().__init__(command, _config(command, learner, path), 0, dataset, device, learner.backbone)
        self.learner, self.test = learner, self.manifest("test", command.test.episodes)
        self.use_precision(learner.learner)

    def execute(self) -> Record:
        """Run and record."""
        if self.command.manifest is not None:
            self.test.export(self.command.manifest, self.dataset)
        learner, started = self.learner, time.monotonic()
        results, failure = None, None
        title = f"{self.config.method} from {learner.card.problem}"
        with FewShotObserver(self.folder, title, self.command.quiet) as observer:
            observer.begin("transfer", self.test.count)
            try:
                correct = self.correct(learner.learner, self.test, learner.ready, observer.advance)
                tested = TestedEpisodes(episode=0, correct=correct.tolist())
                results = FewShotResults(best=tested, last=tested)
            except FloatingPointError as error:
                failure = str(error)
        details, took = FewShotDetails(curve=[], validation=[]), measured(0.0, time.monotonic() - started)
        return self.write(learner.learner, results, details, took, (self.test,), failure, training=None)


def _config(command: FewShotCommand, learner: TrainedLearner, path: Path) -> FewShotConfig:
    """The configuration of testing a learner as the command says."""
    card = learner.card
    transfer = Transfer(
        weights=card.sha256,
        learner_name=path.stem,
        dataset=card.dataset,
        way=card.way,
        shot=card.shot,
        config_sha256=card.config_sha256,
        seed=card.seed,
    )
    return replace(
        command.config,
        normalize=card.mean is not None,
        penalty=options_of(REGULARIZERS[card.regularizer].Options, card.penalty),
        learner=options_of(METHODS[card.method].options, card.options),
        transfer=transfer,
    )


def _refuse_leaks(learner: TrainedLearner, dataset: Dataset, force: bool) -> None:
    """Refuse a learner, or its backbone, that has seen classes of the test split."""
    card, backbone = learner.card, learner.backbone
    seen = [(card.method, card.dataset, card.fingerprint)]
    seen += [] if backbone is None else [("backbone", backbone.dataset, backbone.fingerprint)]
    for what, origin, fingerprint in seen:
        refuse_leak(origin, dataset.name, force, what)
        if origin == dataset.name and fingerprint != dataset.fingerprint and not force:
            raise InputError(
                f"the {what} was trained on another version of {dataset.name} (fingerprint {fingerprint[:12]}…, not"
                f" {dataset.fingerprint[:12]}…), which may split classes differently; train again, or use --force"
            )
