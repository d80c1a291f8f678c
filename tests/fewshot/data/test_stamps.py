"""A file that was changed is noticed when it is opened; one that was not is not read again."""

import os
import shutil

import h5py
import pytest

from fewshot.data import stamps, store
from fewshot.data.catalog import open_dataset
from fewshot.data.store import Dataset
from fewshot.errors import InputError


@pytest.fixture
def path(tmp_path, write_tiny_file):
    return write_tiny_file(tmp_path / "tiny.h5")


@pytest.fixture
def hashed(monkeypatch):
    """How often a file was hashed."""
    calls = []
    original = store.fingerprint
    monkeypatch.setattr(store, "fingerprint", lambda *arguments: calls.append(1) or original(*arguments))
    return calls


def flip(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def offset_of(path, split="test"):
    with h5py.File(path) as file:
        return file[f"{split}/images"].id.get_offset()  # pyright: ignore[reportAttributeAccessIssue, reportIndexIssue]


def test_a_file_is_hashed_when_it_is_first_opened_and_not_again(path, hashed):
    for _ in range(3):
        Dataset.open(path)
        open_dataset("tiny", path.parent)
    assert len(hashed) == 1


@pytest.mark.parametrize("opened_before", [False, True])
def test_one_flipped_byte_is_noticed(path, opened_before):
    if opened_before:
        Dataset.open(path)
    flip(path, offset_of(path) + 7)
    for _ in range(2):
        with pytest.raises(InputError, match="is damaged: fingerprint"):
            open_dataset("tiny", path.parent)


def test_names_are_compared_too(path):
    with h5py.File(path, "r+") as file:
        file["train/class_names"][0] = "another"  # pyright: ignore[reportIndexIssue]
    with pytest.raises(InputError, match="is damaged: its names"):
        Dataset.open(path)


def test_files_from_before_names_were_hashed_open(path):
    with h5py.File(path, "r+") as file:
        del file.attrs["names_sha256"]
    assert Dataset.open(path).pixels == ""


@pytest.mark.parametrize("change", ["touched", "copied", "replaced"])
def test_another_file_is_hashed_anew(change, path, hashed, tmp_path, write_tiny_file):
    Dataset.open(path)
    before = len(hashed)
    if change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "copied":
        path = shutil.copy2(path, tmp_path / "copy.h5")
    else:
        status = path.stat()
        write_tiny_file(path, shift=1)
        before = len(hashed)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    Dataset.open(path)
    assert len(hashed) == before + 1


@pytest.fixture(params=["attributes", "a file beside it", "the user's cache", "nothing"])
def place(request, path, tmp_path, monkeypatch):
    """Where stamps can be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    refused = {"attributes": 0, "a file beside it": 1, "the user's cache": 2, "nothing": 3}[request.param]

    def refuse(*arguments):
        raise PermissionError(1, "read-only")

    if refused > 0:
        monkeypatch.setattr(stamps.os, "setxattr", refuse)
    written = stamps.write_text

    def write(to, text):
        if (refused > 1 and to.parent == path.parent) or refused > 2:
            raise InputError(f"cannot write {to}")
        written(to, text)

    monkeypatch.setattr(stamps, "write_text", write)
    return request.param


def test_where_nothing_can_be_written_a_file_is_hashed_every_time(place, path, hashed):
    for _ in range(3):
        Dataset.open(path)
    assert len(hashed) == (3 if place == "nothing" else 1)
    flip(path, offset_of(path))
    with pytest.raises(InputError, match="is damaged"):
        Dataset.open(path)


def test_a_stamp_of_something_else_is_none(path, hashed):
    path.with_name(".tiny.h5.checked").write_bytes(b"\xff\x00")
    Dataset.open(path)
    assert len(hashed) == 1
