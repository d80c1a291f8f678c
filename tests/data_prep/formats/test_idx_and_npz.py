import gzip
import io
import struct
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from miniature import SHARED_DATA

from data_prep.formats.idx import read_idx
from data_prep.formats.npz import iterate_npz, npz_shape
from data_prep.formats.sources import memory_source
from fewshot.errors import InputError

MNIST = SHARED_DATA / "mnist"
IMAGES = np.random.Generator(np.random.Philox(5)).integers(0, 256, (10, 84, 84, 3), np.uint8)


def idx_bytes(array, code):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.tobytes()


def idx(data):
    return read_idx(memory_source("train-images-idx3-ubyte", data))


@pytest.mark.parametrize(
    ("code", "dtype"), {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}.items(), ids=str
)
def test_idx_of_every_type_compressed_or_not(code, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for data in (idx_bytes(array, code), gzip.compress(idx_bytes(array, code))):
        found = idx(data)
        assert found.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(found, array)


def test_idx_lengths_must_be_exact():
    data = idx_bytes(np.zeros((5, 28, 28), np.uint8), 8)
    for length in range(16, len(data), 97):
        with pytest.raises(InputError, match=r"train-images-idx3-ubyte is truncated: \d+ of 3920 bytes"):
            idx(data[:length])
        with pytest.raises(InputError, match="train-images-idx3-ubyte is truncated"):
            idx(gzip.compress(data[:length]))
    for wrong in (data + b"\0", gzip.compress(data + b"\0")):
        with pytest.raises(InputError, match="goes on after the 3920 bytes it announces"):
            idx(wrong)
    with pytest.raises(InputError, match="is truncated: 8 of 16 bytes"):
        idx(data[:8])


@pytest.mark.parametrize("claim", [(2**32 - 1,), (60_000, 2**16, 1), (2**32 - 1,) * 4])
def test_idx_that_claims_too_much_costs_nothing(claim):
    data = struct.pack(f">BBBB{len(claim)}I", 0, 0, 8, len(claim), *claim) + bytes(100)
    tracemalloc.start()
    try:
        for content in (data, gzip.compress(data)):
            with pytest.raises(InputError, match=r"train-images-idx3-ubyte (claims|is truncated)"):
                idx(content)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_what_is_no_idx_is_called_by_its_name():
    with pytest.raises(InputError, match="is an HTML page instead of an IDX file or a gzip-compressed file"):
        idx(b"<html><body>404</body></html>")
    with pytest.raises(InputError, match="holds no IDX data but an HTML page"):
        idx(gzip.compress(b"<html>"))
    with pytest.raises(InputError, match="truncated or damaged"):
        idx(gzip.compress(bytes(100))[:-1][:15])


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs the real MNIST files beside the checkout")
def test_the_real_mnist():
    images, labels = (read_idx(MNIST / f"t10k-{name}-ubyte.gz") for name in ("images-idx3", "labels-idx1"))
    assert images.shape == (10_000, 28, 28)
    assert np.bincount(labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def npz_bytes(save=np.savez, **arrays):
    buffer = io.BytesIO()
    save(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("rows", [1, 3, 10, 1000])
def test_npz_rows_come_in_slices(save, rows):
    source = memory_source("train_images.npz", npz_bytes(save, images=IMAGES, labels=np.arange(10)))
    assert npz_shape(source, "images") == (10, 84, 84, 3)
    slices = list(iterate_npz(source, "images", rows))
    assert [len(part) for part in slices[:-1]] == [rows] * (len(slices) - 1)
    np.testing.assert_array_equal(np.concatenate(slices), IMAGES)
    np.testing.assert_array_equal(np.concatenate(list(iterate_npz(source, "labels"))), np.arange(10))


def test_npz_from_python_2_is_read():
    """numpy under Python 2 wrote shapes as long integers."""
    data = npz_bytes(images=IMAGES[:1])
    header = data.index(b"(1, 84, 84, 3), }")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        array = archive.read("images.npy").replace(b"(1, 84, 84, 3), }    ", b"(1L, 84L, 84L, 3L), }")
    assert header > 0
    assert b"84L" in array
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images.npy", array)
    [found] = iterate_npz(memory_source("a.npz", buffer.getvalue()), "images")
    np.testing.assert_array_equal(found, IMAGES[:1])


def test_npz_without_the_array_names_those_it_has():
    with pytest.raises(InputError, match=r"a\.npz has no array 'images', only: x, y; give the right file"):
        list(iterate_npz(memory_source("a.npz", npz_bytes(x=IMAGES, y=IMAGES)), "images"))


@pytest.mark.parametrize(
    "array", [np.array([{}, None], dtype=object), np.asfortranarray(IMAGES[0, ..., 0]), np.array(3)], ids=str
)
def test_npz_arrays_that_are_no_rows_are_refused(array):
    with pytest.raises(InputError, match=r"images\.npy in a\.npz .*give the right file"):
        list(iterate_npz(memory_source("a.npz", npz_bytes(images=array)), "images"))


def test_npz_that_claims_too_much_or_is_truncated():
    data = npz_bytes(images=IMAGES)
    lying = data.replace(b"(10, 84, 84, 3), }   ", b"(10000, 84, 84, 3), }")
    garbled = data.replace(b"(10, 84, 84, 3), }   ", b"(10, 84, 84, 3       ")
    for content, message in {
        lying: r"claims shape \(10000, 84, 84, 3\) but has",
        garbled: "has a damaged header",
        data[:-30]: "is truncated or damaged",
        data[: len(data) // 2]: "is truncated or damaged",
    }.items():
        with pytest.raises(InputError, match=rf"a\.npz {message}"):
            list(iterate_npz(memory_source("a.npz", content), "images"))


# VmHWM, not ru_maxrss: that one begins with the memory of the process that starts this one.
_MEASURE = """
import sys
from data_prep.formats.npz import iterate_npz
rows = sum(len(part) for part in iterate_npz(sys.argv[1], "images"))
print(rows, next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_a_gigabyte_of_npz_is_streamed_in_little_memory(tmp_path):
    path, rows = tmp_path / "train_images.npz", 52_000
    with zipfile.ZipFile(path, "w") as archive, archive.open("images.npy", "w", force_zip64=True) as member:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, 84, 84, 3)}
        np.lib.format.write_array_header_1_0(member, header)
        for start in range(0, rows, 1000):
            member.write(np.full((1000, 84, 84, 3), start // 1000, np.uint8).tobytes())
    assert path.stat().st_size > 1 << 30
    run = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], check=True, capture_output=True, text=True)
    path.unlink()
    found, peak_kib = map(int, run.stdout.split())
    assert found == rows
    assert peak_kib < 256 * 1024
