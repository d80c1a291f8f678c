"""The embedded dataset: the same bits everywhere, and classes that can be told apart."""

import random
import unicodedata
from dataclasses import fields, replace
from itertools import combinations

import numpy as np
import pytest
import torch

from fewshot.data import glyphs
from fewshot.data.glyph_variation import DISTANCE_ZERO, GLYPH_SIDE, MASK_SIDE, Variation, vary
from fewshot.data.glyphs import Recipe
from fewshot.data.store import Dataset
from fewshot.errors import InputError

FINGERPRINT = "6e3668891912376d50c57368adfdae7122a72037319cc9c7cdb8207210689963"
CLEAN = Variation(
    size=(20, 20), stretch=0, shift=0, rotation=0, shear=0, warp=0, stroke=0, softness=(1, 1), contrast=(1, 1),
    inverted=0, clouds=0, noise=0, strokes=0,
)  # fmt: skip
ALL = [character for split in glyphs.characters().values() for character in split]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("glyphs") / "glyphs.h5"
    glyphs.prepare(path, quiet=True)
    return Dataset.open(path)


@pytest.fixture
def letter():
    return glyphs.characters()["train"][0]


def overlap(first, second, reach=2):
    """Largest shared part of the ink of masks [a, 32, 32] and [b, 32, 32], over shifts of up to `reach`, [a, b]."""
    ink = [(masks.astype(int) >= DISTANCE_ZERO - 6) for masks in (first, second)]
    still = ink[0].reshape(len(first), -1).astype(np.float32)
    best = np.zeros((len(first), len(second)), np.float32)
    for shift in np.ndindex(2 * reach + 1, 2 * reach + 1):
        moved = np.roll(ink[1], np.array(shift) - reach, axis=(1, 2)).reshape(len(second), -1).astype(np.float32)
        shared = still @ moved.T
        best = np.maximum(best, shared / (still.sum(1)[:, None] + moved.sum(1) - shared))
    return best


def test_every_machine_makes_the_same_bits(dataset):
    assert dataset.fingerprint == FINGERPRINT


def test_splits_have_the_promised_sizes(dataset):
    assert {name: len(split.class_names) for name, split in dataset.splits.items()} == {
        "train": 64,
        "val": 16,
        "test": 20,
    }
    for split in dataset.splits.values():
        assert set(split.class_sizes) == {glyphs.RECIPE.images_per_class}
        assert split.shape[1:] == (28, 28, 1)


def test_file_names_tell_class_face_and_number(dataset):
    split = dataset["val"]
    names = split.file_names()
    for row, name in enumerate(names):
        label, face, number = name.split("/")
        place, expected = divmod(row, glyphs.RECIPE.images_per_class)
        assert label == split.class_names[place]
        assert int(number) == expected
        assert face in glyphs.characters()["val"][place].faces
    assert len(set(names)) == len(names)


def test_no_two_images_are_equal(dataset):
    images = dataset["test"].images
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


def test_the_file_says_what_decides_its_images(dataset):
    assert dataset.sources["variation"]["size"] == list(Variation().size)
    assert glyphs.is_current(dataset)


def test_splits_share_no_script_and_no_character():
    scripts = {split: set(alphabets) for split, alphabets in glyphs.ALPHABETS.items()}
    for one, other in combinations(scripts, 2):
        assert not scripts[one] & scripts[other]
    assert len({character.symbol for character in ALL}) == len({character.name for character in ALL}) == len(ALL) == 100


def test_every_character_belongs_to_its_script():
    for alphabets in glyphs.ALPHABETS.values():
        for script, symbols in alphabets.items():
            for symbol in symbols:
                assert unicodedata.name(symbol).split()[0].lower() == script


@pytest.mark.parametrize(("symbol", "name"), [("ω", "greek_small_omega"), ("ᖋ", "canadian_west_cree_ri")])
def test_class_names_come_from_unicode(symbol, name):
    assert glyphs.class_name(symbol) == name


def test_masks_are_small_and_hold_no_pickle():
    assert glyphs.MASKS.stat().st_size < 300_000
    with np.load(glyphs.MASKS, allow_pickle=False) as stored:
        assert stored["masks"].dtype == np.uint8
        assert all(stored[name].dtype != object for name in stored.files)
        assert len(stored["masks"]) == sum(len(character.masks) for character in ALL)


def test_every_character_has_several_faces():
    assert min(len(character.masks) for character in ALL) >= 2


def test_masks_are_centred_and_scaled():
    for character in ALL:
        for mask in character.masks:
            inked = mask >= DISTANCE_ZERO - 2  # a quarter of a sample, so that sharp tips count
            spans = [np.flatnonzero(inked.any(axis)) for axis in (0, 1)]
            assert max(span[-1] - span[0] + 1 for span in spans) == GLYPH_SIDE
            assert all(abs(span[0] + span[-1] - (MASK_SIDE - 1)) <= 1 for span in spans)


def test_no_two_classes_look_nearly_the_same():
    owner = np.repeat(np.arange(len(ALL)), [len(character.masks) for character in ALL])
    masks = np.concatenate([character.masks for character in ALL])
    shared = overlap(masks, masks)
    assert np.diag(shared).min() == 1
    shared[owner[:, None] == owner] = 0
    one, other = np.unravel_index(shared.argmax(), shared.shape)
    assert shared.max() < 0.84, f"{ALL[owner[one]].name} and {ALL[owner[other]].name} overlap {shared.max():.2f}"


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_the_cutting_of_the_work_changes_nothing(letter, chunk):
    whole, names = glyphs.images_of(letter, 0, 50)
    parts = [glyphs.images_of(letter, start, min(start + chunk, 50)) for start in reversed(range(0, 50, chunk))]
    np.testing.assert_array_equal(whole, np.concatenate([images for images, _ in reversed(parts)]))
    assert names == [name for _, part in reversed(parts) for name in part]


def test_other_seeds_and_other_classes_vary_differently(letter):
    one, _ = glyphs.images_of(letter, 0, 20)
    other_seed, _ = glyphs.images_of(letter, 0, 20, Recipe(seed=1))
    other_class, _ = glyphs.images_of(replace(letter, symbol="e"), 0, 20)
    assert (one != other_seed).any(axis=(1, 2, 3)).all()
    assert (one != other_class).any(axis=(1, 2, 3)).all()


def test_no_global_random_state_moves(letter):
    before = repr(np.random.get_state()), random.getstate(), torch.get_rng_state().tolist()  # noqa: NPY002
    glyphs.images_of(letter, 0, 5)
    assert before == (repr(np.random.get_state()), random.getstate(), torch.get_rng_state().tolist())  # noqa: NPY002


def test_without_variation_the_image_is_the_mask(letter):
    images, names = glyphs.images_of(letter, 0, 40, Recipe(CLEAN))
    for image, name in zip(images[..., 0], names, strict=True):
        inked = image < 128
        mask = letter.masks[letter.faces.index(name.split("/")[1])]
        spans = [np.flatnonzero(inked.any(axis)) for axis in (0, 1)]
        assert max(span[-1] - span[0] + 1 for span in spans) in (19, 20)
        assert inked.sum() / 20**2 == pytest.approx((mask >= DISTANCE_ZERO).sum() / 24**2, abs=0.05)


def test_every_strength_changes_the_images(letter):
    plain = replace(CLEAN, strokes=1, stroke_ink=(0.5, 0.5), stroke_length=(8, 8), stroke_width=(1, 1))
    base, _ = vary(letter.masks, plain, (1, 2), 0, 20)
    stronger = {
        "size": (15.0, 15.0), "softness": (2.0, 2.0), "contrast": (0.5, 0.5), "strokes": 4,
        "stroke_length": (16.0, 16.0), "stroke_width": (3.0, 3.0), "stroke_ink": (1.0, 1.0),
        "inverted": 1.0, "shift": 2.0, "stroke": 0.5,
    }  # fmt: skip
    for field in fields(Variation):
        changed, _ = vary(letter.masks, replace(plain, **{field.name: stronger.get(field.name, 0.2)}), (1, 2), 0, 20)
        assert (changed != base).any(), field.name


def test_characters_stay_within_their_shift(letter):
    shifted, _ = vary(letter.masks, replace(CLEAN, size=(14, 14), shift=3), (1, 2), 0, 300)
    for axis in (1, 2):
        inked = (shifted[..., 0] < 128).any(axis=axis)
        middles = np.array([np.flatnonzero(image)[[0, -1]].mean() - 13.5 for image in inked])
        assert middles.min() == pytest.approx(-3, abs=0.6)
        assert middles.max() == pytest.approx(3, abs=0.6)


def test_an_image_has_none_to_all_of_the_foreign_strokes(letter):
    clean, _ = vary(letter.masks, CLEAN, (1, 2), 0, 300)
    cluttered, _ = vary(letter.masks, replace(CLEAN, strokes=3), (1, 2), 0, 300)
    untouched = (clean == cluttered).all(axis=(1, 2, 3)).mean()
    assert untouched == pytest.approx(0.25, abs=0.1)


def test_noise_has_the_promised_deviation(letter):
    grey = replace(CLEAN, size=(1, 1), contrast=(0, 0))
    still, _ = vary(letter.masks, grey, (1, 2), 0, 200)
    noisy, _ = vary(letter.masks, replace(grey, noise=0.05), (1, 2), 0, 200)
    inside = (still > 64) & (still < 192)  # far enough from black and white that no noise is cut off
    difference = (noisy.astype(float) - still)[inside] / 255
    assert difference.std() == pytest.approx(0.05, rel=0.02)
    assert difference.mean() == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("wrong", [{"strokes": 99}, {"strokes": -1}, {"size": (22.0, 15.0)}])
def test_impossible_strengths_are_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong.values()))}".replace("(", r"\(").replace(")", r"\)")):
        Variation(**wrong)


def test_the_strongest_clutter_still_has_random_numbers_for_everything(letter):
    images, _ = glyphs.images_of(letter, 0, 3, Recipe(Variation(strokes=8)))
    assert images.shape == (3, 28, 28, 1)


def test_a_failed_preparation_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "glyphs.h5"
    glyphs.prepare(path, quiet=True, recipe=Recipe(images_per_class=2))
    before = path.read_bytes()

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(glyphs, "images_of", fail)
    with pytest.raises(KeyboardInterrupt):
        glyphs.prepare(path, quiet=True, recipe=Recipe(images_per_class=2))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
