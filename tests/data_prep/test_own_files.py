"""Nothing is dropped without a count, whatever people's files are called and hold."""

import io
import struct
import zlib

import numpy as np
import pytest
from miniature import encoded, pictures, write_files, write_zip
from own import CLASSES, SPLIT_CLASSES, classes, folder_of, images, prepare, split_tree
from PIL import Image

from fewshot.data.store import Dataset
from fewshot.errors import InputError


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        *((".tif", "TIFF"), (".tiff", "TIFF"), (".jfif", "JPEG"), (".JPG", "JPEG"), (".avif", "AVIF")),
        *((".jp2", "JPEG2000"), ("", "PNG"), (".tga", "TGA"), (".dat", "PNG"), (".png", "JPEG"), (".ico", "ICO")),
        *((".pcx", "PCX"), (".webp", "WEBP")),
    ],
)
def test_whatever_pillow_reads_is_read(ending, kind, tmp_path):
    more = {f"train/more/{row}{ending}": encoded(image, kind) for row, image in enumerate(pictures(3, 12, 5))}
    dataset = prepare(folder_of(tmp_path, split_tree() | more), tmp_path)
    assert classes(dataset)["train"] == {*SPLIT_CLASSES["train"], "more"}
    assert "left_out" not in dataset.sources


OTHERS = {
    "train/tr_a/notes.txt": b"x",
    "train/tr_a/raw.heic": b"\x00\x00\x00\x18ftypheic",
    "train/tr_b/also.heic": b"\x00\x00\x00\x18ftypheic",
    "train/tr_a/unknown": b"something",
    "train/tr_a/pack.rar": b"Rar!\x1a\x07\x00",
    "train/stray.png": encoded(pictures(1, 12, 3)[0]),
    "train/.hidden/x.png": b"",
    "train/tr_a/Thumbs.db": b"",
    "train/tr_a/@eaDir/1.png": b"",
    "__MACOSX/train/._x.png": b"",
}


@pytest.mark.parametrize("write", [write_files, lambda path, files: write_zip(path.with_suffix(".zip"), files)])
def test_what_is_not_used_is_counted_by_extension_and_reason(write, tmp_path, capsys):
    dataset = prepare(write(tmp_path / "from", split_tree() | OTHERS), tmp_path)
    told = capsys.readouterr().out
    for line in (
        "1 .txt file: no image that Pillow reads",
        "2 .heic files: no image that Pillow reads",
        "1 extensionless file: no image that Pillow reads",
        "1 .rar file: packed in a way that is not read here; unpack it",
        "1 .png file: an image outside of any class folder",
        "1 .db file: hidden, or a system's own",
    ):
        assert f"left out: {line}" in told
    left_out = dataset.sources["left_out"]
    assert sum(entry["files"] for entry in left_out if entry["reason"] == "hidden, or a system's own") == 4
    assert classes(dataset) == SPLIT_CLASSES


def test_a_dry_run_prints_the_tree_and_writes_nothing(tmp_path, capsys):
    folder = folder_of(tmp_path, split_tree() | OTHERS)
    with pytest.raises(InputError, match="does not exist"):
        prepare(folder, tmp_path / "out", "--dry-run")
    told = capsys.readouterr().out
    for line in (
        "train: 4 classes, 12 images",
        "  tr_a  3",
        "split by the folders train, val, test",
        "left out: 1 .rar",
    ):
        assert line in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["caf\u0301e\u0301", "\u06af\u0644\u200c\u0633\u0631\u062e", "a: b", "$\\frac{$", "𝒳 \U0001f408", "نص"]
)
def test_any_printable_name_is_read_from_folders_and_archives(name, tmp_path):
    files = split_tree() | images([f"train/{name}"])
    folder = prepare(folder_of(tmp_path, files), tmp_path)
    archive = prepare(write_zip(tmp_path / "own.zip", files), tmp_path / "out")
    assert classes(folder)["train"] == classes(archive)["train"] == {*SPLIT_CLASSES["train"], name}
    assert folder.fingerprint == archive.fingerprint


def test_names_of_a_zip_from_windows(tmp_path):
    files = {name.replace("/", "\\"): data for name, data in split_tree().items()}
    assert classes(prepare(write_zip(tmp_path / "own.zip", files), tmp_path)) == SPLIT_CLASSES


def deep(low, high, seed):
    values = np.random.Generator(np.random.Philox(seed)).integers(low, high + 1, (8, 8))
    values[0, :2] = low, high
    return values


def png_of_16_bits(values, colour):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def encoded_deep(values, how):
    if how == "grey png":
        return png_of_16_bits(values, 0)
    if how == "colour png":
        return png_of_16_bits(np.repeat(values[..., None], 3, axis=2), 2)
    if how == "grey and alpha png":
        return png_of_16_bits(np.stack([values, np.full_like(values, 65_535)], axis=2), 4)
    buffer = io.BytesIO()
    kind = {"tiff": np.uint16, "int tiff": np.int32, "float tiff": np.float32}[how]
    Image.fromarray(values.astype(kind)).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["grey png", "colour png", "grey and alpha png", "tiff", "int tiff", "float tiff"])
@pytest.mark.parametrize("span", [(0, 4095), (28_000, 31_000), (0, 65_535)])
def test_deep_images_are_scaled_by_the_range_in_use(how, span, tmp_path, capsys):
    files = split_tree()
    values = {name: deep(*span, seed) for seed, name in enumerate(files)}
    folder = folder_of(tmp_path, {name: encoded_deep(values[name], how) for name in files})
    dataset = prepare(folder, tmp_path)
    step = 0 if how == "float tiff" else 1
    for split in dataset.splits.values():
        for image, name in zip(split.images, split.file_names(), strict=True):
            expected = np.floor((values[name] - span[0]) * 256 / (span[1] - span[0] + step)).clip(0, 255)
            assert np.abs(image - expected[..., None]).max() == 0
    assert f"scaled from {span[0]} to {span[1]} to 0 to 255" in capsys.readouterr().out
    assert "scaled from" in dataset.resize


def test_deep_images_are_scaled_as_asked(tmp_path):
    files = {name: encoded_deep(deep(0, 999, seed), "grey png") for seed, name in enumerate(split_tree())}
    dataset = prepare(folder_of(tmp_path, files), tmp_path, "--range", "0", "4095")
    assert dataset["train"].images.max() == 999 * 256 // 4096


def test_all_bad_images_are_named_and_can_be_left_out(tmp_path, capsys):
    bad = {f"train/tr_a/bad{row:02d}.png": b"<!DOCTYPE html><title>404</title>" for row in range(25)}
    folder = folder_of(tmp_path, split_tree() | bad)
    with pytest.raises(InputError) as error:
        prepare(folder, tmp_path)
    told = str(error.value)
    assert "train/tr_a/bad00.png is a damaged image or none (an HTML page)" in told
    assert "bad19.png" in told
    assert "bad20.png" not in told
    assert "; and 5 more" in told
    assert "--skip-bad" in told
    assert not list(tmp_path.glob("*.h5"))
    dataset = prepare(folder, tmp_path, "--skip-bad")
    assert classes(dataset) == SPLIT_CLASSES
    assert "left out: 25 .png files: damaged, or no image (train/tr_a/bad00.png" in capsys.readouterr().out
    assert dataset.sources["left_out"][0]["first"][:2] == ["train/tr_a/bad00.png", "train/tr_a/bad01.png"]


def test_classes_of_one_meaning_are_told_and_refused_when_strict(tmp_path, capsys):
    folder = folder_of(tmp_path, split_tree() | images(["train/Caf\u00e9", "test/cafe\u0301 "]))
    prepare(folder, tmp_path)
    assert "warning: classes of the same meaning: 'Café' (train) and 'cafe\u0301 ' (test)" in capsys.readouterr().out
    with pytest.raises(InputError, match="classes of the same meaning"):
        prepare(folder, tmp_path, "--strict", "--force")


def test_identical_images_of_two_splits_are_told_and_refused_when_strict(tmp_path, capsys):
    files = split_tree()
    folder = folder_of(tmp_path, files | {"test/te_a/copy.png": files["train/tr_b/1.png"]})
    dataset = prepare(folder, tmp_path)
    assert (
        "warning: 1 images are the same in two splits: train/tr_b/1.png and test/te_a/copy.png"
        in capsys.readouterr().out
    )
    assert dataset.sources["identical_images"] == 1
    with pytest.raises(InputError, match=r"train/tr_b/1\.png and test/te_a/copy\.png; remove one"):
        prepare(folder, tmp_path, "--strict", "--force")
    assert Dataset.open(dataset.path).fingerprint == dataset.fingerprint
    assert set(CLASSES) == set(dataset.splits)
