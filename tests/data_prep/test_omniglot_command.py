"""Omniglot from its archives."""

import numpy as np
import pytest
from miniature import encoded, shrink, write_files, write_zip
from PIL import Image

from data_prep import omniglot
from data_prep.omniglot import vinyals_split
from fewshot.data.store import Dataset
from fewshot.errors import InputError

DRAWERS = 3


def drawing(seed):
    """A 1-bit PNG of 105×105 pixels, black on white."""
    strokes = np.random.Generator(np.random.Philox(seed)).random((15, 15)) < 0.2
    picture = Image.fromarray(~strokes).resize((105, 105), Image.Resampling.NEAREST)
    assert picture.mode == "1"
    return encoded(np.asarray(picture))


def characters(folder, alphabets, first=0):
    """{path in the archive: PNG} for {alphabet: characters}."""
    paths = [
        f"{folder}/{alphabet}/character{character:02d}/{first + character:04d}_{drawer:02d}.png"
        for alphabet, count in alphabets.items()
        for character in range(1, count + 1)
        for drawer in range(1, DRAWERS + 1)
    ]
    return {path: drawing(first + number) for number, path in enumerate(paths)}


SMALL = {
    "images_background_small1": {"Greek": 2, "Early_Aramaic": 1},
    "images_background_small2": {"Greek": 2, "Sanskrit": 2},
}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Two small archives that share Greek, and the folder they lie in."""
    classes = {"train": ["Greek/01", "Greek/02"], "val": ["Early_Aramaic/01"], "test": ["Sanskrit/01", "Sanskrit/02"]}
    shrink(monkeypatch, "omniglot", {split: dict.fromkeys(names, DRAWERS) for split, names in classes.items()})
    for archive, alphabets in SMALL.items():
        files = {}
        for number, (alphabet, count) in enumerate(sorted(alphabets.items())):
            files |= characters(archive, {alphabet: count}, first=100 * len(alphabet) + number * 0)
        write_zip(tmp_path / "from" / f"{archive}.zip", files)
    return tmp_path / "from"


def prepare(source, out, *more):
    omniglot.main(["--from", str(source), "--out", str(out), "--quiet", *more])
    return Dataset.open(out / "omniglot.h5")


def test_small_archives_are_split_by_alphabet(small, tmp_path):
    dataset = prepare(small, tmp_path)
    assert dataset["train"].class_names == ["Greek/01", "Greek/02"]
    assert dataset["val"].class_names == ["Early_Aramaic/01"]
    assert dataset["test"].class_names == ["Sanskrit/01", "Sanskrit/02"]
    assert dataset["train"].shape == (2 * DRAWERS, 28, 28, 1)


def test_strokes_are_white_and_resized_as_pillow_does(small, tmp_path):
    dataset = prepare(small, tmp_path)
    first = dataset["test"].file_names()[0]
    assert first == "images_background_small2.zip/images_background_small2/Sanskrit/character01/0801_01.png"
    original = drawing(800)
    image = Image.open(__import__("io").BytesIO(original)).convert("L").resize((28, 28), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(dataset["test"].images[0, :, :, 0], 255 - np.asarray(image))
    assert "inverted" in dataset.resize


def test_rotations_are_more_classes(small, tmp_path, monkeypatch):
    upright = np.array(prepare(small, tmp_path / "upright")["test"].images)
    names = [f"Sanskrit/{c}{turn}" for turn in ("", " turned 90", " turned 180", " turned 270") for c in ("01", "02")]
    splits = {"train": ["Greek/01", "Greek/02"], "val": ["Early_Aramaic/01"], "test": ["Sanskrit/01", "Sanskrit/02"]}
    turned = {
        s: [f"{n}{t}" for n in c for t in ("", " turned 90", " turned 180", " turned 270")] for s, c in splits.items()
    }
    shrink(monkeypatch, "omniglot", {split: dict.fromkeys(labels, DRAWERS) for split, labels in turned.items()})
    dataset = prepare(small, tmp_path / "turned", "--rotations")
    assert dataset["test"].class_names == names
    for quarter in range(4):
        part = dataset["test"].images[quarter * len(upright) : (quarter + 1) * len(upright)]
        np.testing.assert_array_equal(part, np.rot90(upright, quarter, axes=(1, 2)))


def test_one_archive_of_two_is_not_enough(small, tmp_path):
    with pytest.raises(InputError, match=r"no images_background_small2; get images_background_small2\.zip too"):
        prepare(small / "images_background_small1.zip", tmp_path)


def test_the_full_archives_are_split_as_vinyals_did(monkeypatch, tmp_path):
    files = characters("images_background", {"Armenian": 1, "Latin": 1})
    files |= characters("images_evaluation", {"Angelic": 1, "Gurmukhi": 43, "ULOG": 1}, first=1000)
    train = {"Latin/01", "Angelic/01", *(f"Gurmukhi/{c:02d}" for c in range(1, 42))}
    test = {"Gurmukhi/42", "Gurmukhi/43", "ULOG/01"}
    splits = {"train": train, "val": {"Armenian/01"}, "test": test}
    shrink(monkeypatch, "omniglot", {split: dict.fromkeys(names, DRAWERS) for split, names in splits.items()})
    dataset = prepare(write_files(tmp_path / "from", files), tmp_path)
    assert {split: set(dataset[split].class_names) for split in splits} == splits


def test_the_published_splits_have_their_sizes():
    alphabets = {
        **{"Alphabet_of_the_Magi": 20, "Anglo-Saxon_Futhorc": 29, "Arcadian": 26, "Armenian": 41},
        **{
            "Asomtavruli_(Georgian)": 40,
            "Balinese": 24,
            "Bengali": 46,
            "Blackfoot_(Canadian_Aboriginal_Syllabics)": 14,
        },
        **{"Braille": 26, "Burmese_(Myanmar)": 34, "Cyrillic": 33, "Early_Aramaic": 22, "Futurama": 26, "Grantha": 43},
        **{"Greek": 24, "Gujarati": 48, "Hebrew": 22, "Inuktitut_(Canadian_Aboriginal_Syllabics)": 16, "Korean": 40},
        **{"Japanese_(hiragana)": 52, "Japanese_(katakana)": 47, "Latin": 26, "Malay_(Jawi_-_Arabic)": 40, "N_Ko": 33},
        **{"Mkhedruli_(Georgian)": 41, "Ojibwe_(Canadian_Aboriginal_Syllabics)": 14, "Sanskrit": 42, "Tagalog": 17},
        **{"Syriac_(Estrangelo)": 23, "Tifinagh": 55},
        **{"Angelic": 20, "Atemayar_Qelisayer": 26, "Atlantean": 26, "Aurek-Besh": 26, "Avesta": 26, "Ge_ez": 26},
        **{"Glagolitic": 45, "Gurmukhi": 45, "Kannada": 41, "Keble": 26, "Malayalam": 47, "Manipuri": 40},
        **{"Mongolian": 30, "Old_Church_Slavonic_(Cyrillic)": 45, "Oriya": 46, "Sylheti": 28, "Syriac_(Serto)": 23},
        **{"Tengwar": 25, "Tibetan": 42, "ULOG": 26},
    }
    splits = [vinyals_split(name, number) for name, count in alphabets.items() for number in range(1, count + 1)]
    assert [splits.count(split) for split in ("train", "val", "test")] == [1028, 172, 423]
