"""The facts about each dataset, as its authors published them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fewshot.data import glyphs
from fewshot.registry import Registry

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
    """File name without `.h5`, and value of `--dataset`."""
    title: str
    track: Literal["few_shot", "general"]
    """few_shot: every split has its own classes; general: every split has all classes."""
    editions: Mapping[str, Mapping[str, Counts]]
    """Sizes per split, for each circulating edition; the first is the usual one."""
    image_size: int
    """Usual height and width, in pixels; 0 for texts."""
    channels: int
    """0 for texts."""
    flip: bool
    """Whether a mirror image still shows its class, so that flipping is sensible augmentation."""
    mean: Numbers | None = None
    """Published mean per channel, of pixels in [0, 1]."""
    std: Numbers | None = None
    """Published standard deviation per channel, of pixels in [0, 1]."""
    vocabulary: str | None = None
    """What the names in its class table mean; tables of one vocabulary can be compared."""
    class_table: str | None = None
    """Stem of its table in `fewshot/data/assets`."""
    balanced: bool = True
    """Whether all classes of a split are of one size."""
    make: Callable[[Path, bool], None] | None = None
    """Writes its file on first use, (path, quiet); None: a command prepares it."""
    module: str = ""
    """What follows `python -m data_prep.` in the command that prepares it; its name where empty."""

    @property
    def examples(self) -> str:
        """What its examples are called."""
        return "images" if self.image_size else "texts"

    @property
    def command(self) -> str:
        """What prepares it."""
        return f"python -m data_prep.{self.module or self.name}"


def _few_shot(*sizes: tuple[int, int | None]) -> dict[str, Counts]:
    return dict(zip(("train", "val", "test"), (Counts(*size) for size in sizes), strict=True))


def _general(classes: int, train: int, test: int) -> dict[str, Mapping[str, Counts]]:
    return {"full": {"train": Counts(classes, train), "test": Counts(classes, test)}}


_CIFAR100 = ((0.50736, 0.48669, 0.44109), (0.26749, 0.25659, 0.27631))
_ENTRIES = (
    Entry(
        "glyphs",
        "glyphs",
        "few_shot",
        {"full": _few_shot((64, None), (16, None), (20, None))},
        image_size=28,
        channels=1,
        flip=False,
        make=lambda path, quiet: glyphs.prepare(path, quiet),
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
        module="cifar_fs --split fc100",
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
    Entry("imdb", "IMDB reviews", "general", _general(2, 25_000, 25_000), 0, 0, False),
)
CATALOG: Registry[Entry] = Registry("dataset")
for _entry in _ENTRIES:
    CATALOG.register(_entry.name, _entry)
