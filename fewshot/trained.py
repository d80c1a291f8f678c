"""Meta-trained few-shot learners outside of their run: on other data, and on anybody's images."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from fewshot.backbones.file import BackboneInfo, load_backbone, read_info
from fewshot.data.episodes import Episode
from fewshot.data.fitting import fit
from fewshot.data.pictures import images_of
from fewshot.data.preprocess import normalize
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.learners.file import LearnerCard, load_weights, rebuilt
from fewshot.nets.blocks import FeatureNet

if TYPE_CHECKING:
    from fewshot.data.pictures import Pictures

BATCH = 128
"""Images that go through a network at once."""
BACKBONES = Path("results/backbones")
"""Where `benchmarks.pretrain` leaves backbones unless told otherwise."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a learner says of queries."""

    classes: tuple[Any, ...]
    """The N labels of the support, in the order in which they first appeared."""
    probabilities: Tensor
    """float32 [queries, N] on the CPU; rows sum to one."""

    @property
    def labels(self) -> list[Any]:
        """The most probable label of each query."""
        return [self.classes[place] for place in self.probabilities.argmax(dim=1).tolist()]


class TrainedLearner:
    """A few-shot learner with its weights, and all that brings images to what it was meta-trained on."""

    def __init__(
        self,
        learner: nn.Module,
        card: LearnerCard,
        device: torch.device,
        backbone: tuple[FeatureNet, BackboneInfo] | None = None,
    ) -> None:
        """Put the parts together, all of them on `device`; see `load_learner`."""
        self.learner, self.card, self.device = learner, card, device
        self._net, self.backbone = backbone or (None, None)

    @property
    def transductive(self) -> bool:
        """Whether what it says of a query depends on the other queries."""
        return bool(getattr(self.learner, "transductive", False))

    @property
    def takes(self) -> tuple[int, int]:
        """H = W in pixels, and channels, of the images that it takes."""
        if self.backbone is not None:
            return self.backbone.view.image_size, self.backbone.view.channels
        return self.card.image_size, self.card.channels

    def of_way(self, way: int) -> TrainedLearner:
        """The same learner for `way` classes.

        Raises:
            InputError: where its method does not allow it, saying why.
        """
        if way == self.card.way:
            return self
        if way < 2:
            raise InputError(f"way is {way}; there is nothing to tell apart below 2 classes")
        if reason := METHODS[self.card.method].tied_to_way:
            raise InputError(
                f"way is {way}, but this {self.card.method} was meta-trained for {self.card.way} classes and {reason};"
                f" give {self.card.way}, or meta-train one with --way {way}"
            )
        learner = rebuilt(self.learner, self.card, way).to(self.device)
        backbone = None if self._net is None or self.backbone is None else (self._net, self.backbone)
        return TrainedLearner(learner, self.card, self.device, backbone)

    def see(self, images: Tensor) -> Tensor:
        """What the learner learns from.

        Args:
            images: uint8, or float in [0, 1], [n, 1 or 3, H, W], on any device.

        Returns:
            Images [n, C, H, W] that are brought to its size and channels as `fit` says and normalized as in its
            meta-training, or features [n, D] of such images; on the learner's device.
        """
        fitted = fit(images.to(self.device), *self.takes)
        if self._net is None or self.backbone is None:
            mean, std = (None if values is None else tuple(values) for values in (self.card.mean, self.card.std))
            return normalize(fitted, mean, std)
        with torch.no_grad():
            return torch.cat([self._net(self.backbone.view(part)).float() for part in fitted.split(BATCH)])

    def ready(self, episode: Episode) -> Episode:
        """An episode of any images as the learner wants it."""
        episode = episode.to(self.device)
        return replace(episode, support_x=self.see(episode.support_x), query_x=self.see(episode.query_x))

    @torch.no_grad()
    def predict(self, support: Pictures, labels: Iterable[Hashable], queries: Pictures) -> Answers:
        """Learn from a few labelled images, and classify others.

        Args:
            support: images, as `fewshot.data.pictures.images_of` takes them; at least one of every class.
            labels: the class of each, by any name or number; a tensor or array of numbers too.
            queries: images to be classified, any number of them. A transductive learner sees all of them at once.

        Raises:
            InputError: where an image cannot be used, or classes are fewer or more than the learner knows to tell
                apart, or it gives no finite answer.
        """
        names = labels.tolist() if isinstance(labels, Tensor | np.ndarray) else list(labels)
        shown = self._seen(support)
        if len(names) != len(shown):
            raise InputError(f"there are {len(shown)} support images and {len(names)} labels; give a label for each")
        classes = tuple(dict.fromkeys(names))
        learner = self.of_way(len(classes)).learner
        places = {name: place for place, name in enumerate(classes)}
        numbers = np.array([places[name] for name in names])
        order = _shot_by_shot(numbers)
        support_x, support_y = shown[order], torch.from_numpy(numbers[order]).to(self.device)
        asked = [queries] if self.transductive else _parts(queries)
        logits = [_logits(learner, support_x, support_y, self._seen(part), len(classes)) for part in asked]
        return Answers(classes, torch.cat(logits).softmax(dim=1))

    def _seen(self, pictures: Pictures) -> Tensor:
        """As `see`, of pictures of any kind; of many, only so many at a time are kept in full size."""
        parts = [self.see(images_of(part, *self.takes)) for part in _parts(pictures)]
        return torch.cat(parts)


def load_learner(
    path: Path | str, backbone: Path | str | None = None, device: torch.device | str = "cpu"
) -> TrainedLearner:
    """Read a few-shot learner that `python -m benchmarks.run` left.

    Args:
        path: best.safetensors in the folder of a finished run, or a copy of it.
        backbone: of a learner on features, the file of the network that it was meta-trained with, or a folder to
            search; None: beside `path`, then in `results/backbones`.
        device: where it computes.

    Raises:
        InputError: where a file is absent, damaged or something else, or no file holds the backbone's weights.
    """
    path, device = Path(path), torch.device(device)
    learner, card = load_weights(path, device)
    if not card.backbone:
        if backbone is not None:
            raise InputError(f"backbone is {backbone}, but {path} learns from images; leave it out")
        return TrainedLearner(learner, card, device)
    places = [path.parent, BACKBONES] if backbone is None else [Path(backbone)]
    net, info = load_backbone(find_backbone(card, places), device)
    return TrainedLearner(learner, card, device, (net, info))


def find_backbone(card: LearnerCard, places: Sequence[Path]) -> Path:
    """The file of a learner's backbone, known by its hash, among files and in and below folders.

    Raises:
        InputError: where there is none, or a file in `places` is another one.
    """
    for place in places:
        for path in [place] if place.is_file() else sorted(place.rglob("*.safetensors")):
            try:
                found = read_info(path)
            except InputError:
                if path == place:
                    raise
                continue
            if found.sha256 == card.backbone_sha256:
                return path
    raise InputError(
        f"no file in {', '.join(map(str, places))} has the weights of the {card.backbone} (SHA-256"
        f" {card.backbone_sha256[:12]}…) whose features this {card.method} learns from; give its file"
    )


def _logits(learner: nn.Module, support_x: Tensor, support_y: Tensor, query_x: Tensor, way: int) -> Tensor:
    """Scores [queries, way], float32 on the CPU."""
    if not len(query_x):
        return torch.empty(0, way)
    unknown = torch.zeros(len(query_x), dtype=torch.int64, device=query_x.device)
    nowhere = np.empty(0, dtype=np.int64)
    episode = Episode(support_x, support_y, query_x, unknown, np.arange(way), nowhere, nowhere)
    logits = learner(episode).logits.float().cpu()
    if not logits.isfinite().all():
        raise InputError("the learner gives answers that are not finite for these images; use another one")
    return logits


def _parts(pictures: Pictures) -> list[Any]:
    if not isinstance(pictures, Sequence | np.ndarray | Tensor) or isinstance(pictures, str):
        return [pictures]  # whoever reads it says what is wrong
    return [pictures[start : start + BATCH] for start in range(0, max(1, len(pictures)), BATCH)]


def _shot_by_shot(labels: np.ndarray) -> np.ndarray:
    """The order in which an `Episode` has its support: blocks that hold each class once, as long as it has images."""
    turns = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = labels == label
        turns[members] = np.arange(members.sum())
    return np.lexsort((labels, turns))
