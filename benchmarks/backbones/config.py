"""What identifies the pre-training of a backbone, and its named settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.running.identity import config_sha256, plain_data
from fewshot.backbones.file import BackboneInfo
from fewshot.backbones.pretrain import PretrainOptions
from fewshot.backbones.view import View
from fewshot.data.catalog import CATALOG
from fewshot.data.store import Dataset
from fewshot.errors import InputError, one_of
from fewshot.nets.backbone import BACKBONES
from fewshot.registry import Registry

DEFAULT_BACKBONES = Path("results/backbones")


@dataclass(frozen=True)
class PretrainConfig:
    """A backbone to pre-train, up to its seed."""

    dataset: str = "glyphs"
    """Its training classes are learned; glyphs is embedded, prepare others with `python -m data_prep.NAME`."""
    backbone: str = "conv4_64"
    crop: int | None = None
    """Pixels of the image's centre that the network sees; None: all."""
    training: PretrainOptions = field(default_factory=PretrainOptions)

    def __post_init__(self) -> None:
        BACKBONES.find(self.backbone)
        entry = CATALOG.get(self.dataset)
        if entry is not None and not entry.flip and self.training.flip:
            raise InputError(
                f"training.flip: mirror images of {self.dataset} show other classes; use --training.no-flip"
            )

    @property
    def config(self) -> PretrainConfig:
        """What identifies the backbone, without how it is made."""
        return PretrainConfig(**{f.name: getattr(self, f.name) for f in fields(PretrainConfig)})

    def to_dict(self) -> dict[str, Any]:
        """All options as JSON values."""
        return plain_data(self.config)

    def sha256(self) -> str:
        """Identity of the configuration."""
        return config_sha256(self.to_dict())

    def info(self, dataset: Dataset, origin: str) -> BackboneInfo:
        """What the backbone is, once it is trained on `dataset` by `origin`.

        Raises:
            InputError: where the images are not square, or smaller than `crop`.
        """
        view, t = View.of(dataset, self.crop), self.training
        augment = view.augment(t.pad, t.flip, t.jitter)
        return BackboneInfo(self.backbone, dataset.name, dataset.fingerprint, view, augment, origin)


def paper(base: PretrainConfig) -> PretrainConfig:
    """Hu et al. 2020 (`main_feat.py`): 80-pixel crops of 84-pixel images; 32-pixel images whole, padded by 4.

    Not kept: their momentum restarts after the warm-up. They publish no settings for datasets other than
    miniImageNet and CIFAR-FS; the same ones are used there.
    """
    entry = CATALOG.get(base.dataset)
    large = entry is None or entry.image_size > 32
    flip = entry is not None and entry.flip
    training = PretrainOptions(pad=8 if large else 4, flip=flip, jitter=0.4 if flip else 0.0)
    return replace(base, crop=80 if entry is not None and entry.image_size == 84 else None, training=training)


def quick(base: PretrainConfig) -> PretrainConfig:
    """For 28-pixel characters and Conv4-64 on two CPU cores: 100 000 images or so, in minutes.

    Omniglot's passes are counted for its small edition, with 3 220 training images.
    """
    epochs = 30 if base.dataset == "omniglot" else 4
    training = PretrainOptions(
        epochs=epochs,
        warmup_epochs=epochs // 4,
        milestones=(epochs * 3 // 4,),
        batch_size=128,
        pad=0,
        flip=False,
        jitter=0.0,
        validate_every=max(1, epochs // 4),
        validation_episodes=200,
    )
    return replace(base, training=training)


def fitted(config: PretrainConfig, dataset: Dataset) -> PretrainConfig:
    """`config` with batches and validation episodes that a small dataset has images for; others stay as they are."""
    training, val = config.training, dataset["val"]
    queries = int(val.class_sizes.min()) - training.validation_shot
    smaller = replace(
        training,
        batch_size=min(training.batch_size, dataset["train"].shape[0]),
        validation_way=min(training.validation_way, len(val.class_names)),
        validation_query=max(1, min(training.validation_query, queries)),
    )
    return replace(config, training=smaller)


def command_line(config: PretrainConfig) -> str:
    """The command that pre-trains a backbone: what differs from its default preset."""
    usual = preset("auto", PretrainConfig(config.dataset, config.backbone)).training
    changed = {
        f.name: value for f in fields(usual) if (value := getattr(config.training, f.name)) != getattr(usual, f.name)
    }
    flags = "".join(f" --training.{name.replace('_', '-')} {value}" for name, value in changed.items())
    return f"python -m benchmarks.pretrain --dataset {config.dataset} --backbone {config.backbone}{flags}"


QUICK_DATASETS = ("glyphs", "omniglot")
Preset = Callable[[PretrainConfig], PretrainConfig]
PRESETS: Registry[Preset] = Registry("preset")
PRESETS.register("paper", paper)
PRESETS.register("quick", quick)


def preset_name(name: str, base: PretrainConfig) -> str:
    """The preset that `name` means; "auto" is quick for the small datasets, else paper.

    Raises:
        InputError: for an unknown name.
    """
    one_of("preset", name, ["auto", *PRESETS])
    return name if name != "auto" else "quick" if base.dataset in QUICK_DATASETS else "paper"


def preset(name: str, base: PretrainConfig) -> PretrainConfig:
    """`base` with the settings of a preset; see `preset_name`."""
    return PRESETS[preset_name(name, base)](base)
