"""Contact sheets of any dataset."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from data_prep.preparing import contact_sheet as module
from data_prep.preparing.contact_sheet import CLASSES_PER_SPLIT, contact_sheet
from fewshot.data.store import Dataset, writing
from fewshot.errors import InputError


@pytest.fixture
def make(tmp_path):
    def make(classes, image_shape=(28, 28, 1)):
        """A dataset with (classes per split) classes of three images, each image of one brightness."""
        with writing(tmp_path / "made.h5", "made", [], "none") as writer:
            for split, sizes in classes.items():
                writer.add_split(split, {f"{split}_{row:03d}": size for row, size in enumerate(sizes)}, image_shape)
                total = sum(sizes)
                levels = np.linspace(0, 250, total).astype(np.uint8)
                images = np.broadcast_to(levels[:, None, None, None], (total, *image_shape)).copy()
                writer.write(split, 0, images, [f"{row}" for row in range(total)])
        return Dataset.open(tmp_path / "made.h5")

    return make


def test_names_are_no_formulas(tmp_path):
    names = ["$\\frac{$", "$x", "\\alpha$$", "100 $"]
    with writing(tmp_path / "made.h5", "a$\\b$", [], "none") as writer:
        writer.add_split("train", dict.fromkeys(names, 2), (8, 8, 1))
        writer.write("train", 0, np.zeros((8, 8, 8, 1), np.uint8), [f"{row}" for row in range(8)])
    contact_sheet(Dataset.open(tmp_path / "made.h5"), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 1000


@pytest.fixture
def texts(monkeypatch):
    """Every text on the sheet that is being drawn."""
    found = []
    save = Figure.savefig

    def watched(figure, *arguments, **options):
        found.extend(text.get_text() for text in figure.texts)
        found.extend(label.get_text() for axes in figure.axes for label in axes.get_yticklabels())
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", watched)
    return found


def levels_drawn(path):
    """The grey levels that fill a tile of the sheet, not just a rim or a letter."""
    with Image.open(path) as sheet:
        levels, pixels = np.unique(np.asarray(sheet.convert("L")), return_counts=True)
    return set(levels[pixels > 800].tolist())


@pytest.mark.parametrize("image_shape", [(28, 28, 1), (84, 84, 3)])
def test_every_class_has_its_name_and_its_images(make, tmp_path, texts, image_shape):
    dataset = make({"train": [3, 3, 3, 3], "val": [3], "test": [3, 3]}, image_shape)
    contact_sheet(dataset, tmp_path / "sheet.png", per_class=3)
    assert {name for split in dataset.splits.values() for name in split.class_names} <= set(texts)
    for split in dataset.splits.values():
        assert set(split.images[:, 0, 0, 0].tolist()) <= levels_drawn(tmp_path / "sheet.png")


def test_examples_are_spread_over_the_class(make, tmp_path):
    dataset = make({"train": [100]})
    contact_sheet(dataset, tmp_path / "sheet.png", per_class=4)
    expected = {int(dataset["train"].images[row, 0, 0, 0]) for row in (0, 25, 50, 75)}
    assert levels_drawn(tmp_path / "sheet.png") == {*expected, 255}


def test_many_classes_are_capped_and_the_sheet_says_so(make, tmp_path, texts):
    contact_sheet(make({"train": [1] * 200, "test": [1]}), tmp_path / "sheet.png", per_class=1)
    assert any(f"200 classes ({CLASSES_PER_SPLIT} shown), 200 images" in text for text in texts)
    assert sum(text.startswith("train_") for text in texts) == CLASSES_PER_SPLIT


def test_some_classes_can_be_chosen(make, tmp_path, texts):
    contact_sheet(make({"train": [2, 2, 2], "val": [2]}), tmp_path / "sheet.png", classes=["train_001"])
    assert "train_001" in texts
    assert not {"train_000", "train_002", "val_000"} & set(texts)


def test_an_unknown_class_is_refused(make, tmp_path):
    with pytest.raises(InputError, match="no class 'zebra'"):
        contact_sheet(make({"train": [2]}), tmp_path / "sheet.png", classes=["zebra"])
    assert not (tmp_path / "sheet.png").exists()


def test_classes_with_few_images_leave_the_rest_white(make, tmp_path):
    dataset = make({"train": [1, 5]})
    contact_sheet(dataset, tmp_path / "sheet.png", per_class=12)
    assert levels_drawn(tmp_path / "sheet.png") == {*dataset["train"].images[:, 0, 0, 0].tolist(), 255}


def test_long_names_are_shortened(tmp_path, texts):
    with writing(tmp_path / "long.h5", "long", [], "none") as writer:
        writer.add_split("train", {"n" * 99: 1}, (4, 4, 1))
        writer.write("train", 0, np.zeros((1, 4, 4, 1), np.uint8), ["a"])
    contact_sheet(Dataset.open(tmp_path / "long.h5"), tmp_path / "sheet.png")
    assert "n" * (module._LETTERS - 1) + "…" in texts
