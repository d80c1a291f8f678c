"""What identifies the pre-training of a backbone, and its named settings."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from benchmarks.few_shot.config import config_sha256
from benchmarks.few_shot.presets import QUICK_DATASETS
from fewshot.backbones.file import BackboneInfo
from fewshot.backbones.pretrain import PretrainOptions
from fewshot.backbones.view import View
from fewshot.data.catalog import CATALOG
from fewshot.data.store import Dataset
from fewshot.errors import InputError, one_of
from fewshot.nets.backbone import BACKBONES

DEFAULT_RESULTS = Path("results/backbones")


@dataclass(frozen=True)
class PretrainConfig:
    """A backbone to pre-train, up to its seed."""

    dataset: str = "glyphs"
    """Its training classes are learned; glyphs is embedded, prepare others with `python -m data_prep.NAME`."""
    backbone: Annotated[str, tyro.conf.arg(help=f"Network: {', '.join(BACKBONES)}.")] = "conv4_64"
    crop: int | None = None
    """Pixels of the image's centre that the network sees; None: all."""
    training: PretrainOptions = field(default_factory=PretrainOptions)

    def __post_init__(self) -> None:
        one_of("backbone", self.backbone, BACKBONES)
        entry = CATALOG.get(self.dataset)
        if entry is not None and not entry.flip and self.training.flip:
            raise InputError(
                f"training.flip: mirror images of {self.dataset} show other classes; use --training.no-flip"
            )

    @property
    def config(self) -> PretrainConfig:
        """What identifies the backbone, without how it is made."""
        return PretrainConfig(**options(self))

    def to_dict(self) -> dict[str, Any]:
        """All options as JSON values."""
        return json.loads(json.dumps(asdict(self.config)))

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


@dataclass(frozen=True)
class Command(PretrainConfig):
    """Pre-train a backbone on the training classes of a dataset, or import one.

    The same command again continues an interrupted training, or shows the finished one. Defaults below are those of
    the preset for the given dataset.
    """

    preset: str = "auto"
    """Defaults of everything above: paper, quick, or auto (quick for glyphs and omniglot, else paper)."""
    seeds: tuple[int, ...] = (0,)
    """One backbone each."""
    import_weights: Path | None = None
    """Train nothing: make a backbone of this state dict, trained elsewhere on the dataset's training classes."""
    results: Path = DEFAULT_RESULTS
    """Where backbones are written."""
    data: Path = Path("data")
    """Where prepared datasets lie ($FEWSHOT_DATA overrides the default)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    fresh: bool = False
    """Discard what an earlier run of the same command left, and start over."""
    quiet: bool = False
    """No progress bars."""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints, beside one after every epoch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds are {self.seeds}; give one or more different whole numbers of at least 0")


PRESETS: dict[str, Callable[[PretrainConfig], PretrainConfig]] = {"paper": paper, "quick": quick}


def preset(name: str, base: PretrainConfig) -> PretrainConfig:
    """`base` with the settings of preset `name`; "auto" is quick for the small datasets, else paper.

    Raises:
        InputError: for an unknown name.
    """
    one_of("preset", name, ["auto", *PRESETS])
    if name == "auto":
        name = "quick" if base.dataset in QUICK_DATASETS else "paper"
    return PRESETS[name](base)


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


def options(config: PretrainConfig) -> dict[str, Any]:
    """The options of a configuration by name, to make a `Command` of."""
    return {f.name: getattr(config, f.name) for f in fields(PretrainConfig)}


def parse(arguments: Sequence[str] | None, data: Path) -> Command:
    """Parse a command line of `benchmarks.pretrain`.

    Args:
        arguments: without the program's name; None reads `sys.argv`.
        data: default of `--data`.

    Raises:
        InputError: for an unknown backbone or preset, or a value out of range.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, default in (
        ("dataset", PretrainConfig.dataset),
        ("backbone", PretrainConfig.backbone),
        ("preset", "auto"),
    ):
        ahead.add_argument(f"--{name}", default=default)
    found = ahead.parse_known_args(arguments)[0]
    defaults = preset(found.preset, PretrainConfig(found.dataset, found.backbone))
    return tyro.cli(
        Command,
        prog="python -m benchmarks.pretrain",
        default=Command(**options(defaults), preset=found.preset, data=data),
        args=arguments,
        config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagCreatePairsOff),
    )
