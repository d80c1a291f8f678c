"""Both forms of tieredImageNet, small but byte-true, end as the same pixels in the same rows."""

import pickle

import numpy as np
import pytest
from foreign import write_png_pickle
from miniature import encoded, pictures, python2_pickle, shrink, tar_bytes, write_files

from data_prep import tiered_imagenet
from fewshot.data.store import Dataset
from fewshot.errors import InputError

NAMES = {"train": ["tench, Tinca tinca", "crane", "crane"], "val": ["goose", "crab"], "test": ["ant", "lion"]}
LABELS = {"train": [2, 0, 1, 0, 2, 1, 1], "val": [0, 0, 1], "test": [1, 0, 1, 0]}


@pytest.fixture(scope="module")
def pixels():
    return {split: pictures(len(labels), seed=number) for number, (split, labels) in enumerate(LABELS.items())}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    sizes = {split: {f"{split}{c}": labels.count(c) for c in set(labels)} for split, labels in LABELS.items()}
    shrink(monkeypatch, "tiered_imagenet", sizes)


def write_pngs(folder, pixels, prefix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for split, labels in LABELS.items():
        content = {
            "label_specific": np.array(labels, np.int32),
            "label_general": np.zeros(len(labels), np.int32),
            "label_specific_str": NAMES[split],
            "label_general_str": ["animal"],
        }
        write_files(folder, {f"{prefix}{split}_labels.pkl": python2_pickle(content)})
        write_png_pickle(folder / f"{prefix}{split}_images_png.pkl", [encoded(image) for image in pixels[split]])
    return folder


def test_class_folders_for_each_split(tmp_path, monkeypatch):
    classes = {"train": ("n01530575", "n01531178"), "val": ("n01534433",), "test": ("n01537544",)}
    shrink(monkeypatch, "tiered_imagenet", {split: dict.fromkeys(wnids, 2) for split, wnids in classes.items()})
    images = iter(pictures(8, seed=9))
    wnids = [(split, wnid) for split, own in classes.items() for wnid in own]
    files = {f"{split}/{wnid}/{row}.jpg": encoded(next(images)) for split, wnid in wnids for row in range(2)}
    folder = write_files(tmp_path / "from", files)
    tiered_imagenet.main(["--from", str(folder), "--data", str(tmp_path), "--quiet"])
    dataset = Dataset.open(tmp_path / "tiered_imagenet.h5")
    assert {name: tuple(split.class_names) for name, split in dataset.splits.items()} == classes


def write_pngs_of_learn2learn(folder, pixels):
    return write_pngs(folder, pixels, "tiered-imagenet-")


def write_tar(folder, pixels):
    files = {f"tiered-imagenet/{f.name}": f.read_bytes() for f in write_pngs(folder / "inner", pixels).iterdir()}
    return write_files(folder / "outer", {"tiered-imagenet.tar": tar_bytes(files)})


def write_npz(folder, pixels, compressed=False):
    folder.mkdir()
    first = 0
    for split, labels in LABELS.items():
        save = np.savez_compressed if compressed else np.savez
        save(folder / f"{split}_images.npz", images=pixels[split][..., ::-1])
        content = {"labels": [first + label for label in labels]}
        write_files(folder, {f"{split}_labels.pkl": pickle.dumps(content, protocol=2)})
        first += len(NAMES[split])
    return folder


def write_compressed_npz(folder, pixels):
    return write_npz(folder, pixels, compressed=True)


def prepare(source, out):
    tiered_imagenet.main(["--from", str(source), "--out", str(out), "--quiet"])
    return Dataset.open(out / "tiered_imagenet.h5")


@pytest.fixture(scope="module")
def fingerprints():
    return set()


@pytest.mark.parametrize("write", [write_pngs, write_pngs_of_learn2learn, write_tar, write_npz, write_compressed_npz])
def test_every_form_gives_the_same_pixels_and_fingerprint(write, tmp_path, pixels, fingerprints, capsys):
    dataset = prepare(write(tmp_path / "from", pixels), tmp_path / "out")
    for split, labels in LABELS.items():
        np.testing.assert_array_equal(dataset[split].images, pixels[split][np.argsort(labels, kind="stable")])
        assert list(dataset[split].class_sizes) == list(np.bincount(labels))
    fingerprints.add(dataset.fingerprint)
    assert len(fingerprints) == 1
    assert ("blue before green" in capsys.readouterr().out) == ("npz" in write.__name__)


def test_classes_have_their_names_and_two_of_one_name_stay_two(tmp_path, pixels):
    dataset = prepare(write_pngs(tmp_path / "from", pixels), tmp_path / "out")
    assert dataset["train"].class_names == ["tench, Tinca tinca", "crane 001", "crane 002"]
    assert dataset["val"].class_names == NAMES["val"]
    assert dataset["val"].file_names() == [f"val_images_png.pkl[{row}]" for row in range(3)]


@pytest.mark.parametrize("off", [-1, 1])
@pytest.mark.parametrize("write", [write_pngs, write_npz])
def test_images_without_labels_and_labels_without_images_are_refused(write, off, tmp_path, pixels):
    labels = [*LABELS["val"], 1][: len(LABELS["val"]) + off]
    shortened = {**pixels, "val": pictures(len(LABELS["val"]) - off, seed=1)}
    folder = write(tmp_path / "from", shortened)
    assert len(labels) != len(shortened["val"])
    with pytest.raises(InputError, match=r"val_images\S* has [24] images for 3 labels"):
        prepare(folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.h5"))


def test_a_corrupt_png_in_the_middle_is_named(tmp_path, pixels):
    folder = write_pngs(tmp_path / "from", pixels)
    pngs = [encoded(image) for image in pixels["test"]]
    pngs[2] = pngs[2][:60] + b"damage" + pngs[2][66:]
    write_png_pickle(folder / "test_images_png.pkl", pngs)
    with pytest.raises(InputError, match=r"test_images_png.pkl\[2\] is a damaged image"):
        prepare(folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.h5"))


def test_absent_labels_are_asked_for(tmp_path, pixels):
    folder = write_pngs(tmp_path / "from", pixels)
    for file in folder.glob("*_labels.pkl"):
        file.unlink()
    with pytest.raises(InputError, match=r"no \{train,val,test\}_labels.pkl"):
        prepare(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"class": [0, 1, 2]}, "neither 'label_specific' nor 'labels'"),
        ({"labels": ["a", "b"]}, "no list of whole numbers"),
        ([1], "not a dictionary"),
    ],
)
def test_labels_of_another_content_are_refused(content, message, tmp_path, pixels):
    folder = write_pngs(tmp_path / "from", pixels)
    (folder / "train_labels.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=message):
        prepare(folder, tmp_path / "out")


def test_the_wrong_array_in_an_npz_is_named(tmp_path, pixels):
    folder = write_npz(tmp_path / "from", pixels)
    np.savez(folder / "val_images.npz", pictures=pixels["val"])
    with pytest.raises(InputError, match="no array 'images', only: pictures"):
        prepare(folder, tmp_path / "out")
