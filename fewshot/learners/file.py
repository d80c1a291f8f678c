"""Meta-trained few-shot learners on disk: weights with a card that says what they are and what they must be fed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.regularizers import REGULARIZERS
from fewshot.weights_file import Card, Kind, first_line, options_of, weights_sha256

_FILE = Kind("learner", "a few-shot learner", "make one with `python -m benchmarks.run`")


@dataclass(frozen=True)
class LearnerCard(Card):
    """What a file of a few-shot learner is."""

    NEWEST = 1
    OTHERS: ClassVar = {
        **dict.fromkeys(("way", "shot", "query", "channels", "image_size", "seed", "version"), int),
        **dict.fromkeys(("options", "penalty", "validation"), dict),
        **dict.fromkeys(("mean", "std"), list | tuple | None),
    }

    method: str
    """Key of `METHODS`."""
    dataset: str
    """Name of the dataset on whose training split it was meta-trained."""
    fingerprint: str
    """Of that dataset."""
    way: int
    """Classes per episode (N)."""
    shot: int
    """Support images per class (K) of meta-training."""
    query: int
    """Query images per class of meta-training."""
    channels: int
    """Of its images; of learners on features their number, D."""
    image_size: int
    """H = W of its images in pixels; 1 of learners on features."""
    seed: int
    """Of its meta-training."""
    command: str = ""
    """That makes it again."""
    mean: Sequence[float] | None = None
    """Per channel, of pixels in [0, 1]; None: it takes them in [0, 1]."""
    std: Sequence[float] | None = None
    """Per channel, likewise."""
    regularizer: str = "none"
    """Key of `REGULARIZERS`."""
    penalty: Mapping[str, Any] = field(default_factory=dict)
    """Options of the regularizer."""
    backbone: str = ""
    """Network of its features, key of `BACKBONES`; empty where it learns from images."""
    backbone_sha256: str = ""
    """Of that network's weights."""
    validation: Mapping[str, float] = field(default_factory=dict)
    """What it reached on the validation split: {"accuracy": …, "episodes": …}."""
    config_sha256: str = ""
    """Of the configuration of its meta-training."""
    description: str = ""
    """In words."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the method."""
    sha256: str = ""
    """Of the weights: names, types, shapes and values; filled in by `save_learner`."""
    version: int = 1
    """Of the file's format; filled in by `save_learner`."""

    @property
    def problem(self) -> str:
        """What it was meta-trained on, in words."""
        return f"{self.dataset}, {self.way}-way {self.shot}-shot"


def save_learner(path: Path, weights: Mapping[str, Tensor], card: LearnerCard) -> LearnerCard:
    """Write a learner's weights and its card, completely or not at all.

    Args:
        path: the file to write.
        weights: state dict of the learner.
        card: its `sha256` and `version` are filled in here.

    Returns:
        The card as it is read.

    Raises:
        InputError: where the file cannot be written.
    """
    copied = {"memory_format": torch.contiguous_format}  # a file has no room for tensors that share memory
    tensors = {name: tensor.detach().cpu().clone(**copied) for name, tensor in weights.items()}
    card = dataclasses.replace(card, sha256=weights_sha256(tensors), version=LearnerCard.NEWEST)
    _FILE.write(path, tensors, card.to_json())
    return LearnerCard.from_json(card.to_json())


def load_weights(path: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, LearnerCard]:
    """Read a learner, in eval mode, on `device`.

    Returns:
        The `Learner`, which takes episodes of what it was meta-trained on, and its card.

    Raises:
        InputError: where there is no such file, it is damaged or something else, or its method is not known here.
    """
    path = Path(path)
    header, weights = _FILE.read(path)
    card = _card(path, header)
    _FILE.check(path, weights, card.sha256)
    learner = _empty(path, card)
    _FILE.fill(path, learner, weights)
    return learner.to(device).eval(), card


def rebuilt(learner: nn.Module, card: LearnerCard, way: int) -> nn.Module:
    """A learner with the same weights for another number of classes, in eval mode, on the CPU."""
    fresh = _empty(Path(f"a {card.method} of {way} classes"), dataclasses.replace(card, way=way))
    fresh.load_state_dict(learner.state_dict())
    return fresh.eval()


def read_learner_card(path: Path) -> LearnerCard:
    """What a file says it is; its weights are not read. Errors as `load_weights`."""
    path = Path(path)
    return _card(path, _FILE.read_header(path))


def _card(path: Path, header: str) -> LearnerCard:
    card = _FILE.card(path, header, LearnerCard)
    for what, registry, name in (("method", METHODS, card.method), ("regularizer", REGULARIZERS, card.regularizer)):
        if name not in registry:
            raise InputError(
                f"{path} was meta-trained with an unknown {what} {name!r:.60}; known are: {', '.join(registry)};"
                " import the plug-in that brings it (--plugin)"
            )
    return card


def _empty(path: Path, card: LearnerCard) -> nn.Module:
    """A learner of the card's options; its weights are yet to be filled in."""
    method, regularizer = METHODS[card.method], REGULARIZERS[card.regularizer]
    try:
        options = options_of(method.options, card.options)
        attached = regularizer(options_of(regularizer.Options, card.penalty))
        generator = torch.Generator("cpu").manual_seed(0)
        with torch.device("cpu"):  # whatever the default device is
            return method.build(card.channels, card.image_size, card.way, options, attached, generator)
    except (TypeError, ValueError, RuntimeError, InputError) as error:
        raise InputError(f"{path} has options that do not fit ({first_line(error)}); {_FILE.remedy}") from error
