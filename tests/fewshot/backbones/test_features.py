"""The feature cache: what it holds, and when it is made again."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from fewshot.backbones import features as cache
from fewshot.backbones.features import AugmentedSampler, features_path, open_features
from fewshot.backbones.file import BackboneInfo, load_backbone, read_info, save_backbone
from fewshot.backbones.view import View, read_images
from fewshot.data.augment import Augment
from fewshot.data.episodes import EpisodeSampler
from fewshot.data.manifest import Manifest
from fewshot.data.store import Dataset, writing
from fewshot.errors import InputError
from fewshot.nets.backbone import build_backbone

SIZE = 16


def write_dataset(path, seed=0, name="tiny", size=SIZE):
    generator = np.random.Generator(np.random.Philox(seed))
    with writing(path, name, [], "none") as writer:
        for split, classes in (("train", 6), ("val", 3), ("test", 4)):
            writer.add_split(split, {f"{split}{c}": 25 + c for c in range(classes)}, (size, size, 3))
            count = sum(25 + c for c in range(classes))
            images = generator.integers(0, 256, (count, size, size, 3)).astype(np.uint8)
            writer.write(split, 0, images, [f"{split}/{i}" for i in range(count)])
    return Dataset.open(path)


def write_backbone(path, dataset, seed=0, pad=2, name=None):
    view = View.of(dataset)
    augment = view.augment(pad, flip=True, jitter=0.4) if pad else view.augment(0, flip=False, jitter=0.0)
    net = build_backbone("conv4_64", 3, SIZE, torch.Generator().manual_seed(seed))
    info = BackboneInfo("conv4_64", name or dataset.name, dataset.fingerprint, view, augment, "test")
    return save_backbone(path, net.state_dict(), info)


@pytest.fixture
def dataset(tmp_path):
    return write_dataset(tmp_path / "tiny.h5")


@pytest.fixture
def backbone(tmp_path, dataset):
    path = tmp_path / "backbone.safetensors"
    write_backbone(path, dataset)
    return path


@pytest.fixture
def computed(monkeypatch):
    """Counts how often features are computed."""
    calls, compute = [], cache._compute
    monkeypatch.setattr(cache, "_compute", lambda *a, **k: (calls.append(1), compute(*a, **k))[1])
    return calls


def opened(dataset, backbone, tmp_path, **options):
    return open_features(dataset, backbone, tmp_path / "features", quiet=True, **options)


def test_features_are_those_of_the_frozen_network(dataset, backbone, tmp_path):
    splits = opened(dataset, backbone, tmp_path)
    net, info = load_backbone(backbone)
    assert not net.training
    for name, split in dataset.splits.items():
        rows = np.array([0, 3, split.shape[0] - 1])
        with torch.no_grad():
            expected = net(info.view(read_images(split, rows, "cpu"))).numpy()
        np.testing.assert_allclose(splits[name].read(rows), expected, rtol=1e-4, atol=1e-5)
        assert splits[name].class_names == split.class_names
        assert splits[name].features == 64
        assert splits[name].views == 0


def test_episodes_of_features_are_the_episodes_of_images(dataset, backbone, tmp_path):
    splits = opened(dataset, backbone, tmp_path, views=2)
    with_features = replace(dataset, splits=splits)
    manifest = Manifest(dataset.name, dataset.fingerprint, "test", 3, 2, 4, 0, 5)
    assert manifest.sha256(dataset) == manifest.sha256(with_features)
    for sampler in (EpisodeSampler, AugmentedSampler):
        images, features = EpisodeSampler(dataset["train"], 3, 2, 4, 7)[1], sampler(splits["train"], 3, 2, 4, 7)[1]
        assert (images.query_index == features.query_index).all()
        assert torch.equal(images.query_y, features.query_y)
        assert features.query_x.shape == (12, 64)


def test_augmented_versions_are_drawn_evenly_and_repeatably(dataset, backbone, tmp_path):
    split = opened(dataset, backbone, tmp_path, views=3)["train"]
    rows = np.arange(split.shape[0])
    versions = np.stack([split.read(rows, np.full_like(rows, v)) for v in range(4)])
    assert all(np.abs(versions[a] - versions[b]).max() > 1e-3 for a in range(4) for b in range(a))
    sampler, seen = AugmentedSampler(split, 3, 2, 4, 7), np.zeros(4)
    for index in range(40):
        episode = sampler[index]
        gaps = np.abs(versions[:, episode.query_index] - episode.query_x.numpy()).max(axis=2)
        assert (gaps.min(axis=0) == 0).all()
        seen += np.bincount(gaps.argmin(axis=0), minlength=4)
    assert seen[0] == 0
    assert (seen[1:] > 0.25 * seen.sum()).all()
    assert torch.equal(sampler[3].support_x, AugmentedSampler(split, 3, 2, 4, 7)[3].support_x)


def test_a_current_file_is_used_again(dataset, backbone, tmp_path, computed):
    for _ in range(2):
        opened(dataset, backbone, tmp_path)
    assert len(computed) == 1
    opened(dataset, backbone, tmp_path, views=1)
    assert len(computed) == 2


@pytest.mark.parametrize("damage", ["key", "foreign", "cut", "garbage", "schema"])
def test_a_stale_or_foreign_file_is_made_again(dataset, backbone, tmp_path, computed, damage):
    good = opened(dataset, backbone, tmp_path)["test"].read(np.arange(5))
    path = features_path(tmp_path / "features", dataset, read_info(backbone), 0)
    if damage == "garbage":
        path.write_bytes(b"no HDF5" * 99)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:3000])
    elif damage == "foreign":  # a whole, consistent file of another dataset, under this one's name
        other = write_dataset(tmp_path / "other.h5", seed=1)
        write_backbone(tmp_path / "other.safetensors", other)
        opened(other, tmp_path / "other.safetensors", tmp_path / "other")
        (foreign,) = (tmp_path / "other" / "features").glob("*.h5")
        path.write_bytes(foreign.read_bytes())
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["key" if damage == "key" else "schema_version"] = "0" * 64 if damage == "key" else 99
            file["test/features"][...] = 0
    before = len(computed)
    assert np.array_equal(opened(dataset, backbone, tmp_path)["test"].read(np.arange(5)), good)
    assert len(computed) == before + 1


def test_other_images_or_weights_mean_other_features(dataset, backbone, tmp_path, computed):
    first = opened(dataset, backbone, tmp_path)["test"].read(np.arange(5))
    write_backbone(backbone, dataset, seed=1)
    second = opened(dataset, backbone, tmp_path)["test"].read(np.arange(5))
    changed = write_dataset(tmp_path / "tiny2.h5", seed=2)
    third = opened(changed, backbone, tmp_path, force=True)["test"].read(np.arange(5))
    assert len(computed) == 3
    assert np.abs(first - second).max() > 1e-3
    assert np.abs(second - third).max() > 1e-3


def test_a_backbone_for_other_images_is_refused(backbone, tmp_path):
    other = write_dataset(tmp_path / "large.h5", size=20)
    with pytest.raises(InputError, match="trained on images of 16×16 in 3 channels, those of tiny are 20×20"):
        opened(other, backbone, tmp_path)


def test_a_backbone_that_saw_held_out_classes_is_refused_unless_forced(tmp_path):
    dataset = write_dataset(tmp_path / "mini.h5", name="mini_imagenet")
    write_backbone(tmp_path / "b.safetensors", replace(dataset, name="other"), name="tiered_imagenet")
    with pytest.raises(InputError, match=r"trained on tiered_imagenet has seen .* test classes of mini_imagenet"):
        opened(dataset, tmp_path / "b.safetensors", tmp_path)
    assert not (tmp_path / "features").exists()
    opened(dataset, tmp_path / "b.safetensors", tmp_path, force=True)


def test_views_of_a_backbone_without_augmentation_are_refused(dataset, tmp_path):
    path = tmp_path / "plain.safetensors"
    write_backbone(path, dataset, pad=0)
    assert isinstance(read_info(path).augment, Augment)
    with pytest.raises(InputError, match="without augmentation"):
        opened(dataset, path, tmp_path, views=2)
    with pytest.raises(InputError, match="views is -1"):
        opened(dataset, path, tmp_path, views=-1)


def test_augmented_episodes_need_augmented_versions(dataset, backbone, tmp_path):
    with pytest.raises(InputError, match="no augmented features of split 'train'"):
        AugmentedSampler(opened(dataset, backbone, tmp_path)["train"], 3, 1, 2)


def test_a_damaged_file_is_made_again(dataset, backbone, tmp_path, computed):
    (split, *_) = opened(dataset, backbone, tmp_path).values()
    opened(dataset, backbone, tmp_path)
    assert len(computed) == 1
    before = split.read(np.array([0]))
    with open(split.path, "r+b") as file:
        file.seek(split.byte_offset)
        file.write(b"\x7f\x7f\x7f\x7f")
    (again, *_) = opened(dataset, backbone, tmp_path).values()
    assert len(computed) == 2
    np.testing.assert_array_equal(again.read(np.array([0])), before)
