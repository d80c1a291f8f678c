"""What optimizers of network weights are trained on and compared on: tasks, and the problems they consist of.

A task is a network, data and a loss. A problem is one training of that network: a fresh initialization and an order of
batches, both functions of the problem's seed alone, and examples that are held out from it. A new task is one line in
`TASKS`, or one class.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.data.augment import Augment
from fewshot.general.examples import Examples, Part, digits, prepared
from fewshot.nets.resnet import ResNet18
from fewshot.nets.small import MLP, DigitsCNN, FlatNet, LeNet, ThreeLayerCNN
from fewshot.nets.text import TextLSTM
from fewshot.registry import Registry
from fewshot.seeding import derive

Stage = Literal["train", "val", "test"]
"""What a problem is for: meta-training, selection, or the final test. Decides what is held out from it."""
EVALUATION_BATCH = 1000
"""Examples scored at once; the statistics of batch normalization are of so many, where a network has it."""


class Score(NamedTuple):
    """How good weights are on some examples: scalars."""

    loss: Tensor
    accuracy: Tensor | None


class Problem:
    """One training of a task's network."""

    def init(self) -> Tensor:
        """Fresh flat weights [P]."""
        raise NotImplementedError

    def sizes(self) -> tuple[int, ...]:
        """Weights of each tensor of the network, in their order in [P]."""
        return (len(self.init()),)

    def batch(self, step: int) -> Any:
        """The training batch of a step: a function of the problem's seed and the step."""
        raise NotImplementedError

    def loss(self, weights: Tensor, batch: Any) -> Tensor:
        """Mean loss of flat weights [P] on a batch: a differentiable scalar."""
        raise NotImplementedError

    def training_score(self, weights: Tensor) -> Score:
        """On a fixed sample of what is trained on, without augmentation."""
        raise NotImplementedError

    def held_out_score(self, weights: Tensor) -> Score:
        """On all that is held out at the problem's stage."""
        raise NotImplementedError


class Task:
    """A family of problems."""

    name: str
    dataset: tuple[str, str]
    """Name and fingerprint of the data."""
    pixels: str = ""
    """What prepared images are beside the published ones (`catalog.pixels_of`)."""

    def problem(self, stage: Stage, seed: int, batch_size: int) -> Problem:
        """The problem of a stage and a seed."""
        raise NotImplementedError

    def guessing(self) -> float | None:
        """The loss of guessing, above which a training has come to nothing; None where there is no such number."""
        return None

    def facts(self) -> dict[str, Any]:
        """What, beside the name, decides the task's problems, as JSON values."""
        raise NotImplementedError


class Classification(Task):
    """Labelled images, a network, cross-entropy."""

    def __init__(
        self,
        name: str,
        examples: Examples,
        net: FlatNet,
        augment: Augment | None = None,
        classes: dict[Stage, tuple[int, ...]] | None = None,
    ) -> None:
        """Put a task together.

        Args:
            name: in `TASKS`.
            examples: train, val and test, on the device.
            net: from images to scores.
            augment: of training batches.
            classes: per stage, those that two are drawn from for each problem; None: every problem has all classes.
        """
        self.name, self.examples, self.net, self.augment, self.classes = name, examples, net, augment, classes
        self.dataset, self.pixels = (examples.name, examples.fingerprint), examples.pixels

    def problem(self, stage: Stage, seed: int, batch_size: int) -> Problem:
        parts = self.examples.parts
        train, held_out = parts["train"], parts["test" if stage == "test" else "val"]
        if self.classes is not None:
            pair = _pair(self.classes[stage], seed)
            train, held_out = train.of_classes(pair), held_out.of_classes(pair)
        return ClassificationProblem(self, train, held_out, seed, batch_size)

    def guessing(self) -> float:
        """ln C for C classes."""
        labels = self.examples.parts["train"].labels
        return math.log(2 if self.classes is not None else int(labels.max()) + 1)

    def facts(self) -> dict[str, Any]:
        classes = {stage: list(chosen) for stage, chosen in self.classes.items()} if self.classes else None
        return {"weights": self.net.layout.total, "examples": self.examples.sizes(), "classes": classes}


class ClassificationProblem(Problem):
    """One training of a classifier; batches run through the training part in a new random order every epoch."""

    sample = 2000
    """Training examples that `training_score` looks at."""

    def __init__(self, task: Classification, train: Part, held_out: Part, seed: int, batch_size: int) -> None:
        self.task, self.train, self.held_out, self.seed = task, train, held_out, seed
        self.batch_size = min(batch_size, len(train))
        self._order = (-1, torch.empty(0, dtype=torch.int64))

    def init(self) -> Tensor:
        return self.task.net.init(self._generator("init", 0)).to(self.train.labels.device)

    def sizes(self) -> tuple[int, ...]:
        return tuple(self.task.net.layout.sizes)

    def batch(self, step: int) -> Part:
        batch = self.train.take(self.rows(step).to(self.train.labels.device))
        inputs = batch.inputs
        if self.task.augment is not None:
            inputs = self.task.augment(inputs, self._generator("augment", step))
        return Part(self.task.examples.view(inputs), batch.labels)

    def rows(self, step: int) -> Tensor:
        """The training examples of a step's batch, by row [B]; on the CPU."""
        epoch, place = divmod(step, len(self.train) // self.batch_size)
        return self._rows(epoch)[place * self.batch_size : (place + 1) * self.batch_size]

    def sampled_rows(self) -> Tensor:
        """The training examples that `training_score` looks at, by row; on the CPU."""
        return torch.randperm(len(self.train), generator=self._generator("sample", 0))[: self.sample]

    def loss(self, weights: Tensor, batch: Part) -> Tensor:
        return F.cross_entropy(self.task.net(weights, batch.inputs), batch.labels)

    def training_score(self, weights: Tensor) -> Score:
        return self._score(weights, self.train.take(self.sampled_rows().to(self.train.labels.device)))

    def held_out_score(self, weights: Tensor) -> Score:
        return self._score(weights, self.held_out)

    @torch.no_grad()
    def _score(self, weights: Tensor, part: Part) -> Score:
        # In a fixed random order, so that batches hold all classes: parts are sorted by class.
        order = torch.randperm(len(part), generator=torch.Generator().manual_seed(0)).to(part.labels.device)
        loss, correct = weights.new_zeros(()), weights.new_zeros(())
        for rows in order.split(EVALUATION_BATCH):
            scores, labels = self.task.net(weights, self.task.examples.view(part.inputs[rows])), part.labels[rows]
            loss += F.cross_entropy(scores, labels, reduction="sum")
            correct += (scores.argmax(dim=1) == labels).sum()
        return Score(loss / len(part), correct / len(part))

    def _rows(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            self._order = epoch, torch.randperm(len(self.train), generator=self._generator("order", epoch))
        return self._order[1]

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, purpose, number))


def _pair(classes: tuple[int, ...], seed: int) -> tuple[int, ...]:
    """Two different ones of `classes`, in random order."""
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(derive(seed, "classes")))
    return tuple(classes[i] for i in order[:2].tolist())


class Quadratic(Task):
    """f(x) = mean over rows of (W x - y)², noisy through batches of rows; for tests: every optimizer must solve it."""

    name = "quadratic"
    dataset = "quadratic", "drawn"

    def __init__(self, size: int = 10, rows: int = 40, dtype: torch.dtype = torch.float32) -> None:
        self.size, self.rows, self.dtype = size, rows, dtype

    def problem(self, stage: Stage, seed: int, batch_size: int) -> Problem:
        return QuadraticProblem(self, derive(seed, stage), batch_size)

    def facts(self) -> dict[str, Any]:
        return {"weights": self.size, "rows": self.rows}


class QuadraticProblem(Problem):
    """Its own W and y; held out is the noiseless loss over all rows."""

    def __init__(self, task: Quadratic, seed: int, batch_size: int) -> None:
        self.task, self.seed, self.batch_size = task, seed, batch_size
        generator = self._generator("data", 0)
        self.matrix = torch.randn(task.rows, task.size, generator=generator).to(task.dtype)
        self.target = self.matrix @ torch.randn(task.size, generator=generator).to(task.dtype)

    def init(self) -> Tensor:
        return torch.randn(self.task.size, generator=self._generator("init", 0)).to(self.task.dtype)

    def batch(self, step: int) -> Tensor:
        if self.batch_size >= self.task.rows:
            return torch.arange(self.task.rows)
        return torch.randperm(self.task.rows, generator=self._generator("batch", step))[: self.batch_size]

    def loss(self, weights: Tensor, batch: Tensor) -> Tensor:
        return (self.matrix[batch] @ weights - self.target[batch]).square().mean()

    def training_score(self, weights: Tensor) -> Score:
        return self.held_out_score(weights)

    def held_out_score(self, weights: Tensor) -> Score:
        return Score(self.loss(weights.detach(), torch.arange(self.task.rows)), None)

    def _generator(self, purpose: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, purpose, number))


@dataclass(frozen=True)
class Entry:
    """How a task is made."""

    build: Callable[[Path, torch.device], Task]
    """From the folder of prepared datasets and a device."""
    quick: bool = False
    """Whether training its network takes seconds on a laptop."""
    dataset: str | None = None
    """Prepared dataset that it needs; None: it makes its own data."""


_CROPS = {"scale": None, "flip": 0.5, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
BINARY_CLASSES: dict[Stage, tuple[int, ...]] = {"train": (0, 1, 2, 3, 4, 5), "val": (6, 7), "test": (8, 9)}
"""Of ten; for CIFAR-10, in its own order: airplane to dog, frog and horse, ship and truck."""


def _digits(name: str, net: Callable[[], FlatNet], classes: dict[Stage, tuple[int, ...]] | None = None) -> Entry:
    """A task on scikit-learn's digits."""
    return Entry(lambda _, device: Classification(name, digits(device), net(), classes=classes), quick=True)


def _images(
    name: str,
    dataset: str,
    validation: int,
    net: Callable[[], FlatNet],
    pad: int = 0,
    classes: dict[Stage, tuple[int, ...]] | None = None,
) -> Entry:
    """A task on a prepared dataset; `pad` > 0 augments by crops from so many black pixels around, and mirror images."""

    def build(folder: Path, device: torch.device) -> Task:
        augment = Augment(**_CROPS, pad=pad) if pad else None
        return Classification(name, prepared(dataset, folder, validation, device), net(), augment, classes)

    return Entry(build, dataset=dataset)


def _reviews(folder: Path, device: torch.device) -> Task:
    examples = prepared("imdb", folder, 5000, device)
    return Classification("imdb_lstm", examples, TextLSTM(examples.vocabulary))


TASKS: Registry[Entry] = Registry("task")
TASKS.register("digits_mlp", _digits("digits_mlp", lambda: MLP(64, 32, 10)))
TASKS.register("digits_cnn", _digits("digits_cnn", DigitsCNN))
TASKS.register("digits_binary", _digits("digits_binary", lambda: MLP(64, 32, 2), BINARY_CLASSES))
TASKS.register("mnist_mlp", _images("mnist_mlp", "mnist", 5000, lambda: MLP(784, 32, 10)))
TASKS.register("mnist_lenet", _images("mnist_lenet", "mnist", 5000, LeNet))
TASKS.register("cifar10_cnn", _images("cifar10_cnn", "cifar10", 5000, ThreeLayerCNN, pad=4))
TASKS.register(
    "cifar10_binary", _images("cifar10_binary", "cifar10", 5000, lambda: ThreeLayerCNN(2), 4, BINARY_CLASSES)
)
TASKS.register("cifar10_resnet18", _images("cifar10_resnet18", "cifar10", 5000, lambda: ResNet18(10), pad=4))
TASKS.register("cifar100_resnet18", _images("cifar100_resnet18", "cifar100", 5000, lambda: ResNet18(100), pad=4))
TASKS.register(
    "tiny_imagenet_resnet18", _images("tiny_imagenet_resnet18", "tiny_imagenet", 10_000, lambda: ResNet18(200), pad=8)
)
TASKS.register("imdb_lstm", Entry(_reviews, dataset="imdb"))
TASKS.register("quadratic", Entry(lambda *_: Quadratic(), quick=True))


def open_task(name: str, folder: Path, device: torch.device) -> Task:
    """A task by name, its data on `device`.

    Raises:
        InputError: for an unknown name, or data that is not prepared (naming the command).
    """
    return TASKS.find(name).build(folder, device)
