"""Manifests: one hash everywhere, honest exports, refusal of anything else."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fewshot.data.manifest import Manifest
from fewshot.data.store import Dataset
from fewshot.errors import InputError

PINNED_FINGERPRINT = "bb9830e3bcf67ca0c27f3fe3426976033e40c431ef4b3247810d10de4564845a"
PINNED_SHA256 = "f9081df5261d95f7f61b790ef551229bde6ba328322261f9c93c95dfecbebfb8"


@pytest.fixture
def manifest(tiny: Dataset) -> Manifest:
    return Manifest(tiny.name, tiny.fingerprint, "test", way=5, shot=1, query=15, seed=0, count=20)


def test_hash_is_the_same_on_every_machine(tiny: Dataset, manifest: Manifest) -> None:
    assert tiny.fingerprint == PINNED_FINGERPRINT
    assert manifest.sha256(tiny) == PINNED_SHA256


def test_hash_is_the_same_in_another_process(tiny: Dataset, manifest: Manifest) -> None:
    program = (
        "import sys, json; from fewshot.data.manifest import Manifest; from fewshot.data.store import Dataset\n"
        "print(Manifest(**json.loads(sys.argv[1])).sha256(Dataset.open(sys.argv[2])))"
    )
    arguments = [sys.executable, "-c", program, json.dumps(asdict(manifest)), str(tiny.path)]
    found = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()
    assert found == manifest.sha256(tiny)


@pytest.mark.parametrize(
    "change", [{"split": "val"}, {"way": 4}, {"shot": 2}, {"query": 14}, {"seed": 1}, {"count": 21}]
)
def test_every_value_changes_the_hash(tiny: Dataset, manifest: Manifest, change: dict[str, int]) -> None:
    assert replace(manifest, **change).sha256(tiny) != manifest.sha256(tiny)


def test_six_hundred_episodes_hash_quickly(tiny: Dataset, manifest: Manifest) -> None:
    started = time.process_time()
    replace(manifest, count=600).sha256(tiny)
    assert time.process_time() - started < 0.5


def test_export_names_the_files_that_the_sampler_gives(tiny: Dataset, manifest: Manifest, tmp_path: Path) -> None:
    manifest.export(tmp_path / "episodes.json", tiny)
    document = json.loads((tmp_path / "episodes.json").read_text())
    assert document["manifest"] == asdict(manifest)
    assert document["sha256"] == manifest.sha256(tiny)
    assert len(document["episodes"]) == manifest.count
    names, sampler = tiny["test"].file_names(), manifest.sampler(tiny)
    for index, listed in enumerate(document["episodes"]):
        episode = sampler[index]
        for part, rows in (("support", episode.support_index), ("query", episode.query_index)):
            shot_major = [name for shot in zip(*listed[part], strict=True) for name in shot]
            assert shot_major == [names[row] for row in rows]
        for name, files in zip(listed["classes"], listed["support"], strict=True):
            assert all(file.startswith(f"{name}/") for file in files)


def test_export_and_load_agree(tiny: Dataset, manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "episodes.json"
    manifest.export(path, tiny)
    assert Manifest.load(path, tiny) == manifest


@pytest.fixture
def exported(tiny: Dataset, manifest: Manifest, tmp_path: Path) -> Path:
    manifest.export(tmp_path / "episodes.json", tiny)
    return tmp_path / "episodes.json"


def test_another_dataset_is_refused(exported: Path, manifest: Manifest, write_tiny_file, tmp_path: Path) -> None:
    other = Dataset.open(write_tiny_file(tmp_path / "other.h5", shift=1))
    for use in (lambda: Manifest.load(exported, other), lambda: manifest.sampler(other)):
        with pytest.raises(InputError, match="the manifest is for 'tiny' with fingerprint"):
            use()


def test_an_edited_list_is_refused(exported: Path, tiny: Dataset) -> None:
    document = json.loads(exported.read_text())
    first = document["episodes"][0]["query"][0]
    first[0], first[1] = first[1], first[0]
    exported.write_text(json.dumps(document))
    with pytest.raises(InputError, match="lists other episodes than"):
        Manifest.load(exported, tiny)


def test_an_edited_value_is_refused(exported: Path, tiny: Dataset) -> None:
    document = json.loads(exported.read_text())
    document["manifest"]["seed"] = 1
    exported.write_text(json.dumps(document))
    with pytest.raises(InputError, match="lists other episodes than"):
        Manifest.load(exported, tiny)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"manifest": {}}', '{"manifest": {"way": 5, "shots": 1}}', '{"manifest": 3}']
)
def test_other_files_are_refused(tmp_path: Path, tiny: Dataset, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match="is not an exported manifest"):
        Manifest.load(tmp_path / "x.json", tiny)


def test_absent_and_binary_files_are_refused(tmp_path: Path, tiny: Dataset) -> None:
    for path in (tmp_path / "absent.json", tiny.path):
        with pytest.raises(InputError, match="is not an exported manifest"):
            Manifest.load(path, tiny)


def test_values_are_checked(tiny: Dataset, manifest: Manifest) -> None:
    with pytest.raises(InputError, match="number of episodes 0 is out of range"):
        replace(manifest, count=0)
    with pytest.raises(InputError, match="has no split 'tset'; it has: train, val, test"):
        replace(manifest, split="tset").sampler(tiny)
    with pytest.raises(InputError, match="way 7"):
        replace(manifest, way=7).sampler(tiny)


def test_a_refused_export_leaves_the_earlier_one(exported: Path, manifest: Manifest, tiny: Dataset) -> None:
    before = exported.read_bytes()
    with pytest.raises(InputError):
        replace(manifest, way=7).export(exported, tiny)
    assert exported.read_bytes() == before
    assert sorted(exported.parent.iterdir()) == sorted([exported, tiny.path])
