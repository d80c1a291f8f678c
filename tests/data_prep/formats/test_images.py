import io
import itertools
import struct
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from data_prep.formats.decoding import decode_many
from data_prep.formats.images import decode
from fewshot.errors import InputError

PIXELS = np.random.Generator(np.random.Philox(3)).integers(0, 256, (6, 9, 3), np.uint8)


def encoded(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, file_format, **options)
    return buffer.getvalue()


def test_colours_come_out_as_they_went_in():
    found = decode(encoded(PIXELS), "a.png")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PIXELS)


@pytest.mark.parametrize("file_format", ["BMP", "PPM", "WEBP", "TIFF", "QOI", "SGI", "PCX"])
def test_other_lossless_formats(file_format):
    data = encoded(PIXELS, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    np.testing.assert_array_equal(decode(data, "a"), PIXELS)


def test_grey_becomes_three_equal_channels_or_one():
    grey = encoded(PIXELS[..., 0])
    np.testing.assert_array_equal(decode(grey, "a"), np.repeat(PIXELS[..., :1], 3, axis=2))
    np.testing.assert_array_equal(decode(grey, "a", channels=1), PIXELS[..., :1])


def test_colour_becomes_luminance():
    expected = PIXELS @ np.array([0.299, 0.587, 0.114])
    found = decode(encoded(PIXELS), "a", channels=1)
    assert found.shape == (6, 9, 1)
    assert np.abs(found[..., 0] - expected).max() <= 1


def test_one_bit_images_use_the_whole_range():
    """Omniglot's drawings."""
    bits = PIXELS[..., 0] > 127
    np.testing.assert_array_equal(decode(encoded(bits), "a", channels=1)[..., 0], bits * np.uint8(255))


def test_sixteen_bits_are_scaled_not_clipped():
    deep = PIXELS[..., 0].astype(np.uint16) * 256 + (255 - PIXELS[..., 0])
    np.testing.assert_array_equal(decode(encoded(deep), "a", channels=1), PIXELS[..., :1])
    np.testing.assert_array_equal(decode(encoded(deep), "a")[..., 2], PIXELS[..., 0])


def test_transparency_is_dropped_without_blending():
    alpha = np.dstack([PIXELS, PIXELS[..., 0]])
    np.testing.assert_array_equal(decode(encoded(alpha), "a"), PIXELS)
    grey_alpha = PIXELS[..., :2].copy()
    np.testing.assert_array_equal(decode(encoded(grey_alpha), "a", channels=1), PIXELS[..., :1])


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(54))])
def test_palettes_are_looked_up(transparency):
    image = Image.fromarray(np.arange(54, dtype=np.uint8).reshape(6, 9)).convert("P")
    image.putpalette(PIXELS.reshape(-1).tolist())
    data = encoded(image, **({} if transparency is None else {"transparency": transparency}))
    np.testing.assert_array_equal(decode(data, "a"), PIXELS)


def test_cmyk_jpegs_become_rgb():
    """22 images of ILSVRC2012 are such."""
    cmyk = np.broadcast_to(np.array([255, 0, 0, 0], np.uint8), (16, 16, 4))
    found = decode(encoded(Image.fromarray(cmyk, "CMYK"), "JPEG", quality=100), "a.jpg")
    assert np.abs(found.astype(int) - [0, 255, 255]).max() < 10


@pytest.mark.parametrize("resample", ["nearest", "bilinear", "bicubic", "lanczos", "box"])
def test_resizing_keeps_a_plain_colour_and_gives_the_size(resample):
    plain = np.full((40, 25, 3), (10, 200, 90), np.uint8)
    found = decode(encoded(plain), "a", 16, resample)
    assert found.shape == (16, 16, 3)
    assert (found == (10, 200, 90)).all()


def test_box_averages_areas_and_nearest_picks():
    checks = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((2, 2))).astype(np.uint8)[..., None].repeat(3, 2) * 200
    assert (decode(encoded(checks), "a", 2, "box") == 100).all()
    assert set(decode(encoded(checks), "a", 2, "nearest").flat) <= {0, 200}


def test_an_image_of_the_right_size_is_not_resampled():
    np.testing.assert_array_equal(decode(encoded(PIXELS[:, :6]), "a", 6, "lanczos"), PIXELS[:, :6])


def png_claiming(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("side", "message"),
    {
        9_000: "has 9000×9000 pixels",
        12_000: "is a damaged image or none .Image size .144000000 pixels",
        60_000: "is a damaged image or none .Image size .3600000000 pixels",
        2**31 - 1: "is a damaged image or none .Image size",
    }.items(),
)
def test_pixel_bombs_are_refused_from_the_header(side, message):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=rf"x\.png {message}"):
            decode(png_claiming(side, side), "x.png")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM"])
def test_truncated_images_are_named(file_format):
    data = encoded(PIXELS.repeat(9, 0), file_format)
    for length in (0, 10, len(data) // 2, len(data) * 9 // 10):
        with pytest.raises(InputError, match=r"dog\.jpg is a damaged image or none .* replace or remove it"):
            decode(data[:length], "dog.jpg")


def test_a_flipped_bit_in_a_png_is_noticed():
    data = bytearray(encoded(PIXELS))
    data[len(data) // 2] ^= 4
    with pytest.raises(InputError, match="cat is a damaged image"):
        decode(bytes(data), "cat")


@pytest.mark.parametrize("data", [b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n", encoded(PIXELS, "EPS"), b"\x00" * 5000])
def test_what_is_no_common_image_is_refused(data):
    with pytest.raises(InputError, match="a is a damaged image or none"):
        decode(data, "a")


@pytest.mark.parametrize("jobs", [1, 3])
def test_many_images_keep_their_order_and_names(jobs):
    items = [(f"{index}.png", encoded(np.full((5, 5, 3), index % 256, np.uint8))) for index in range(1000)]
    found = list(decode_many(iter(items), 4, "box", jobs))
    assert [name for name, _ in found] == [name for name, _ in items]
    assert all((image == index % 256).all() and image.shape == (4, 4, 3) for index, (_, image) in enumerate(found))


def test_reading_ahead_is_bounded():
    data, taken = encoded(PIXELS), itertools.count()
    images = decode_many(((str(next(taken)), data) for _ in iter(int, 1)), jobs=2)
    for _ in range(500):
        next(images)
    assert next(taken) <= 500 + 6 * 64
    images.close()


def test_a_corrupt_image_in_the_middle_is_named_after_the_good_ones():
    items = [(f"{index}.png", b"junk" if index == 300 else encoded(PIXELS)) for index in range(600)]
    seen = []
    with pytest.raises(InputError, match=r"300\.png is a damaged image"):
        seen.extend(name for name, _ in decode_many(items, jobs=2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_an_error_of_the_items_themselves_comes_through():
    def items():
        yield "a", encoded(PIXELS)
        raise InputError("archive.zip is truncated")

    with pytest.raises(InputError, match=r"archive\.zip is truncated"):
        list(decode_many(items(), jobs=2))


def test_bad_arguments_are_named():
    with pytest.raises(InputError, match="unknown resampling filter 'cubic'; choose one of: nearest, bilinear"):
        decode_many([], resample="cubic")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="jobs is 0; give 1 or more"):
        decode_many([], jobs=0)
    with pytest.raises(InputError, match="image size is 0; give 1 or more"):
        decode_many([], size=0)
