"""Manifests: fixed lists of episodes, so that every method, seed and machine is tested on the same images."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.data.episodes import EpisodeSampler, whole_number
from fewshot.data.store import Dataset
from fewshot.errors import InputError
from fewshot.files import write_text


@dataclass(frozen=True)
class Manifest:
    """Episodes 0 to count - 1 of one sampler on one dataset: these eight values determine every image.

    Raises:
        InputError: where `count` is not a whole number of at least 1. The other values are checked against a dataset,
            by `sampler`.
    """

    dataset: str
    """Name of the dataset."""
    fingerprint: str
    """Of the dataset: SHA-256 over its images and class offsets."""
    split: str
    way: int
    shot: int
    query: int
    """Query images a class."""
    seed: int
    count: int
    """Number of episodes."""

    def __post_init__(self) -> None:
        whole_number("number of episodes", self.count, 1)

    def sampler(self, dataset: Dataset) -> EpisodeSampler:
        """The sampler whose first `count` episodes are meant.

        Raises:
            InputError: where `dataset` is another one, or its split is too small.
        """
        if dataset.fingerprint != self.fingerprint:
            raise InputError(
                f"the manifest is for {self.dataset!r} with fingerprint {self.fingerprint[:12]}…, but {dataset.path} "
                f"has {dataset.fingerprint[:12]}…; use the dataset file that it was made from"
            )
        return EpisodeSampler(dataset[self.split], self.way, self.shot, self.query, self.seed)

    def sha256(self, dataset: Dataset) -> str:
        """Hash of the eight values and of every image row of every episode, as 64 hexadecimal digits."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode() + b"\n")
        sampler = self.sampler(dataset)
        for index in range(self.count):
            digest.update(sampler.indices(index)[1].astype("<i8").tobytes())
        return digest.hexdigest()

    def export(self, path: Path, dataset: Dataset) -> None:
        """Write JSON with the eight values, the hash, and for each episode its class names and file names.

        Raises:
            InputError: where `dataset` is another one, or `path` cannot be written.
        """
        write_text(path, json.dumps(self._document(dataset), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path, dataset: Dataset) -> Manifest:
        """Read an exported manifest and draw its episodes again.

        Raises:
            InputError: where the file is not a manifest, is for another dataset, or lists other images than `dataset`
                gives for its values.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
            manifest = cls(**document["manifest"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} is not an exported manifest ({error}); export it again") from error
        if document != manifest._document(dataset):
            raise InputError(f"{path} lists other episodes than {dataset.path} gives; export it again")
        return manifest

    def _document(self, dataset: Dataset) -> dict[str, Any]:
        sampler = self.sampler(dataset)
        class_names = np.array(sampler.split.class_names, dtype=object)
        file_names = np.array(sampler.split.file_names(), dtype=object)
        episodes = []
        for index in range(self.count):
            classes, rows = sampler.indices(index)
            support, query = np.split(file_names[rows], [self.shot], axis=1)
            episodes.append(
                {"classes": class_names[classes].tolist(), "support": support.tolist(), "query": query.tolist()}
            )
        return {"manifest": asdict(self), "sha256": self.sha256(dataset), "episodes": episodes}
