"""CIFAR-10, CIFAR-100, CIFAR-FS and FC100 from each form, small but byte-true."""

import pickle

import numpy as np
import pytest
from miniature import encoded, pictures, python2_pickle, shrink, tar_bytes, write_files, write_zip

from data_prep import cifar10, cifar100, cifar_fs
from fewshot.data.catalog import class_lists
from fewshot.data.store import Dataset
from fewshot.errors import InputError

SPLITS = {"train": ("apple", "bear"), "val": ("beaver",), "test": ("whale",)}
NAMES = sorted(name for names in SPLITS.values() for name in names)
EACH = {"train": 5, "test": 2}  # images of each class in CIFAR-100's own splits


def batch(labels, seed, labels_key):
    """One of Krizhevsky's batches: pixels as red, green and blue planes, everything else as Python 2 wrote it."""
    images = pictures(len(labels), size=32, seed=seed)
    # Names whose order is neither that of the rows nor that of their letters.
    names = [f"{NAMES[label]}_s_{(seed + 1) * 970 - 13 * row}.png" for row, label in enumerate(labels)]
    content = {
        "data": images.transpose(0, 3, 1, 2).reshape(len(images), -1),
        labels_key: list(labels),
        "filenames": names,
        "batch_label": "batch 1 of 1",
    }
    return content, {(NAMES[label], name): image for label, name, image in zip(labels, names, images, strict=True)}


@pytest.fixture(scope="module")
def cifar():
    """The members of the archive, and {(published split, class, file): pixels}."""
    members, truth = {}, {}
    for seed, (split, each) in enumerate(EACH.items()):
        labels = np.random.Generator(np.random.Philox(seed)).permutation(np.repeat(range(len(NAMES)), each)).tolist()
        content, images = batch(labels, seed, "fine_labels")
        members[f"cifar-100-python/{split}"] = python2_pickle(content)
        truth.update({(split, *key): image for key, image in images.items()})
    members["cifar-100-python/meta"] = python2_pickle({"fine_label_names": NAMES, "coarse_label_names": ["all"]})
    return members, truth


def number(name):
    return int(name.rpartition("_")[2].removesuffix(".png"))


def of_class(truth, wanted):
    """A class's images from both published splits, by file name."""
    images = {file: image for (_, label, file), image in truth.items() if label == wanted}
    return np.stack([images[file] for file in sorted(images, key=number)])


def write_archive(folder, cifar):
    return write_files(folder, {"cifar-100-python.tar.gz": tar_bytes(cifar[0], "w:gz")}) / "cifar-100-python.tar.gz"


def write_unpacked(folder, cifar):
    return write_files(folder, cifar[0])


def write_archive_beside_its_content(folder, cifar):
    write_archive(folder, cifar)
    return write_unpacked(folder, cifar)


def write_bertinetto(folder, cifar):
    files = {f"cifar100/data/{label}/{file}": encoded(image) for (_, label, file), image in cifar[1].items()}
    lists = {"cifar100/splits/bertinetto/train.txt": b"apple\nbear\n"}
    return write_zip(folder / "cifar100.zip", files | lists)


@pytest.fixture
def small(monkeypatch):
    each = sum(EACH.values())
    shrink(monkeypatch, "cifar_fs", {split: dict.fromkeys(names, each) for split, names in SPLITS.items()})


@pytest.mark.usefixtures("small")
def test_every_form_of_cifar_fs_gives_the_same_pixels_and_fingerprint(tmp_path, cifar):
    fingerprints = set()
    for write in (write_archive, write_unpacked, write_archive_beside_its_content, write_bertinetto):
        out = tmp_path / write.__name__
        cifar_fs.main(["--from", str(write(out / "from", cifar)), "--out", str(out), "--quiet"])
        dataset = Dataset.open(out / "cifar_fs.h5")
        for split, names in SPLITS.items():
            assert dataset[split].class_names == list(names)
            expected = np.concatenate([of_class(cifar[1], name) for name in names])
            np.testing.assert_array_equal(dataset[split].images, expected)
        fingerprints.add(dataset.fingerprint)
    assert len(fingerprints) == 1


@pytest.mark.usefixtures("small")
def test_labelled_pickles_of_metaoptnet_are_read(tmp_path, cifar):
    first = 0
    for split, names in SPLITS.items():
        images = [of_class(cifar[1], name) for name in names]
        labels = [first + label for label, own in enumerate(images) for _ in own]
        content = {"data": np.concatenate(images), "labels": labels}
        write_files(tmp_path / "from", {f"CIFAR_FS_{split}.pickle": pickle.dumps(content, protocol=2)})
        first += len(names)
    cifar_fs.main(["--from", str(tmp_path / "from"), "--out", str(tmp_path), "--quiet"])
    dataset = Dataset.open(tmp_path / "cifar_fs.h5")
    np.testing.assert_array_equal(dataset["val"].images, of_class(cifar[1], "beaver"))
    assert dataset["train"].class_names == ["class 000", "class 001"]
    assert dataset["test"].class_names == ["class 003"]


def test_fc100_divides_by_superclass(monkeypatch, tmp_path, cifar):
    divided = {"train": {"apple": 7, "whale": 7}, "val": {"bear": 7}, "test": {"beaver": 7}}
    shrink(monkeypatch, "fc100", divided)
    arguments = ["--split", "fc100", "--from", str(write_archive(tmp_path, cifar)), "--out", str(tmp_path), "--quiet"]
    cifar_fs.main(arguments)
    dataset = Dataset.open(tmp_path / "fc100.h5")
    assert dataset["train"].class_names == ["apple", "whale"]
    np.testing.assert_array_equal(dataset["test"].images, of_class(cifar[1], "beaver"))


def test_cifar100_keeps_its_own_splits(monkeypatch, tmp_path, cifar):
    shrink(monkeypatch, "cifar100", {split: dict.fromkeys(NAMES, each) for split, each in EACH.items()})
    cifar100.main(["--from", str(write_archive(tmp_path, cifar)), "--out", str(tmp_path), "--quiet"])
    dataset = Dataset.open(tmp_path / "cifar100.h5")
    for split, each in EACH.items():
        own = {key: image for key, image in cifar[1].items() if key[0] == split}
        assert dataset[split].class_names == NAMES
        assert set(dataset[split].class_sizes) == {each}
        np.testing.assert_array_equal(dataset[split].images, np.concatenate([of_class(own, name) for name in NAMES]))


@pytest.fixture
def small_cifar10(monkeypatch):
    shrink(monkeypatch, "cifar10", {"train": dict.fromkeys(NAMES, 5), "test": dict.fromkeys(NAMES, 1)})


@pytest.mark.usefixtures("small_cifar10")
def test_cifar10_from_batches_and_from_folders_is_the_same(tmp_path):
    members, files = {}, {}
    for seed in range(6):
        name = "test_batch" if seed == 5 else f"data_batch_{seed + 1}"
        content, images = batch(range(len(NAMES)), seed, "labels")
        members[f"cifar-10-batches-py/{name}"] = python2_pickle(content)
        split = "test" if seed == 5 else "train"
        files.update({f"{split}/{label}/{file}": encoded(image) for (label, file), image in images.items()})
    members["cifar-10-batches-py/batches.meta"] = python2_pickle({"label_names": NAMES})
    archive = write_files(tmp_path, {"cifar-10-python.tar.gz": tar_bytes(members, "w:gz")}) / "cifar-10-python.tar.gz"
    folders = write_zip(tmp_path / "cifar10.zip", files)
    fingerprints = set()
    for source in (archive, folders):
        cifar10.main(["--from", str(source), "--out", str(tmp_path), "--quiet", "--force"])
        fingerprints.add(Dataset.open(tmp_path / "cifar10.h5").fingerprint)
    assert len(fingerprints) == 1


@pytest.mark.usefixtures("small_cifar10")
def test_jpeg_images_are_said_to_be_lossy(tmp_path, capsys):
    sizes = {"train": 5, "test": 1}
    files = {
        f"{split}/{name}/{row}.jpg": encoded(pictures(1, 32, seed)[0], "JPEG")
        for seed, (split, name, row) in enumerate(
            (s, n, r) for s, each in sizes.items() for n in NAMES for r in range(each)
        )
    }
    cifar10.main(["--from", str(write_files(tmp_path / "from", files)), "--out", str(tmp_path), "--quiet"])
    assert "not the published pixels" in capsys.readouterr().out
    assert Dataset.open(tmp_path / "cifar10.h5").pixels == "re-encoded"


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("meta", None, "has no meta"),
        ("test", None, "has no test"),
        ("train", lambda c: c["fine_labels"].pop(), "labels in train do not fit"),
        ("train", lambda c: c["fine_labels"].__setitem__(0, 99), "labels in train do not fit"),
        ("train", lambda c: c["fine_labels"].__setitem__(0, "apple"), "labels in train are no list"),
        ("train", lambda c: c.update(data=c["data"][:, :-1]), "train has no uint8"),
        ("test", lambda c: c.update(data=c["data"][:1], fine_labels=[0], filenames=["x"]), "images of class"),
    ],
)
def test_archives_of_another_content_are_refused(file, change, message, tmp_path, cifar):
    folder = write_unpacked(tmp_path / "from", cifar)
    path = folder / "cifar-100-python" / file
    if change is None:
        path.unlink()
    else:
        content = pickle.loads(path.read_bytes(), encoding="latin1")
        change(content)
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(InputError, match=message):
        cifar_fs.main(["--from", str(folder), "--out", str(tmp_path), "--quiet"])
    assert not list(tmp_path.glob("*.h5"))


def test_the_superclasses_of_fc100_are_whole():
    lists = class_lists("fc100")
    assert [len(lists[split]) for split in ("train", "val", "test")] == [60, 20, 20]
    assert {"baby", "boy", "girl", "man", "woman"} <= set(lists["test"])
