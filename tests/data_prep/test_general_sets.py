"""MNIST, Fashion-MNIST and Tiny ImageNet, small but byte-true."""

import gzip
import struct

import numpy as np
import pytest
from miniature import decoded, encoded, pictures, shrink, write_files, write_zip

from data_prep import fashion_mnist, mnist, tiny_imagenet
from fewshot.data.store import Dataset
from fewshot.errors import InputError

SIZES = {"train": 30, "t10k": 12}


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def digits(monkeypatch):
    """{name: IDX bytes} of four files, and {part: (images, labels)}."""
    truth, files = {}, {}
    for seed, (part, count) in enumerate(SIZES.items()):
        images = pictures(count, 28, seed)[..., 0].copy()
        labels = np.random.Generator(np.random.Philox(seed)).permutation(np.arange(count) % 10).astype(np.uint8)
        truth[part] = images, labels
        files |= {f"{part}-images-idx3-ubyte": idx(images), f"{part}-labels-idx1-ubyte": idx(labels)}
    for name in ("mnist", "fashion_mnist"):
        sizes = {
            split: {str(c): int((truth[part][1] == c).sum()) for c in range(10)}
            for split, part in (("train", "train"), ("test", "t10k"))
        }
        shrink(monkeypatch, name, sizes)
    return files, truth


@pytest.mark.parametrize(("module", "name"), [(mnist, "mnist"), (fashion_mnist, "fashion_mnist")])
def test_idx_files_are_sorted_by_class(module, name, tmp_path, digits):
    files, truth = digits
    compressed = {f"{file}.gz": gzip.compress(data) for file, data in files.items()}
    fingerprints = set()
    for number, content in enumerate((files, compressed)):
        folder = write_files(tmp_path / str(number), content)
        module.main(["--from", str(folder), "--out", str(folder), "--quiet"])
        dataset = Dataset.open(folder / f"{name}.h5")
        for split, part in (("train", "train"), ("test", "t10k")):
            images, labels = truth[part]
            np.testing.assert_array_equal(dataset[split].images[..., 0], images[np.argsort(labels, kind="stable")])
            assert list(dataset[split].class_sizes) == list(np.bincount(labels))
        fingerprints.add(dataset.fingerprint)
    assert len(fingerprints) == 1
    names = dataset["train"].class_names
    assert names == (list("0123456789") if name == "mnist" else [*names[:2], "pullover", *names[3:]])


def test_a_missing_file_and_files_that_do_not_fit_are_named(tmp_path, digits):
    folder = write_files(tmp_path / "from", digits[0])
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(11, np.uint8)))
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte has 12 images and t10k-labels-idx1-ubyte 11 labels"):
        mnist.main(["--from", str(folder), "--out", str(tmp_path)])
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match="no labels of the test split"):
        mnist.main(["--from", str(folder), "--out", str(tmp_path)])


WNIDS = ("n01443537", "n01629819")


def tiny_files():
    train = {
        f"train/{wnid}/images/{wnid}_{row}.JPEG": encoded(image, "JPEG")
        for seed, wnid in enumerate(WNIDS)
        for row, image in enumerate(pictures(12, 64, seed))
    }
    val = {f"val_{row}.JPEG": (WNIDS[row % 2], encoded(image, "JPEG")) for row, image in enumerate(pictures(4, 64, 9))}
    return train, val


def test_tiny_imagenet_is_the_same_flat_and_sorted(monkeypatch, tmp_path):
    shrink(monkeypatch, "tiny_imagenet", {"train": dict.fromkeys(WNIDS, 12), "test": dict.fromkeys(WNIDS, 2)})
    train, val = tiny_files()
    lines = [f"{name}\t{wnid}\t0\t0\t62\t57" for name, (wnid, _) in val.items()]
    flat = train | {f"val/images/{name}": data for name, (_, data) in val.items()}
    flat |= {"val/val_annotations.txt": "\n".join(lines).encode(), "test/images/test_0.JPEG": b"not read"}
    ordered = train | {f"val/{wnid}/images/{name}": data for name, (wnid, data) in val.items()}
    archive = write_zip(tmp_path / "tiny.zip", {f"tiny-imagenet-200/{name}": data for name, data in flat.items()})
    fingerprints = set()
    for source in (archive, write_files(tmp_path / "sorted", ordered)):
        tiny_imagenet.main(["--from", str(source), "--out", str(tmp_path), "--quiet", "--force"])
        dataset = Dataset.open(tmp_path / "tiny_imagenet.h5")
        fingerprints.add(dataset.fingerprint)
        expected = [decoded(data) for wanted in WNIDS for wnid, data in val.values() if wnid == wanted]
        np.testing.assert_array_equal(dataset["test"].images, expected)
        # 2 comes before 10
        np.testing.assert_array_equal(
            dataset["train"].images[2], decoded(train[f"train/{WNIDS[0]}/images/{WNIDS[0]}_2.JPEG"])
        )
    assert len(fingerprints) == 1


def test_tiny_imagenet_without_annotations_is_refused(monkeypatch, tmp_path):
    train, val = tiny_files()
    files = train | {f"val/images/{name}": data for name, (_, data) in val.items()}
    with pytest.raises(InputError, match="no images in val/ with their classes"):
        tiny_imagenet.main(["--from", str(write_files(tmp_path / "from", files)), "--out", str(tmp_path)])
