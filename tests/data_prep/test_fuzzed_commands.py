"""Whatever lies under the right names, a command ends well or with the documented error."""

import contextlib
import pickle
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from miniature import encoded, pictures, tar_bytes, write_files, write_zip

from data_prep import (
    cifar10,
    cifar_fs,
    fashion_mnist,
    image_folder,
    imdb,
    mini_imagenet,
    omniglot,
    tiered_imagenet,
    tiny_imagenet,
)
from fewshot.data.store import Dataset
from fewshot.errors import InputError

FILES = {
    mini_imagenet: [
        ("mini-imagenet-cache-train.pkl", "mini-imagenet-cache-val.pkl", "mini-imagenet-cache-test.pkl"),
        tuple(f"miniImageNet_category_split_{part}.pickle" for part in ("train_phase_train", "val", "test")),
        ("train_data.hdf5", "val_data.hdf5", "test_data.hdf5"),
        ("images/n0153282900000005.jpg", "train.csv", "n01532829.tar"),
    ],
    tiered_imagenet: [
        tuple(f"{split}_{kind}.pkl" for split in ("train", "val", "test") for kind in ("images_png", "labels")),
        tuple(f"{split}_{kind}" for split in ("train", "val", "test") for kind in ("images.npz", "labels.pkl")),
    ],
    cifar_fs: [("cifar-100-python/train", "cifar-100-python/test", "cifar-100-python/meta"), ("data/apple/1.png",)],
    cifar10: [(*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"), ("train/cat/0.jpg",)],
    omniglot: [("images_background_small1.zip", "images_background_small2.zip")],
    fashion_mnist: [
        tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))
    ],
    imdb: [tuple(f"{split}/{label}/0_5.txt" for split in ("train", "test") for label in ("neg", "pos"))],
    tiny_imagenet: [("train/n01443537/images/0.JPEG", "val/val_annotations.txt", "val/images/val_0.JPEG")],
}
CASES = [(module, names) for module, forms in FILES.items() for names in forms]

KEYS = (
    *("image_data", "class_dict", "data", "labels", "catname2label", "label_specific", "label_specific_str"),
    *("fine_labels", "filenames", "fine_label_names", "label_names", "n01532829"),
)
leaves = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.sampled_from([(2, 3), (4,), (), (2, 84, 84, 3), (2, 3072)]).map(lambda shape: np.zeros(shape, np.uint8)),
    st.lists(st.integers(0, 3), max_size=4),
    st.lists(st.integers(0, 3), max_size=4).map(np.array),
)
named = st.sampled_from(KEYS) | st.text(max_size=3) | st.integers(0, 3)
plain = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(named, inner, max_size=4))
likely = {
    "image_data": st.just(np.zeros((2, 84, 84, 3), np.uint8)),
    "data": st.sampled_from([np.zeros((2, 84, 84, 3), np.uint8), np.zeros((2, 3072), np.uint8)]),
    **dict.fromkeys(("labels", "fine_labels", "label_specific"), st.lists(st.integers(-1, 3), min_size=2, max_size=2)),
    **dict.fromkeys(
        ("filenames", "fine_label_names", "label_names", "label_specific_str"), st.lists(st.text(max_size=2))
    ),
    **dict.fromkeys(("class_dict", "catname2label"), st.dictionaries(named, leaves, max_size=3)),
}
nearly = st.fixed_dictionaries(
    {}, optional={key: likely.get(key, plain) | likely.get(key, plain) | plain for key in KEYS}
)
pickles = st.tuples(nearly | plain, st.integers(0, 5)).map(lambda arguments: pickle.dumps(*arguments))
archives = st.dictionaries(
    st.sampled_from(["a/../b.png", "/x", "n01532829_1.JPEG", "a/b/character01/1.png"]), st.binary()
)
contents = st.one_of(
    st.binary(max_size=200),
    pickles,
    archives.map(tar_bytes),
    st.just(b"\x89HDF\r\n\x1a\n" + bytes(100)),
    st.just(b"<html></html>"),
)


def run(module, files):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder / "from", files)
        with contextlib.suppress(InputError):
            one_thread = () if module is imdb else ("--jobs", "1")
            module.main(["--from", str(folder / "from"), "--out", str(folder / "out"), "--quiet", *one_thread])
            raise AssertionError("nothing here is a whole dataset")
        assert not list((folder / "out").glob("*.h5"))
        assert not list((folder / "out").glob(".*.partial"))


@pytest.mark.parametrize(("module", "names"), CASES, ids=[f"{m.__name__}-{n[0]}" for m, n in CASES])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_content_ends_with_the_documented_error(module, names, data):
    run(module, {name: data.draw(contents, label=name) for name in names})


@settings(max_examples=60, deadline=None)
@given(train=pickles, rest=pickles)
@example(train=pickle.dumps({"image_data": np.zeros((2, 84, 84, 3), np.uint8), "class_dict": {"a": 2**70}}), rest=b"")
@example(
    train=pickle.dumps({"image_data": np.zeros((2, 84, 84, 3), np.uint8), "class_dict": {"a": [[0], 1]}}), rest=b""
)
def test_pickles_of_anything_plain_end_with_the_documented_error(train, rest):
    names = FILES[mini_imagenet][0]
    run(mini_imagenet, dict(zip(names, (train, rest, rest), strict=True)))


@settings(max_examples=60, deadline=None)
@given(
    files=st.dictionaries(st.from_regex(r"(train|val|test)/[a-z]/[a-z]\.png", fullmatch=True), st.binary(), max_size=6)
)
def test_own_archives_of_anything_end_with_the_documented_error(files):
    with tempfile.TemporaryDirectory() as name:
        archive = write_zip(Path(name) / "own.zip", files)
        with pytest.raises(InputError):
            image_folder.main(["--from", str(archive), "--out", name, "--quiet"])


FOLDERS = (
    *("train", "val", "test", "base", "novel", "train2", "images", "masks", "labels", "cat", "dog", "Cat", " cat", "0"),
    *("session0", "session1", "character01", "class1", "2021-01-02", "$\\frac{$", ".hidden", "a.b"),
)
NAMES = (
    "1.png",
    "2.jpg",
    "x",
    "notes.txt",
    "train.csv",
    "val.csv",
    "test.json",
    "labels.csv",
    "1_mask.png",
    "t.tif",
    "c.gz",
)
PNG = encoded(pictures(1, 8)[0])
LISTS = (
    b"filename,label\n1.png,cat\n2.jpg,dog\n",
    b"cat\ndog\n",
    b"{}",
    b"[]",
    b'{"image_names": [1]}',
    b"a;b\n1;2;3\n",
)
OPTIONS = ("--divide", "--strict", "--skip-bad", "--keep-duplicates")
paths = st.tuples(st.lists(st.sampled_from(FOLDERS), max_size=3), st.sampled_from(NAMES))


@settings(max_examples=150, deadline=None)
@given(
    files=st.dictionaries(
        paths.map(lambda path: "/".join([*path[0], path[1]])), st.sampled_from([PNG, b"", b"II", *LISTS]), max_size=12
    ),
    options=st.lists(st.sampled_from(OPTIONS), unique=True),
    level=st.sampled_from(["auto", "first", "last", "name"]),
)
@example(files={"x": b"II"}, options=[], level="auto")
def test_trees_of_anything_are_understood_or_refused(files, options, level):
    with tempfile.TemporaryDirectory() as name:
        archive = write_zip(Path(name) / "own.zip", files)
        arguments = ["--from", str(archive), "--data", name, "--quiet", "--jobs", "1", "--image-size", "4"]
        with contextlib.suppress(InputError):
            image_folder.main([*arguments, "--class-folder", level, *options])
            Dataset.open(Path(name) / "own.h5").verify()
        assert not list(Path(name).glob(".*.partial"))
