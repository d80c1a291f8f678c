"""Images of any kind as the size and channels of a learner."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fewshot.data.fitting import fit
from fewshot.data.pictures import images_of
from fewshot.errors import InputError


def pixels(height=24, width=24, channels=3):
    """A smooth picture, uint8 [H, W, C]: what is resized differs little between 8 bits and floats."""
    y, x, c = np.meshgrid(np.linspace(0, 3, height), np.linspace(0, 2, width), np.arange(channels), indexing="ij")
    return (127 + 120 * np.sin(x + y + c)).astype(np.uint8)


def as_tensor(array):
    return torch.from_numpy(array).permute(2, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(24, 24), (60, 31), (9, 12)])
def test_fitted_images_are_those_of_pillow(height, width, channels):
    array = pixels(height, width)
    expected = np.asarray(
        Image.fromarray(array).convert("L" if channels == 1 else "RGB").resize((16, 16), Image.Resampling.BILINEAR)
    ).reshape(16, 16, channels)
    found = 255 * fit(as_tensor(array)[None], 16, channels)[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() <= 1.5  # Pillow rounds after each of three steps


def test_images_that_fit_are_only_scaled():
    array = as_tensor(pixels(16, 16))[None]
    assert torch.equal(fit(array, 16, 3), array.float() / 255)


def test_grey_images_become_colour_in_equal_channels():
    grey = as_tensor(pixels(16, 16, 1))[None]
    found = fit(grey, 16, 3)
    assert found.shape == (1, 3, 16, 16)
    assert all(torch.equal(found[:, c], grey[:, 0].float() / 255) for c in range(3))


def test_two_channels_are_refused():
    with pytest.raises(InputError, match=r"images have 2 channels, 3 are wanted; give images in grey \(1\) or RGB"):
        fit(torch.zeros(1, 2, 16, 16), 16, 3)


def test_every_kind_of_image_is_the_same_image(tmp_path):
    array = pixels()
    Image.fromarray(array).save(tmp_path / "x.png")
    kinds = [
        tmp_path / "x.png",
        str(tmp_path / "x.png"),
        Image.fromarray(array),
        Image.fromarray(array).convert("RGBA"),
        array,
        array / 255,
        as_tensor(array),
        as_tensor(array).float() / 255,
    ]
    found = images_of(kinds, 16, 3)
    assert found.shape == (8, 3, 16, 16)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, found[:1].expand_as(found), atol=1e-6, rtol=0)
    stacks = (np.stack([array, array]), torch.stack([as_tensor(array)] * 2))
    for stack in stacks:
        torch.testing.assert_close(images_of(stack, 16, 3), found[:2], atol=1e-6, rtol=0)


def test_grey_kinds(tmp_path):
    array = pixels(channels=1)
    Image.fromarray(array[..., 0]).save(tmp_path / "x.png")
    Image.fromarray(array[..., 0]).convert("P").save(tmp_path / "p.png")
    found = images_of([tmp_path / "x.png", array, array[..., 0], torch.from_numpy(array[..., 0])], 16, 1)
    assert torch.equal(found, found[:1].expand_as(found))
    assert torch.equal(images_of(array[None, ..., 0], 16, 1), found[:1])
    torch.testing.assert_close(images_of([tmp_path / "p.png"], 16, 1), found[:1], atol=1e-3, rtol=0)


def test_a_black_and_white_image_is_black_and_white():
    image = Image.fromarray(np.eye(16, dtype=bool))
    assert torch.equal(images_of([image], 16, 1)[0, 0], torch.eye(16))


def test_no_images():
    assert images_of([], 16, 3).shape == (0, 3, 16, 16)
    assert images_of(np.zeros((0, 24, 24), np.uint8), 16, 3).shape == (0, 3, 16, 16)


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([torch.full((1, 4, 4), 255.0)], r"image 0: values lie from 255 to 255; floats must lie in \[0, 1\]"),
        ([np.full((4, 4), np.nan)], "floats must lie in"),
        ([np.zeros((4, 4), np.int64)], "image 0: values are int64; give uint8, or floats"),
        (np.zeros((2, 4, 4), np.uint16), "values are uint16; give uint8, or floats"),
        (np.zeros(4), "is no shape of images"),
        ([np.zeros((4, 0, 3))], "is no shape of images"),
        (np.array([["a"]]), "give uint8, or floats"),
        ([np.zeros((4, 4)), 7], "image 1 is int; give a file name, Pillow image, array or tensor"),
        ("cat.png", "images are str; give a list of images"),
        (["/nowhere/cat.png"], "there is no image /nowhere/cat.png"),
        (["/"], "is a damaged image or none"),
        ([Image.fromarray(np.zeros((4, 4), np.uint16))], "has more than 8 bits a value; scale it yourself"),
    ],
)
def test_what_is_no_image_is_refused(pictures, message):
    with pytest.raises(InputError, match=message):
        images_of(pictures, 16, 3)


def test_damaged_files_are_named(tmp_path):
    memory = io.BytesIO()
    Image.fromarray(pixels()).save(memory, "PNG")
    for name, content in (("cut.png", memory.getvalue()[:200]), ("text.png", b"hello" * 10), ("ps.png", b"%!PS-Adobe")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name} is a damaged image or none"):
            images_of([tmp_path / name], 16, 3)
