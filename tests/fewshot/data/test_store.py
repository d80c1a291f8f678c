"""Dataset files: what is written is what is read, and what is damaged is refused in one line."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from fewshot.data.store import SCHEMA_VERSION, Dataset, writing
from fewshot.errors import InputError

WRITE = """
import sys
from pathlib import Path
import numpy as np
from fewshot.data.store import writing
from fewshot.errors import InputError

def write(path, value, pause=lambda: None):
    with writing(Path(path), "x", sources={}, resize="none") as writer:
        writer.add_split("train", {"a": 30, "b": 30}, (16, 16, 3))
        writer.write("train", 0, np.full((30, 16, 16, 3), value, np.uint8), ["n"] * 30)
        pause()
        writer.write("train", 30, np.full((30, 16, 16, 3), value, np.uint8), ["n"] * 30)

def pause():
    print("half", flush=True)
    sys.stdin.readline()
"""


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program that has `write` and `pause` at hand."""
    command = [sys.executable, "-c", WRITE + code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def write(path: Path, value: int) -> None:
    with writing(path, "x", sources={}, resize="none") as writer:
        writer.add_split("train", {"a": 30, "b": 30}, (16, 16, 3))
        writer.write("train", 0, np.full((60, 16, 16, 3), value, np.uint8), ["n"] * 60)


def partial_files(folder: Path) -> list[Path]:
    return list(folder.glob(".*.partial"))


def test_round_trip(tmp_path: Path) -> None:
    noise = np.random.Generator(np.random.Philox(0)).integers(0, 256, (7, 5, 6, 1), np.uint8)
    sources = {"archive": "x.tar", "sha256": "0" * 64}
    with writing(tmp_path / "x.h5", "x", sources, "box filter") as writer:
        writer.add_split("train", {"α": 2, "empty": 0, "c": 5}, (5, 6, 1))
        writer.write("train", 4, noise[4:], ["e", "f", "g"])
        writer.write("train", 0, noise[:4], ["a", "b", "c", "dé"])
        writer.add_split("test", {"only": 1}, (3, 3, 3))
        writer.write("test", 0, np.full((1, 3, 3, 3), 9, np.uint8), ["z"])
    dataset = Dataset.open(tmp_path / "x.h5")
    dataset.verify()
    assert (dataset.name, dataset.sources, dataset.resize) == ("x", sources, "box filter")
    assert list(dataset.splits) == ["train", "test"]
    train = dataset["train"]
    assert np.array_equal(train.images, noise)
    assert np.array_equal(train.read(np.array([6, 0, 6])), noise[[6, 0, 6]])
    assert train.class_names == ["α", "empty", "c"]
    assert train.class_sizes.tolist() == [2, 0, 5]
    assert train.file_names() == ["a", "b", "c", "dé", "e", "f", "g"]
    assert (dataset["test"].images == 9).all()
    assert not train.images.flags.writeable
    with pytest.raises(InputError, match="has no split 'val'; it has: train, test"):
        dataset["val"]


def test_fingerprint_is_of_images_and_classes_alone(tmp_path: Path, write_tiny_file: Callable[..., Path]) -> None:
    one, same = (Dataset.open(write_tiny_file(tmp_path / f"{n}.h5")) for n in "ab")
    other = Dataset.open(write_tiny_file(tmp_path / "c.h5", shift=1))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["train/class_offsets"][1] += 1
    with pytest.raises(InputError, match="is damaged"):
        Dataset.open(tmp_path / "b.h5").verify()


def test_only_what_was_used_of_the_reserved_room_remains(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", 0)
    assert (tmp_path / "x.h5").stat().st_size < 60 * 16 * 16 * 3 + 20_000


@pytest.mark.parametrize("kept", [0, 100, 0.2, 0.5, 0.9, -1])
def test_truncated_files_are_refused(tiny: Dataset, kept: float) -> None:
    size = tiny.path.stat().st_size
    os.truncate(tiny.path, int(kept * size) if isinstance(kept, float) else kept % size)
    with pytest.raises(InputError, match=r"tiny\.h5 is (truncated|not a complete)"):
        Dataset.open(tiny.path)


def test_absent_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.h5 does not exist; run"):
        Dataset.open(tmp_path / "absent.h5")
    (tmp_path / "page.h5").write_text("<html>quota exceeded</html>")
    with pytest.raises(InputError, match="truncated or not an HDF5 file"):
        Dataset.open(tmp_path / "page.h5")
    with pytest.raises(InputError, match="does not exist"):
        Dataset.open(tmp_path)


@pytest.mark.parametrize("version", [None, 0, SCHEMA_VERSION + 1])
def test_other_schema_versions_are_refused(tiny: Dataset, version: int | None) -> None:
    with h5py.File(tiny.path, "r+") as file:
        del file.attrs["schema_version"]
        if version is not None:
            file.attrs["schema_version"] = version
    with pytest.raises(InputError, match=f"has schema version {version}, this program reads {SCHEMA_VERSION}"):
        Dataset.open(tiny.path)


def replace_array(file: h5py.File, name: str, **array: object) -> None:
    del file[name]
    file.create_dataset(name, **array)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.attrs.__delitem__("fingerprint"),
        lambda file: file.attrs.__setitem__("sources", "{"),
        lambda file: file.__delitem__("train/images"),
        lambda file: file.__delitem__("val/class_names"),
        lambda file: (file.__delitem__("test"), file.create_dataset("test", data=[1])),
        lambda file: (file.__delitem__("train/images"), file.create_group("train/images")),
        lambda file: replace_array(file, "train/images", data=np.zeros((227, 8, 8, 3), np.float32)),
        lambda file: replace_array(file, "train/images", data=np.zeros((227, 8, 8, 3), np.uint8), chunks=True),
        lambda file: replace_array(file, "train/images", data=np.zeros((227, 8, 8), np.uint8)),
        lambda file: replace_array(file, "train/images", data=np.zeros((226, 8, 8, 3), np.uint8)),
        lambda file: replace_array(file, "train/class_offsets", data=[0, 30, 20, 95, 117, 145, 180, 206, 227]),
        lambda file: replace_array(file, "train/class_offsets", data=[0, 227]),
        lambda file: replace_array(file, "train/class_offsets", data=np.zeros(0, np.int64)),
        lambda file: replace_array(file, "train/file_names", data=["a"]),
        lambda file: replace_array(file, "train/class_names", data=np.arange(8)),
    ],
)
def test_incomplete_files_are_refused(tiny: Dataset, damage: Callable[[h5py.File], object]) -> None:
    with h5py.File(tiny.path, "r+") as file:
        damage(file)
    with pytest.raises(InputError, match=r"tiny\.h5 is not a complete dataset file \(.+\); prepare"):
        Dataset.open(tiny.path)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("place", [0, -1])
def test_one_damaged_pixel_is_found(tiny: Dataset, split: str, place: int) -> None:
    tiny.verify()
    index = tiny[split]
    with open(tiny.path, "r+b") as file:
        file.seek(index.byte_offset + place % index.images.size)
        pixel = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([pixel ^ 1]))
    with pytest.raises(InputError, match=f"is damaged: fingerprint .* written as {tiny.fingerprint}"):
        Dataset.open(tiny.path).verify()


def test_a_file_replaced_after_opening_is_noticed(tiny: Dataset, write_tiny_file: Callable[..., Path]) -> None:
    first = tiny["train"].images[0].copy()
    write_tiny_file(tiny.path, shift=1)
    assert np.array_equal(tiny["train"].images[0], first), "what is mapped stays what it was"
    with pytest.raises(InputError, match="changed since it was opened"):
        tiny["val"].read(np.array([0]))
    tiny.path.unlink()
    with pytest.raises(InputError, match="cannot read"):
        _ = tiny["test"].images


def test_pickles_hold_the_index_only(tiny: Dataset) -> None:
    expected = tiny["train"].images.copy()
    pickled = pickle.dumps(tiny)
    assert len(pickled) < 6000 < expected.nbytes
    assert np.array_equal(pickle.loads(pickled)["train"].images, expected)


def resident(kind: str) -> int:
    """Bytes of this process in memory, `RssFile` or `RssAnon`."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields[kind].split()[0]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's account of memory")
def test_reading_everything_keeps_little_of_it_resident(tmp_path: Path) -> None:
    images = np.zeros((3000, 128, 128, 3), np.uint8)
    with writing(tmp_path / "large.h5", "large", {}, "none") as writer:
        writer.add_split("train", {"a": len(images)}, images.shape[1:])
        writer.write("train", 0, images, [""] * len(images))
    split = Dataset.open(tmp_path / "large.h5")["train"]
    before = resident("RssFile")
    largest = 0
    for start in range(0, len(images), 50):
        split.read(np.arange(start, start + 50))
        largest = max(largest, resident("RssFile") - before)
    assert largest < 80e6 < images.nbytes
    assert int(split.images[::1, ::16].sum()) == 0
    assert resident("RssFile") - before > images.nbytes / 2, "the measure must be able to see what stays mapped"


@pytest.mark.parametrize(
    ("start", "shape", "dtype", "names", "message"),
    [
        (0, (2, 8, 8, 3), np.float32, 2, "rows are float32"),
        (0, (2, 8, 9, 3), np.uint8, 2, r"\(8, 9, 3\), not uint8 \(8, 8, 3\)"),
        (0, (2, 8, 8, 3), np.uint8, 3, "3 file names for 2 images"),
        (9, (2, 8, 8, 3), np.uint8, 2, "outside the split"),
        (-1, (2, 8, 8, 3), np.uint8, 2, "outside the split"),
        (3, (2, 8, 8, 3), np.uint8, 2, "already written"),
    ],
)
def test_writer_rejects_rows_that_do_not_fit(
    tmp_path: Path, start: int, shape: tuple[int, ...], dtype: type, names: int, message: str
) -> None:
    def build() -> None:
        with writing(tmp_path / "x.h5", "x", {}, "none") as writer:
            writer.add_split("train", {"a": 10}, (8, 8, 3))
            writer.write("train", 4, np.zeros((2, 8, 8, 3), np.uint8), ["n"] * 2)
            writer.write("train", start, np.zeros(shape, dtype), ["n"] * names)

    with pytest.raises(ValueError, match=message):
        build()
    assert list(tmp_path.iterdir()) == []


def test_writer_rejects_holes_and_leaves_the_earlier_file(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", 1)
    before = (tmp_path / "x.h5").read_bytes()

    def build() -> None:
        with writing(tmp_path / "x.h5", "x", {}, "none") as writer:
            writer.add_split("train", {"a": 10}, (8, 8, 3))
            writer.write("train", 0, np.zeros((9, 8, 8, 3), np.uint8), ["n"] * 9)

    with pytest.raises(ValueError, match="1 of 10 rows of 'train' were never written"):
        build()
    assert (tmp_path / "x.h5").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "x.h5"]


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with run("write(sys.argv[1], 1, pause)", path) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == "half\n"
        writer.send_signal(signal.SIGKILL)
    assert not path.exists()
    assert len(partial_files(tmp_path)) == 1
    write(path, 2)
    assert partial_files(tmp_path) == []
    assert (Dataset.open(path)["train"].images == 2).all()


def test_two_writers_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with run("write(sys.argv[1], 1, pause)", path) as slow:
        assert slow.stdout
        assert slow.stdout.readline() == "half\n"
        write(path, 2)
        assert len(partial_files(tmp_path)) == 1
        assert (Dataset.open(path)["train"].images == 2).all()
        _, complaint = slow.communicate("\n")
        assert slow.returncode == 0, complaint
    dataset = Dataset.open(path)
    dataset.verify()
    assert (dataset["train"].images == 1).all()
    assert partial_files(tmp_path) == []


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    write(sys.argv[1], 1)
except InputError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("limit", [0, 100, 5_000, 500_000, 1_050_000])
def test_a_full_disk_is_refused_before_writing(tmp_path: Path, limit: int) -> None:
    """A limit on file sizes stands for the full disk: the system calls fail alike."""
    write(tmp_path / "x.h5", 2)
    before = (tmp_path / "x.h5").read_bytes()
    with run(FULL, tmp_path / "x.h5", limit) as writer:
        told, complaint = writer.communicate()
    assert told.startswith("refused: cannot write")
    assert "MB are needed; free space there or choose another folder" in told
    assert complaint == ""
    assert (tmp_path / "x.h5").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "x.h5"]


def test_the_limit_of_the_full_disk_is_what_refuses(tmp_path: Path) -> None:
    with run(FULL, tmp_path / "x.h5", 3_000_000) as writer:
        assert writer.communicate() == ("", "")
    Dataset.open(tmp_path / "x.h5").verify()
