"""No bytes whatever make a reader raise anything but `InputError`, or return anything but plain data."""

import base64
import gzip
import io
import pickle
import tarfile
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data_prep.formats.archives import open_archive
from data_prep.formats.idx import read_idx
from data_prep.formats.images import decode
from data_prep.formats.npz import iterate_npz
from data_prep.formats.pickles import iterate_pickled_pngs, load_pickle
from data_prep.formats.sources import KINDS, identify_bytes, memory_source
from fewshot.errors import InputError

PLAIN = {
    "data": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
    "labels": [1, np.int64(2), 1.5, None],
    "name": ("a", b"b"),
}
PYTHON_2 = base64.b64decode(
    "gAJdcQEoY251bXB5LmNvcmUubXVsdGlhcnJheQpfcmVjb25zdHJ1Y3QKcQJjbnVtcHkKbmRhcnJheQpxA0sAhVUBYodScQQoSwFLBEsBhmNudW1w"
    "eQpkdHlwZQpxBVUCdTFLAEsBh1JxBihLA1UBfE5OTkr/////Sv////9LAHRiiVUEAAECA3RiaAJoA0sAhVUBYodScQcoSwFLBEsBhmgGiVUEAQID"
    "BHRiZS4="
)


def _tar(mode):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as archive:
        for name in ("a.png", "b/é" * 40):
            entry = tarfile.TarInfo(name)
            entry.size = 600
            archive.addfile(entry, io.BytesIO(bytes(600)))
    return buffer.getvalue()


def _zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", b"abc" * 100)
        archive.writestr("b/é.png", b"")
    return buffer.getvalue()


def _npz():
    buffer = io.BytesIO()
    np.savez(buffer, images=np.zeros((3, 2, 2, 3), np.uint8))
    return buffer.getvalue()


def _image(file_format, kind=np.uint8):
    buffer = io.BytesIO()
    shape = (10, 10, 3) if kind is np.uint8 else (10, 30)
    image = Image.fromarray(np.arange(300).astype(kind).reshape(shape))
    image.save(buffer, file_format)
    return buffer.getvalue()


def _read_archive(source):
    return [member.read() for member in open_archive(source)]


def _read_nested(source):
    return [[inner.read() for inner in open_archive(member)] for member in open_archive(source)]


def _decode(source):
    return decode(source.read(), source.name, 8)


IDX = b"\x00\x00\x08\x03\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x03" + bytes(12)
CASES = {
    **{f"pickle {protocol}": (load_pickle, pickle.dumps(PLAIN, protocol)) for protocol in range(6)},
    "pickle from Python 2": (load_pickle, PYTHON_2),
    "PNG list": (lambda source: list(iterate_pickled_pngs(source)), PYTHON_2),
    "zip": (_read_archive, _zip()),
    "tar": (_read_archive, _tar("w")),
    "tar.gz": (_read_archive, _tar("w:gz")),
    "tar.xz": (_read_archive, _tar("w:xz")),
    "tar.bz2": (_read_archive, _tar("w:bz2")),
    "nested": (_read_nested, _tar("w")),
    "npz": (lambda source: list(iterate_npz(source, "images", 2)), _npz()),
    "idx": (read_idx, IDX),
    "idx.gz": (read_idx, gzip.compress(IDX)),
    **{
        name: (_decode, _image(name))
        for name in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PPM", "TIFF", "AVIF", "JPEG2000", "ICO", "QOI", "SGI", "PCX")
    },
    "TIFF of 16 bits": (_decode, _image("TIFF", np.uint16)),
    "PNG of 16 bits": (_decode, _image("PNG", np.uint16)),
}


@st.composite
def damaged(draw, original):
    """A valid file with bytes changed, cut out, doubled or put in, and perhaps its end lost."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(data)))
        end = min(len(data), place + draw(st.integers(0, 8)))
        data[place:end] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(data[place:end]) * 2)))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def survives(read, data):
    with warnings.catch_warnings(action="ignore"):  # Pillow and zipfile warn of much that is odd
        message = "some.file"
        try:
            read(memory_source("some.file", data))
        except InputError as error:
            message = str(error)
    assert "some.file" in message
    assert message.isprintable()


@pytest.mark.parametrize("case", CASES)
def test_valid_files_are_read(case):
    read, original = CASES[case]
    if case != "nested":
        read(memory_source("some.file", original))


@pytest.mark.parametrize("case", CASES)
def test_damaged_files(case):
    read, original = CASES[case]

    @settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(data=damaged(original))
    def check(data):
        survives(read, data)

    check()


@pytest.mark.parametrize("case", CASES)
def test_arbitrary_bytes_after_a_good_beginning(case):
    read, original = CASES[case]

    @settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(kept=st.integers(0, 64), rest=st.binary(max_size=300))
    def check(kept, rest):
        survives(read, original[:kept] + rest)

    check()


_OPCODES = st.sampled_from(
    [bytes([code]) for code in b"(.0123FGIJKLMNPQRSTUVX]abcdehgijloprstuq}\x80\x81\x85\x86\x87\x88\x8a\x8c\x8e\x93\x94"]
)


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.lists(st.one_of(_OPCODES, st.binary(max_size=3), st.just(b"U\x01b"), st.just(b"cnumpy\ndtype\n"))))
def test_arbitrary_pickle_programs(pieces):
    survives(load_pickle, b"\x80\x02" + b"".join(pieces) + b".")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=600))
def test_every_file_is_of_some_kind(data):
    assert identify_bytes(data) in KINDS
