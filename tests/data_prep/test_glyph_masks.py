"""The stored masks are what the fonts give."""

import matplotlib
import numpy as np
import pytest

from data_prep.glyph_masks import LICENCES, _mask, main
from fewshot.data.glyph_variation import DISTANCE_STEPS, DISTANCE_ZERO
from fewshot.data.glyphs import MASKS


@pytest.fixture(scope="module")
def stored():
    with np.load(MASKS, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def drawn_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks")
    main(["--out", str(folder / "masks.npz"), "--quiet"])
    return folder


@pytest.fixture
def drawn(drawn_folder):
    with np.load(drawn_folder / "masks.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def test_the_fonts_give_the_stored_masks(stored, drawn):
    if matplotlib.__version__ != str(stored["matplotlib"]):
        pytest.skip(f"the masks were drawn with matplotlib {stored['matplotlib']}, here is {matplotlib.__version__}")
    assert set(drawn) == set(stored)
    for name in stored:
        np.testing.assert_array_equal(drawn[name], stored[name], err_msg=name)


def test_any_matplotlib_gives_nearly_the_stored_masks(stored, drawn):
    np.testing.assert_array_equal(drawn["symbols"], stored["symbols"])
    np.testing.assert_array_equal(drawn["faces"], stored["faces"])
    assert np.abs(drawn["masks"].astype(int) - stored["masks"]).mean() < 1


def test_the_licences_are_copied_beside_the_masks(drawn_folder):
    for name in LICENCES:
        assert (drawn_folder / name).read_bytes() == (MASKS.parent / name).read_bytes()


def test_a_mask_holds_signed_distances():
    bar = np.zeros((300, 100), dtype=bool)
    bar[30:270, 20:60] = True  # 240 x 40 pixels: 24 x 4 samples of 10 pixels
    row = _mask(bar)[16].astype(int) - DISTANCE_ZERO
    expected = np.clip(2 - np.abs(np.arange(32) - 15.5), -4, 4) * DISTANCE_STEPS
    np.testing.assert_allclose(row, expected, atol=1)
