"""Anybody's own images."""

import numpy as np
import pytest
from miniature import decoded, encoded, pictures, write_files, write_zip
from PIL import Image

from data_prep import image_folder
from fewshot.data.store import Dataset
from fewshot.errors import InputError

EACH = 4


def folders(labels, prefix="", seed=0):
    return {
        f"{prefix}{label}/{row}.png": encoded(image)
        for number, label in enumerate(labels)
        for row, image in enumerate(pictures(EACH, 20, seed + number))
    }


SPLITS = {"train": ["cat", "dog"], "val": ["cow"], "test": ["hen"]}


def in_splits():
    return {
        name: data
        for number, (split, labels) in enumerate(SPLITS.items())
        for name, data in folders(labels, f"{split}/", seed=10 * number).items()
    }


def prepare(source, out, *more, name="pets"):
    image_folder.main(["--from", str(source), "--out", str(out), "--quiet", "--name", name, *more])
    return Dataset.open(out / f"{name}.h5")


def test_split_folders_are_taken_as_they_are(tmp_path):
    files = in_splits()
    dataset = prepare(write_files(tmp_path / "from", files), tmp_path, "--image-size", "20")
    for split, labels in SPLITS.items():
        assert dataset[split].class_names == labels
        expected = [decoded(files[f"{split}/{label}/{row}.png"]) for label in labels for row in range(EACH)]
        np.testing.assert_array_equal(dataset[split].images, expected)
        assert dataset[split].file_names()[0] == f"{split}/{labels[0]}/0.png"


def test_an_archive_gives_the_same_as_its_folder(tmp_path):
    folder = prepare(write_files(tmp_path / "from", in_splits()), tmp_path)
    archive = prepare(write_zip(tmp_path / "some.zip", in_splits()), tmp_path / "out")
    assert archive.fingerprint == folder.fingerprint


def test_the_seed_alone_divides_classes(tmp_path):
    labels = [f"class{number}" for number in range(25)]
    folder = write_files(tmp_path / "from", folders(labels))
    arguments = {"same": [], "again": [], "other": ["--seed", "1"]}
    found = {}
    for key, more in arguments.items():
        dataset = prepare(folder, tmp_path / key, "--image-size", "4", *more)
        found[key] = {split: tuple(dataset[split].class_names) for split in SPLITS}
    assert found["same"] == found["again"] != found["other"]
    assert [len(names) for names in found["same"].values()] == [16, 4, 5]
    assert sorted(sum(found["same"].values(), ())) == sorted(labels)


def test_the_global_random_state_does_not_move(tmp_path):
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # to see that it stays
    prepare(write_files(tmp_path / "from", folders(map(str, range(10)))), tmp_path)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_grey_palette_and_cmyk_images_become_what_was_asked_for(tmp_path):
    colour = Image.fromarray(pictures(1, 20, seed=99)[0])
    write_files(tmp_path / "from", in_splits())
    folder = tmp_path / "from" / "train" / "mixed"
    folder.mkdir()
    colour.convert("L").save(folder / "0.png")
    colour.convert("P").save(folder / "1.png")
    colour.convert("CMYK").save(folder / "2.jpg")
    colour.convert("RGBA").save(folder / "3.png")
    rgb = prepare(tmp_path / "from", tmp_path, "--image-size", "20")
    assert rgb["train"].shape == (3 * EACH, 20, 20, 3)
    last = rgb["train"].images[2 * EACH :]
    np.testing.assert_array_equal(last[0], np.asarray(colour.convert("L").convert("RGB")))
    np.testing.assert_array_equal(last[3], np.asarray(colour))
    grey = prepare(tmp_path / "from", tmp_path / "grey", "--image-size", "20", "--channels", "1", "--keep-duplicates")
    assert grey["train"].shape == (3 * EACH, 20, 20, 1)


def test_files_that_are_no_images_are_left_out(tmp_path):
    files = in_splits() | {"train/cat/notes.txt": b"x", "train/cat/.hidden.png": b"x", "__MACOSX/train/cat/0.png": b"x"}
    dataset = prepare(write_files(tmp_path / "from", files), tmp_path)
    assert list(dataset["train"].class_sizes) == [EACH, EACH]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no form of pets"),
        (folders(["a", "b"]), "2 classes are too few to divide"),
        ({n: d for n, d in in_splits().items() if not n.startswith("val")}, "no images in val/CLASS"),
        (in_splits() | folders(["cat"], "test/", seed=50), "class cat is in train and in test"),
        (
            in_splits() | {"val/cow/copy.png": in_splits()["val/cow/0.png"]},
            "val/cow/0.png and val/cow/copy.png are the same",
        ),
        (in_splits() | {"val/cow/9.png": b"no image"}, "val/cow/9.png is a damaged image or none"),
        (in_splits() | {"val/cow/9.png": encoded(pictures(1)[0])[:-40]}, "val/cow/9.png is a damaged image"),
    ],
)
def test_folders_that_will_not_do_are_refused(files, message, tmp_path):
    (tmp_path / "from").mkdir()
    with pytest.raises(InputError, match=message):
        prepare(write_files(tmp_path / "from", files), tmp_path)
    assert not list(tmp_path.glob("*.h5"))
    assert not list(tmp_path.glob(".*.partial"))


def test_copies_are_accepted_on_request(tmp_path):
    files = in_splits() | {"val/cow/copy.png": in_splits()["val/cow/0.png"]}
    dataset = prepare(write_files(tmp_path / "from", files), tmp_path, "--keep-duplicates")
    assert dataset.sources["identical_images"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "a/b"], "is no name for a dataset"),
        (["--name", "omniglot"], "is the name of a published dataset"),
        (["--val", "0.5", "--test", "0.5"], "leave no training classes"),
        (["--seed", "-1"], "out of range"),
        (["--image-size", "0"], "--image-size 0 is out of range"),
        (["--jobs", "-1"], "--jobs -1 is negative"),
    ],
)
def test_options_out_of_range_are_refused(options, message, tmp_path):
    folder = write_files(tmp_path / "pets", in_splits())
    with pytest.raises(InputError, match=message):
        image_folder.main(["--from", str(folder), "--out", str(tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()


def test_a_link_that_leads_back_ends(tmp_path):
    folder = write_files(tmp_path / "from", in_splits())
    (folder / "train" / "loop").symlink_to(folder)
    assert prepare(folder, tmp_path)["train"].class_names == SPLITS["train"]


def test_images_and_their_path_must_be_there(tmp_path):
    with pytest.raises(InputError, match="name their folder or archive with --from"):
        image_folder.main(["--out", str(tmp_path)])
    with pytest.raises(InputError, match="does not exist"):
        image_folder.main(["--from", str(tmp_path / "nowhere")])
