"""The check of prepared files."""

import h5py
import pytest
from miniature import shrink
from PIL import Image

from data_prep import verify
from fewshot.console import run_command
from fewshot.data.store import writing
from fewshot.errors import InputError

SIZES = {"train": {"a": 3, "b": 3}, "val": {"c": 3}, "test": {"d": 3}}


def write(folder, sizes, pictures, name="omniglot"):
    folder.mkdir(exist_ok=True)
    with writing(folder / f"{name}.h5", name, {"form": "test"}, "none") as writer:
        for split, classes in sizes.items():
            count = sum(classes.values())
            writer.add_split(split, classes, (8, 8, 1))
            writer.write(split, 0, pictures[:count], [f"{split}/{row}" for row in range(count)])


@pytest.fixture
def images(write_tiny_file, tmp_path):
    with h5py.File(write_tiny_file(tmp_path / "tiny.h5", channels=1)) as file:
        return file["train/images"][:]  # pyright: ignore[reportIndexIssue]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch, "omniglot", SIZES)


def test_a_sound_file_is_told_and_drawn(tmp_path, images, capsys):
    write(tmp_path / "data", SIZES, images)
    verify.main(["omniglot", "--out", str(tmp_path / "data")])
    told = capsys.readouterr().out
    assert "train  2 classes  6 images of 8×8×1  3 to 3 a class" in told
    assert "is sound, as published (small)" in told
    with Image.open(tmp_path / "data" / "omniglot.png") as sheet:
        assert sheet.width > 300


def test_what_is_re_encoded_is_not_as_published(tmp_path, images, capsys):
    count = {split: sum(classes.values()) for split, classes in SIZES.items()}
    with writing(tmp_path / "omniglot.h5", "omniglot", {}, "none") as writer:
        for split, classes in SIZES.items():
            writer.add_split(split, classes, (8, 8, 1))
            writer.write(split, 0, images[: count[split]], [f"{row}.jpg" for row in range(count[split])])
    verify.main(["omniglot", "--data", str(tmp_path)])
    told = capsys.readouterr().out
    assert "as published in numbers (small), but not in its pixels: they were re-encoded with losses" in told
    assert "pixels re-encoded" in told


def test_own_images_have_nothing_to_be_compared_with(tmp_path, images, capsys):
    write(tmp_path, {"train": {"a": 2}}, images, "own")
    verify.main(["own", "--out", str(tmp_path), "--sheet", str(tmp_path / "sheet.png")])
    assert "not in the catalog" in capsys.readouterr().out
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({**SIZES, "val": {"c": 4}}, "val 1 classes / 4 images, .* published are .* val 1 classes / 3 images"),
        ({**SIZES, "val": {"c": 2, "e": 1}}, "val 2 classes / 3 images"),
        ({"train": SIZES["train"], "test": SIZES["test"]}, "published are"),
        ({**SIZES, "train": {"a": 2, "b": 4}}, "class a of train .* has 2 images, others 4"),
    ],
)
def test_other_numbers_than_the_published_ones_are_refused(sizes, message, tmp_path, images):
    write(tmp_path, sizes, images)
    with pytest.raises(InputError, match=message) as error:
        verify.main(["omniglot", "--out", str(tmp_path)])
    assert "python -m data_prep.omniglot --force" in str(error.value)
    assert not list(tmp_path.glob("omniglot.png"))


def test_a_changed_pixel_is_found(tmp_path, images):
    write(tmp_path, SIZES, images)
    with h5py.File(tmp_path / "omniglot.h5", "r+") as file:
        file["test/images"][1, 2, 3, 0] ^= 1  # pyright: ignore[reportIndexIssue]
    with pytest.raises(InputError, match="is damaged: fingerprint"):
        verify.main(["omniglot", "--out", str(tmp_path)])


def test_a_dataset_that_is_not_there_is_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_command(verify.main, ["omniglot", "--out", str(tmp_path)])
    assert exit_.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"prepare it with `python -m data_prep.omniglot --out {tmp_path}`" in line
