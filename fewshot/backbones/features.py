"""Features of a frozen backbone, computed once and kept in a file that episodes are drawn from.

One HDF5 file for a dataset and a backbone. Group per split with

    features       float32 [n, 1 + V, D], contiguous: of the plain image, then of V augmented versions of it
    class_offsets, class_names, file_names    as in the dataset's own file

and the file attributes `schema_version`, `fingerprint` of the features and `key`: everything they depend on. A file
whose key is not the one expected was made from other images or weights; it is made again, as a damaged one is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import torch
from torch import Tensor

from fewshot.backbones.file import BackboneInfo, load_backbone, read_info
from fewshot.backbones.view import View, read_images
from fewshot.console import progress
from fewshot.data.catalog import refuse_leak
from fewshot.data.episodes import EpisodeSampler
from fewshot.data.stamps import check_once
from fewshot.data.store import Dataset, Split, create_contiguous, fingerprint
from fewshot.errors import InputError
from fewshot.files import replacing
from fewshot.nets.blocks import FeatureNet
from fewshot.seeding import derive

SCHEMA_VERSION = 1
BATCH = 128
"""Images a forward pass; augmented views are drawn batch by batch, so it is part of their identity."""
AUGMENTED_SPLIT = "train"


@dataclass(eq=False)
class FeatureSplit(Split):
    """The features of one split, mapped like images: episodes are drawn from it as from any `Split`."""

    array: ClassVar[str] = "features"
    dtype: ClassVar[np.dtype] = np.dtype(np.float32)
    dimensions: ClassVar[int] = 3

    @property
    def features(self) -> int:
        """D, numbers a feature vector has."""
        return self.shape[2]

    @property
    def views(self) -> int:
        """V, augmented versions of each image."""
        return self.shape[1] - 1

    def read(self, rows: np.ndarray, views: np.ndarray | None = None) -> np.ndarray:
        """Copy some feature vectors.

        Args:
            rows: int64 [m].
            views: int64 [m], which version of each, 0 (plain) to V; None means plain.

        Returns:
            float32 [m, D].
        """
        return self._map().read((rows, np.zeros_like(rows) if views is None else views))


class AugmentedSampler(EpisodeSampler):
    """The episodes of an `EpisodeSampler`, every image in one of its augmented versions, for meta-training.

    The version is drawn from the episode's own stream once its images are, so they stay the same images.

    Raises:
        InputError: as `EpisodeSampler`, and where the split has no augmented versions.
    """

    def __init__(self, split: FeatureSplit, way: int, shot: int, query: int, seed: int = 0) -> None:
        if not split.views:
            raise InputError(
                f"{split.path} has no augmented features of split {split.name!r}; give views of at least 1"
            )
        super().__init__(split, way, shot, query, seed)
        self._features = split

    def _read(self, rows: np.ndarray, stream: np.random.Philox) -> np.ndarray:
        views = 1 + stream.random_raw(len(rows)) % np.uint64(self._features.views)
        return self._features.read(rows, views.astype(np.int64))


def open_features(
    dataset: Dataset,
    backbone_path: Path,
    folder: Path,
    views: int = 0,
    force: bool = False,
    quiet: bool = False,
    device: torch.device | str = "cpu",
) -> Mapping[str, FeatureSplit]:
    """The features of every split of a dataset, computed where no current file of them lies in `folder`.

    `dataclasses.replace(dataset, splits=open_features(...))` is the dataset with features for images: manifests and
    samplers draw the same episodes from it.

    Args:
        dataset: whose images.
        backbone_path: a file that `benchmarks.pretrain` left.
        folder: where such files lie.
        views: V, augmented versions of each training image, as the backbone's own training images were augmented.
        force: use a backbone that has seen classes the dataset holds out, or another version of the dataset.
        quiet: no progress bar.
        device: where the backbone runs.

    Raises:
        InputError: where the backbone cannot be read, is for other images, or has seen held-out classes; or the
            features cannot be written.
    """
    info = read_info(backbone_path)
    if views < 0:
        raise InputError(f"views is {views}; give 0 (plain features) or more augmented versions of each image")
    if views and info.augment == View(info.view.crop, info.view.crop, info.view.channels).augment(0, False, 0.0):
        raise InputError(
            f"views is {views}, but the backbone {backbone_path} was trained without augmentation, so that all views"
            " would be alike; give 0, or pre-train one with --training.pad, --training.flip or --training.jitter"
        )
    info.view.check(dataset)
    _refuse_leak(info, dataset, force)
    path = features_path(Path(folder), dataset, info, views)
    key = _key(dataset, info, views)
    splits = _current(path, key, dataset)
    if splits is None:
        net, _ = load_backbone(backbone_path, device)
        _compute(path, key, dataset, net, info, views, quiet)
        splits = _current(path, key, dataset)
        if splits is None:
            raise InputError(f"{path} was replaced by another process as it was written; run again")
    return splits


def features_path(folder: Path, dataset: Dataset, info: BackboneInfo, views: int) -> Path:
    """Where the features lie: the name tells datasets and backbones apart, the key inside their versions."""
    return folder / f"{dataset.name}-{info.backbone}-{info.sha256[:10]}-{views}views.h5"


def _refuse_leak(info: BackboneInfo, dataset: Dataset, force: bool) -> None:
    refuse_leak(info.dataset, dataset.name, force)
    if info.dataset == dataset.name and info.fingerprint != dataset.fingerprint and not force:
        raise InputError(
            f"the backbone was trained on another version of {dataset.name} (fingerprint {info.fingerprint[:12]}…, not"
            f" {dataset.fingerprint[:12]}…), which may split classes differently; pre-train again, or use --force"
        )


def _key(dataset: Dataset, info: BackboneInfo, views: int) -> str:
    identity = {
        "dataset": dataset.fingerprint,
        "weights": info.sha256,
        "backbone": info.backbone,
        "view": asdict(info.view),
        "augment": asdict(info.augment) if views else None,
        "views": views,
        "batch": BATCH if views else None,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _current(path: Path, key: str, dataset: Dataset) -> dict[str, FeatureSplit] | None:
    """The splits of a file, None where it is absent, damaged, or not what `key` says."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            if file.attrs["schema_version"] != SCHEMA_VERSION or file.attrs["key"] != key:
                return None
            splits = {name: FeatureSplit.index(path, name, file) for name in dataset.splits}
            written = file.attrs.get("fingerprint")
        if written is not None:  # files of before that are taken as they are
            check_once(path, str(written), lambda: _check(splits, str(written)))
        return splits
    except (OSError, KeyError, ValueError, TypeError, RuntimeError):
        return None


def _check(splits: Mapping[str, FeatureSplit], written: str) -> None:
    if fingerprint(splits) != written:
        raise ValueError("the features are not as they were written")


def _compute(
    path: Path, key: str, dataset: Dataset, net: FeatureNet, info: BackboneInfo, views: int, quiet: bool
) -> None:
    """Write the features of every split to `path`."""
    versions = {name: 1 + (views if name == AUGMENTED_SPLIT else 0) for name in dataset.splits}
    total = sum(split.shape[0] * versions[name] for name, split in dataset.splits.items())
    with replacing(path) as temporary, progress(quiet) as bar:
        task = bar.add_task(f"{info.backbone} features of {dataset.name}", total=total, note="")
        with h5py.File(temporary, "w", libver="v110", locking=False) as file:
            file.attrs.update(schema_version=SCHEMA_VERSION, key=key)
            for name, split in dataset.splits.items():
                shape = (split.shape[0], versions[name], net.features)
                stored = _create(file, split, shape)
                for version in range(versions[name]):
                    for rows, values in extract(net, info, split, version):
                        stored[rows, version] = values.numpy()
                        bar.update(task, advance=len(values))
        with h5py.File(temporary, "r+", locking=False) as file:
            written = {name: FeatureSplit.index(temporary, name, file) for name in dataset.splits}
            file.attrs["fingerprint"] = fingerprint(written)


def extract(net: FeatureNet, info: BackboneInfo, split: Split, version: int) -> Iterator[tuple[slice, Tensor]]:
    """Features of all images of a split, batch by batch.

    Args:
        net: the backbone, frozen, in eval mode.
        info: what it must be fed.
        split: the images.
        version: 0 for the plain images, else the number of an augmented version.

    Yields:
        Rows of the split, and their features, float32 [m, D] on the CPU.
    """
    device = next(net.parameters()).device
    for start in range(0, split.shape[0], BATCH):
        rows = np.arange(start, min(start + BATCH, split.shape[0]))
        images = read_images(split, rows, device)
        if version:
            generator = torch.Generator().manual_seed(derive(0, "features", split.name, version, start))
            images = info.augment(images, generator)
        with torch.inference_mode():
            yield slice(start, start + len(rows)), net(info.view(images)).float().cpu()


def _create(file: h5py.File, split: Split, shape: tuple[int, ...]) -> Any:
    group = file.create_group(split.name)
    group.create_dataset("class_offsets", data=split.class_offsets)
    group.create_dataset("class_names", data=split.class_names, dtype=h5py.string_dtype())
    group.create_dataset("file_names", data=split.file_names(), dtype=h5py.string_dtype())
    return create_contiguous(group, FeatureSplit.array, shape, np.float32)
