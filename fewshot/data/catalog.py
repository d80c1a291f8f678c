"""What is known about each dataset, and the one way to open a prepared one by name."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal

from fewshot.data.store import Dataset
from fewshot.errors import InputError

Numbers = tuple[float, ...]
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Counts:
    """Published size of one split; `images` is None where it is nobody's fact but the file's own."""

    classes: int
    images: int | None


@dataclass(frozen=True)
class Entry:
    """The facts about one dataset, as its authors published them."""

    name: str
    """File name without `.h5`, value of `--dataset`, and name of the module that prepares it."""
    title: str
    track: Literal["few_shot", "general"]
    """few_shot: every split has its own classes; general: every split has all classes."""
    editions: Mapping[str, Mapping[str, Counts]]
    """Sizes per split, for each circulating edition; the first is the usual one."""
    image_size: int
    """Usual height and width, in pixels."""
    channels: int
    flip: bool
    """Whether a mirror image still shows its class, so that flipping is sensible augmentation."""
    mean: Numbers | None = None
    """Published mean per channel, of pixels in [0, 1]."""
    std: Numbers | None = None
    """Published standard deviation per channel, of pixels in [0, 1]."""
    vocabulary: str | None = field(default=None)
    """What the names in its class table mean; tables of one vocabulary can be compared."""
    class_table: str | None = None
    """Stem of its table in `fewshot/data/assets`."""

    balanced: bool = True
    """Whether all classes of a split are of one size."""

    def label(self, name: str) -> str:
        """A class for people: its own name, and what that means where the table knows."""
        meaning = class_table(self.class_table).get(name, {}).get("name", "") if self.class_table else ""
        return f"{name} {meaning}".strip()

    @property
    def command(self) -> str:
        """What prepares it."""
        return f"python -m data_prep.{_MODULES.get(self.name, self.name)}"


def _few_shot(*sizes: tuple[int, int | None]) -> dict[str, Counts]:
    return dict(zip(("train", "val", "test"), (Counts(*size) for size in sizes), strict=True))


def _general(classes: int, train: int, test: int) -> dict[str, Mapping[str, Counts]]:
    return {"full": {"train": Counts(classes, train), "test": Counts(classes, test)}}


_MODULES = {"fc100": "cifar_fs --split fc100"}
_CIFAR100 = ((0.50736, 0.48669, 0.44109), (0.26749, 0.25659, 0.27631))
_ENTRIES = (
    Entry(
        "glyphs", "Glyphs (embedded)", "few_shot", {"full": _few_shot((64, None), (16, None), (20, None))}, 28, 1, False
    ),
    Entry(
        "mini_imagenet",
        "miniImageNet",
        "few_shot",
        {"full": _few_shot((64, 38_400), (16, 9_600), (20, 12_000))},
        image_size=84,
        channels=3,
        flip=True,
        mean=(0.47214, 0.45331, 0.40996),
        std=(0.27718, 0.26775, 0.28449),
        vocabulary="ImageNet",
        class_table="mini_imagenet",
    ),
    Entry(
        "tiered_imagenet",
        "tieredImageNet",
        "few_shot",
        {"full": _few_shot((351, 448_695), (97, 124_261), (160, 206_209))},
        image_size=84,
        channels=3,
        flip=True,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
        vocabulary="ImageNet",
        class_table="tiered_imagenet",
        balanced=False,
    ),
    Entry(
        "cifar_fs",
        "CIFAR-FS",
        "few_shot",
        {"full": _few_shot((64, 38_400), (16, 9_600), (20, 12_000))},
        image_size=32,
        channels=3,
        flip=True,
        mean=_CIFAR100[0],
        std=_CIFAR100[1],
        vocabulary="CIFAR-100",
        class_table="cifar_fs",
    ),
    Entry(
        "fc100",
        "FC100",
        "few_shot",
        {"full": _few_shot((60, 36_000), (20, 12_000), (20, 12_000))},
        image_size=32,
        channels=3,
        flip=True,
        mean=_CIFAR100[0],
        std=_CIFAR100[1],
        vocabulary="CIFAR-100",
        class_table="fc100",
    ),
    Entry(
        "omniglot",
        "Omniglot",
        "few_shot",
        {
            "full": _few_shot((1028, 20_560), (172, 3_440), (423, 8_460)),
            "small": _few_shot((161, 3_220), (39, 780), (42, 840)),
            "full, rotated": _few_shot((4112, 82_240), (688, 13_760), (1692, 33_840)),
            "small, rotated": _few_shot((644, 12_880), (156, 3_120), (168, 3_360)),
        },
        image_size=28,
        channels=1,
        flip=False,
    ),
    Entry(
        "mnist", "MNIST", "general", _general(10, 60_000, 10_000), 28, 1, False, (0.1307,), (0.3081,), balanced=False
    ),
    Entry("fashion_mnist", "Fashion-MNIST", "general", _general(10, 60_000, 10_000), 28, 1, True, (0.2860,), (0.3530,)),
    Entry(
        "cifar10",
        "CIFAR-10",
        "general",
        _general(10, 50_000, 10_000),
        image_size=32,
        channels=3,
        flip=True,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    Entry(
        "cifar100",
        "CIFAR-100",
        "general",
        _general(100, 50_000, 10_000),
        image_size=32,
        channels=3,
        flip=True,
        mean=_CIFAR100[0],
        std=_CIFAR100[1],
        vocabulary="CIFAR-100",
        class_table="cifar_fs",
    ),
    Entry(
        "tiny_imagenet",
        "Tiny ImageNet",
        "general",
        _general(200, 100_000, 10_000),
        image_size=64,
        channels=3,
        flip=True,
        mean=_IMAGENET[0],
        std=_IMAGENET[1],
    ),
)
CATALOG: Mapping[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def open_dataset(name: str, folder: Path | str, quiet: bool = False) -> Dataset:
    """Open `folder/NAME.h5`; the embedded dataset `glyphs` is made there on first use.

    Args:
        name: a name of the catalog, or of any file that a preparation command wrote to `folder`.
        folder: where prepared datasets lie.
        quiet: no progress bar.

    Raises:
        InputError: where it is not there (naming the command that prepares it, or what there is), or is damaged.
    """
    folder = Path(folder)
    path = folder / f"{name}.h5"
    if not path.is_file():
        if name == "glyphs":
            from fewshot.data import glyphs

            glyphs.prepare(path, quiet)
        elif name in CATALOG:
            raise InputError(f"{path} does not exist; prepare it with `{CATALOG[name].command} --out {folder}`")
        else:
            raise InputError(_unknown(name, folder))
    return Dataset.open(path)


def class_lists(name: str) -> Mapping[str, tuple[str, ...]]:
    """The classes of each split, as the entry's vocabulary names them; empty where none are on record."""
    entry = CATALOG.get(name)
    if entry is None or entry.class_table is None:
        return {}
    rows = class_table(entry.class_table)
    if entry.track == "general":
        return {split: tuple(rows) for split in next(iter(entry.editions.values()))}
    return {split: tuple(c for c, row in rows.items() if row["split"] == split) for split in ("train", "val", "test")}


@cache
def class_table(stem: str) -> Mapping[str, Mapping[str, str]]:
    """A table of `fewshot/data/assets`, by class, in the published order.

    Origins: Ravi & Larochelle (twitter/meta-learning-lstm, MIT) for miniImageNet; Ren et al.
    (renmengye/few-shot-ssl-public, MIT) for tieredImageNet; Bertinetto et al. 2019 for CIFAR-FS; Oreshkin et al. 2018
    for FC100.
    """
    text = (resources.files("fewshot.data") / "assets" / f"classes_{stem}.csv").read_text(encoding="utf-8")
    return {row["class"]: row for row in csv.DictReader(text.splitlines())}


def seen_classes(backbone_dataset: str, target_dataset: str) -> Mapping[str, tuple[str, ...]]:
    """Classes of the target's val and test splits that lie in the training split of the backbone's dataset."""
    ours, theirs = CATALOG.get(backbone_dataset), CATALOG.get(target_dataset)
    if (
        ours is None
        or theirs is None
        or ours is theirs
        or ours.vocabulary is None
        or ours.vocabulary != theirs.vocabulary
    ):
        return {}
    trained_on = set(class_lists(backbone_dataset)["train"])
    held_out = {split: classes for split, classes in class_lists(target_dataset).items() if split != "train"}
    return {split: tuple(c for c in classes if c in trained_on) for split, classes in held_out.items()}


def refuse_leak(backbone_dataset: str, target_dataset: str, force: bool = False) -> None:
    """Refuse to evaluate on `target_dataset` with a backbone that has seen classes it holds out.

    miniImageNet and tieredImageNet are cut from the same ImageNet, CIFAR-FS and FC100 from the same CIFAR-100: 13
    training classes of miniImageNet are test classes of tieredImageNet, and 5 the other way round. Datasets that are
    not in the catalog pass: nothing is known about them.

    Args:
        backbone_dataset: what the backbone was trained on (its training split).
        target_dataset: what it is to be evaluated on (validation or test split).
        force: let it pass.

    Raises:
        InputError: naming how many and which classes.
    """
    for split, seen in sorted(seen_classes(backbone_dataset, target_dataset).items()):
        if seen and not force:
            held_out = len(class_lists(target_dataset)[split])
            raise InputError(
                f"a backbone trained on {backbone_dataset} has seen {len(seen)} of the {held_out} {split} classes of"
                f" {target_dataset} ({', '.join(seen[:3])}{', …' if len(seen) > 3 else ''}); train one on"
                f" {target_dataset}, or use it all the same with --force"
            )


def _unknown(name: str, folder: Path) -> str:
    there = sorted(path.stem for path in folder.glob("*.h5"))
    return (
        f"unknown dataset {name!r}; known: {', '.join(CATALOG)}; prepared in {folder}: {', '.join(there) or 'none'};"
        f" prepare your own images with `python -m data_prep.image_folder --name {name}`"
    )
