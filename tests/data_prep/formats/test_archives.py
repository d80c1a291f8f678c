import gzip
import io
import stat
import tarfile
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from data_prep.formats.archives import open_archive
from data_prep.formats.sources import memory_source
from fewshot.errors import InputError

FILES = {"train/n01/a.png": b"first", "train/n02/b.png": b"x" * 70_000, "val/é.txt": b""}
TARS = {".tar": "w", ".tar.gz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def tar_bytes(files, mode="w", tar_format=tarfile.GNU_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tar_format) as archive:
        archive.addfile(folder("train"))
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def folder(name):
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    return entry


def zip_bytes(files, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.mkdir("train")
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def contents(data, name="some.archive"):
    return {member.name: member.read() for member in open_archive(memory_source(name, data))}


@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_files_come_out_in_order(tmp_path, suffix):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(zip_bytes(FILES) if suffix == ".zip" else tar_bytes(FILES, TARS[suffix]))
    members = [(member.name, member.size, member.read()) for member in open_archive(path)]
    assert members == [(name, len(data), data) for name, data in FILES.items()]


@pytest.mark.parametrize("tar_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(tar_format):
    files = {"/".join(["deep"] * 60) + "/é.png": b"1", "b": b"2"}
    assert contents(tar_bytes(files, tar_format=tar_format)) == files


def test_members_may_be_left_unread():
    for data in (zip_bytes(FILES), tar_bytes(FILES), tar_bytes(FILES, "w:gz")):
        assert [member.name for member in open_archive(memory_source("a", data))] == list(FILES)


def test_a_tar_of_class_tars_is_streamed():
    """ILSVRC2012_img_train.tar holds one tar of images a class."""
    classes = {
        f"n{index:08}.tar": {f"n{index:08}_{image}.JPEG": bytes([image]) for image in (3, 1)} for index in range(3)
    }
    outer = tar_bytes({name: tar_bytes(images) for name, images in classes.items()})
    found = {
        member.name: {inner.name: inner.read() for inner in open_archive(member)}
        for member in open_archive(memory_source("ILSVRC2012_img_train.tar", outer))
    }
    assert found == classes


def test_an_error_inside_a_nested_archive_names_both():
    outer = tar_bytes({"n01440764.tar": tar_bytes(FILES)[:700]})
    members = open_archive(memory_source("some.archive", outer))
    with pytest.raises(InputError, match=r"n01440764\.tar in some\.archive is truncated or damaged"):
        list(open_archive(next(members)))


def test_what_macos_adds_is_skipped():
    files = {"__MACOSX/._a.png": b"", "a.png": b"1", "b/._c.png": b""}
    assert contents(zip_bytes(files)) == contents(tar_bytes(files)) == {"a.png": b"1"}


@pytest.mark.parametrize(
    "name", ["../a.png", "x/../../a.png", "/etc/passwd", "..", "C:/a.png", "a\\..\\b.png", "a\nb.png", "a\x1b[2J.png"]
)
def test_names_that_lead_outside_are_refused(name):
    with pytest.raises(InputError, match=r"in some\.archive is named so as to lead outside or hide"):
        contents(tar_bytes({"good.png": b"", name: b"bad"}))
    with pytest.raises(InputError, match=r"in some\.archive is named so as to lead outside or hide"):
        contents(zip_bytes({"good.png": b"", name: b"bad"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("a.png")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(InputError, match=r"'a\.png' in some\.archive is a link, a device or sparse"):
        contents(buffer.getvalue())


def test_links_in_a_zip_are_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("a.png")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match=r"'a\.png' in some\.archive is encrypted or no regular file"):
        contents(buffer.getvalue())


def test_encrypted_members_are_refused():
    data = bytearray(zip_bytes({"a.png": b"1"}))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    data[data.index(b"a.png") - 30 + 6] |= 1
    with pytest.raises(InputError, match="is encrypted or no regular file"):
        contents(bytes(data))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"one")
        archive.writestr("a.png", b"two")
    with pytest.raises(InputError, match=r"a\.png in some\.archive is there twice"):
        contents(buffer.getvalue())


ARCHIVES = {
    "zip": zip_bytes(FILES),
    "stored zip": zip_bytes(FILES, zipfile.ZIP_STORED),
    "tar": tar_bytes(FILES),
    "tar.gz": tar_bytes(FILES, "w:gz"),
    "tar.xz": tar_bytes(FILES, "w:xz"),
    "tar.bz2": tar_bytes(FILES, "w:bz2"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_truncation_is_noticed_wherever_it_happens(kind):
    data = ARCHIVES[kind]
    # After the end-of-archive mark a plain tar only has padding, which nobody misses.
    needed = (
        len(data) if kind != "tar" else 512 + sum(512 + -(-len(content) // 512) * 512 for content in FILES.values())
    )
    for length in {*range(0, needed, max(1, needed // 150)), needed - 1, needed - 512}:
        with pytest.raises(InputError, match=r"some\.archive is (truncated|empty|of no kind)"):
            contents(data[:length])


def test_a_damaged_header_between_two_members_is_no_end():
    data = bytearray(tar_bytes(FILES))
    data[data.index(b"train/n02")] ^= 0xFF
    with pytest.raises(InputError, match=r"some\.archive is truncated or damaged \(bad checksum\)"):
        contents(bytes(data))


@pytest.mark.parametrize("kind", ["zip", "stored zip", "tar.gz", "tar.xz", "tar.bz2"])
def test_a_flipped_bit_in_the_data_is_noticed(kind):
    noise = np.random.Generator(np.random.Philox(1)).bytes(50_000)
    data = bytearray(zip_bytes({"a": noise}) if "zip" in kind else tar_bytes({"a": noise}, f"w:{kind[4:]}"))
    data[25_000] ^= 1
    with pytest.raises(InputError, match=r"some\.archive is truncated or damaged"):
        contents(bytes(data))


def test_the_checksum_is_compared_however_long_the_padding():
    data = bytearray(gzip.compress(tar_bytes(FILES) + bytes(5 << 20)))
    assert contents(bytes(data)) == FILES
    data[-8] ^= 1
    with pytest.raises(InputError, match=r"some\.archive is truncated or damaged .CRC check failed"):
        contents(bytes(data))


def test_decompression_bombs_are_refused_early(tmp_path):
    """600 members of a megabyte of zeros, 200 times the archive's size, are given up at a quarter of a gigabyte."""
    path = tmp_path / "bomb.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for index in range(600):
            entry = tarfile.TarInfo(f"{index}.png")
            entry.size = 1 << 20
            file.write(entry.tobuf() + bytes(1 << 20))
    assert path.stat().st_size < 4 << 20
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"bomb\.tar\.gz inflates \d+ bytes to 26\d{7} or more"):
            list(open_archive(path))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_zip_that_declares_a_bomb_is_refused_before_reading():
    data = zip_bytes({f"{index}.png": bytes(1 << 20) for index in range(300)})
    with pytest.raises(InputError, match=r"some\.archive inflates \d+ bytes to 314572800 or more"):
        next(open_archive(memory_source("some.archive", data)))


def test_sizes_that_lie_cost_nothing():
    started = time.perf_counter()
    entry = tarfile.TarInfo("a.png")
    entry.size = 10 << 30
    lying_tar = entry.tobuf() + b"abc" + bytes(509)
    lying_zip = bytearray(zip_bytes({"a.png": b"abc"}, zipfile.ZIP_STORED))
    start = lying_zip.rindex(b"PK\x01\x02")
    lying_zip[start + 20 : start + 28] = b"\xff\xff\xff\x0f" * 2
    tracemalloc.start()
    try:
        for data in (lying_tar, bytes(lying_zip), gzip.compress(lying_tar)):
            with pytest.raises(InputError, match=r"some\.archive"):
                contents(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < 1


def test_a_member_too_large_for_memory_is_not_read_into_it():
    [member] = open_archive(memory_source("a.zip", zip_bytes({"a": bytes(1000)})))
    with pytest.raises(InputError, match=r"a in a\.zip has 1000 bytes, more than the 999 expected"):
        member.read(limit=999)


def test_sparse_files_are_refused():
    data = bytearray(tar_bytes({"a": b"abc"}))
    header = tarfile.TarInfo("a")
    header.type = tarfile.GNUTYPE_SPARSE
    data[512:1024] = header.tobuf()
    with pytest.raises(InputError, match="sparse"):
        contents(bytes(data))


def test_an_html_page_is_called_so(tmp_path):
    path = tmp_path / "mini-imagenet.tar.gz"
    path.write_bytes(b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>")
    with pytest.raises(InputError, match=r"mini-imagenet\.tar\.gz is an HTML page instead of a zip archive or a tar"):
        list(open_archive(path))


def test_a_compressed_file_that_is_no_tar():
    with pytest.raises(InputError, match=r"some\.archive is truncated or damaged"):
        contents(gzip.compress(b"hello" * 1000))


def test_headers_do_not_pile_up_in_memory():
    data = tar_bytes({f"{index:06}.png": b"" for index in range(20_000)})
    tracemalloc.start()
    try:
        for _ in open_archive(memory_source("a.tar", data)):
            pass
        assert tracemalloc.get_traced_memory()[1] < 8 << 20  # the names alone take 3
    finally:
        tracemalloc.stop()
