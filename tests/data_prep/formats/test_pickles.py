import base64
import collections
import copyreg
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc

import numpy as np
import pytest
from foreign import write_png_pickle

from data_prep.formats.archives import open_archive
from data_prep.formats.pickles import iterate_pickled_pngs, load_pickle
from data_prep.formats.sources import memory_source
from fewshot.errors import InputError

# Written by Python 2.7.18's cPickle with numpy 1.16.6, protocols 0 and 2, from
# {'image_data': arange(250, 262) as uint8 (1,2,2,3), 'class_dict': {'n01532829': [0, 1, 2]}, 'labels': [int64(3), 7L,
#  True, None, 1.5], u'u\xe9': 'caf\xc3\xa9', 'raw': '\xff\xfe', 'order': asfortranarray(arange(6, dtype='>i4') (2,3))}
PYTHON_2 = {
    0: "KGRwMQpTJ2NsYXNzX2RpY3QnCnAyCihkcDMKUyduMDE1MzI4MjknCnA0CihscDUKSTAKYUkxCmFJMgphc3NTJ2xhYmVscycKcDYKKGxwNwpj"
    "bnVtcHkuY29yZS5tdWx0aWFycmF5CnNjYWxhcgpwOAooY251bXB5CmR0eXBlCnA5CihTJ2k4JwpJMApJMQp0UnAxMAooSTMKUyc8JwpOTk5JLTEK"
    "SS0xCkkwCnRiUydceDAzXHgwMFx4MDBceDAwXHgwMFx4MDBceDAwXHgwMCcKdFJwMTEKYUw3TAphSTAxCmFOYUYxLjUKYXNTJ3JhdycKcDEyClMn"
    "XHhmZlx4ZmUnCnAxMwpzVnXpCnAxNApTJ2NhZlx4YzNceGE5JwpwMTUKc1MnaW1hZ2VfZGF0YScKcDE2CmNudW1weS5jb3JlLm11bHRpYXJyYXkK"
    "X3JlY29uc3RydWN0CnAxNwooY251bXB5Cm5kYXJyYXkKcDE4CihJMAp0UydiJwp0UnAxOQooSTEKKEkxCkkyCkkyCkkzCnRnOQooUyd1MScKSTAK"
    "STEKdFJwMjAKKEkzClMnfCcKTk5OSS0xCkktMQpJMAp0YkkwMApTJ1x4ZmFceGZiXHhmY1x4ZmRceGZlXHhmZlx4MDBceDAxXHgwMlx4MDNceDA0"
    "XHgwNScKdGJzUydvcmRlcicKcDIxCmcxNwooZzE4CihJMAp0UydiJwp0UnAyMgooSTEKKEkyCkkzCnRnOQooUydpNCcKSTAKSTEKdFJwMjMKKEkz"
    "ClMnPicKTk5OSS0xCkktMQpJMAp0YkkwMQpTJ1x4MDBceDAwXHgwMFx4MDBceDAwXHgwMFx4MDBceDAzXHgwMFx4MDBceDAwXHgwMVx4MDBceDAw"
    "XHgwMFx4MDRceDAwXHgwMFx4MDBceDAyXHgwMFx4MDBceDAwXHgwNScKdGJzLg==",
    2: "gAJ9cQEoVQpjbGFzc19kaWN0cQJ9cQNVCW4wMTUzMjgyOXEEXXEFKEsASwFLAmVzVQZsYWJlbHNxBl1xByhjbnVtcHkuY29yZS5tdWx0aWFy"
    "cmF5CnNjYWxhcgpxCGNudW1weQpkdHlwZQpxCVUCaThLAEsBh1JxCihLA1UBPE5OTkr/////Sv////9LAHRiVQgDAAAAAAAAAIZScQuKAQeITkc/"
    "+AAAAAAAAGVVA3Jhd3EMVQL//nENWAMAAAB1w6lxDlUFY2Fmw6lxD1UKaW1hZ2VfZGF0YXEQY251bXB5LmNvcmUubXVsdGlhcnJheQpfcmVjb25z"
    "dHJ1Y3QKcRFjbnVtcHkKbmRhcnJheQpxEksAhVUBYodScRMoSwEoSwFLAksCSwN0aAlVAnUxSwBLAYdScRQoSwNVAXxOTk5K/////0r/////SwB0"
    "YolVDPr7/P3+/wABAgMEBXRiVQVvcmRlcnEVaBFoEksAhVUBYodScRYoSwFLAksDhmgJVQJpNEsASwGHUnEXKEsDVQE+Tk5OSv////9K/////0sA"
    "dGKIVRgAAAAAAAAAAwAAAAEAAAAEAAAAAgAAAAV0YnUu",
}
# Likewise, protocol 2, a list of three uint8 arrays of shape (4, 1).
PYTHON_2_LIST = (
    "gAJdcQEoY251bXB5LmNvcmUubXVsdGlhcnJheQpfcmVjb25zdHJ1Y3QKcQJjbnVtcHkKbmRhcnJheQpxA0sAhVUBYodScQQoSwFLBEsBhmNudW1w"
    "eQpkdHlwZQpxBVUCdTFLAEsBh1JxBihLA1UBfE5OTkr/////Sv////9LAHRiiVUEAAECA3RiaAJoA0sAhVUBYodScQcoSwFLBEsBhmgGiVUEAQID"
    "BHRiaAJoA0sAhVUBYodScQgoSwFLBEsBhmgGiVUEAgMEBXRiZS4="
)
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def load(data: bytes):
    return load_pickle(memory_source("some.pkl", data))


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_of_every_protocol_comes_out_as_it_went_in(protocol):
    images = np.random.Generator(np.random.Philox(0)).integers(0, 256, (5, 8, 8, 3), np.uint8)
    plain = {
        "image_data": images,
        "class_dict": {"n01532829": [0, 1, 2], "é": []},
        "numbers": [0, -1, 255, 300, 70_000, -(2**31), 2**40, -(2**70), True, False, None, 0.1, float("inf")],
        "strings": ["", "a\nb\\'", "\u20ac\U0001f600", b"", b"\x00\xff", b"x" * 300, "y" * 70_000],
        "tuples": ((), (1,), (1, "a"), (1, 2, 3), tuple(range(10))),
        "scalars": [np.int64(4), np.float32(0.5), np.bool_(True), np.uint8(200)],
        "order": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "slice": images[:, ::2, ::3],
        "big endian": np.arange(3, dtype=">i4"),
        "flags": np.array([True, False]),
        "names": np.array(["abc", "d"]),
        "codes": np.array([b"ab", b"c"]),
        "empty": np.zeros((0, 84, 84, 3), np.uint8),
        "one": np.array(7),
    }
    assert_same(load(pickle.dumps(plain, protocol)), plain)


@pytest.mark.parametrize("protocol", [2, 3])
def test_numpy_1_module_names(protocol):
    data = pickle.dumps([np.arange(4), np.float64(2.5)], protocol)
    assert b"numpy._core" in data
    array, scalar = load(data.replace(b"numpy._core", b"numpy.core"))
    assert array.tolist() == [0, 1, 2, 3]
    assert scalar == 2.5


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_python_2_pickles(protocol):
    found = load(base64.b64decode(PYTHON_2[protocol]))
    assert found["image_data"].tolist() == np.arange(250, 262).astype(np.uint8).reshape(1, 2, 2, 3).tolist()
    assert found["class_dict"] == {"n01532829": [0, 1, 2]}
    assert found["labels"] == [3, 7, True, None, 1.5]
    assert found["ué"] == "café"
    assert found["raw"] == b"\xff\xfe"
    assert found["order"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_bytes_keys_come_out_as_text(protocol):
    assert load(pickle.dumps({b"data": 1, b"\xff": 2}, protocol)) == {"data": 1, b"\xff": 2}


def test_a_name_that_is_refused_is_told():
    with pytest.raises(InputError, match=r"a pickle of plain data never holds posix\.system; get the original"):
        load(_exploits("true")["reduce"])


def test_a_memo_entry_that_was_overwritten_is_not_given_out():
    text, a_list = b"U\x01aq\x00", b"]q\x00"
    assert load(b"\x80\x02](" + text + b"h\x00e.") == ["a", "a"]
    with pytest.raises(InputError, match="one object used twice"):
        load(b"\x80\x02](" + text + a_list + b"h\x00e.")


@pytest.mark.parametrize("side", [b"K\x02", b"K\x04"])
def test_an_array_must_bring_exactly_its_bytes(side):
    with pytest.raises(InputError, match=r"never holds an array of \d bytes, bringing 3"):
        load(b"\x80\x02" + _ARRAY + side + b"\x85" + _TYPE + b"\x89U\x03abctb.")


def test_a_value_may_be_used_twice_but_a_list_may_not():
    shared = np.arange(3)
    first, second = load(pickle.dumps([shared, shared]))
    assert first is second
    nested = [1]
    with pytest.raises(InputError, match="one object used twice"):
        load(pickle.dumps([nested, nested]))


def test_arrays_are_views_of_the_bytes_read(tmp_path):
    size = 1 << 25
    (tmp_path / "big.pkl").write_bytes(pickle.dumps({"data": np.full(size, 255, np.uint8)}, 4))
    tracemalloc.start()
    try:
        load_pickle(tmp_path / "big.pkl")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * size


def _exploits(command: str) -> dict[str, bytes]:
    """Pickles that run `command` when the standard library loads them."""
    quoted = command.encode()
    text = _text_opcode(command)
    call = text + b"\x85R."
    return {
        "reduce": b"\x80\x02cposix\nsystem\n" + call,
        "protocol 0": b"(lp0\ncposix\nsystem\n(S'" + quoted + b"'\ntRa.",
        "build": b"\x80\x02ctypes\nSimpleNamespace\n)R}X\x0c\x00\x00\x00__setstate__cposix\nsystem\nsb" + text + b"b.",
        "nested name": b"\x80\x04" + _text_opcode("numpy") + _text_opcode("lib._npyio_impl.os.system") + b"\x93" + call,
        "memo": b"\x80\x02cposix\nsystem\nq\x000]q\x01h\x00" + text + b"\x85Ra.",
        "memo of a type": b"\x80\x02cnumpy\ndtype\nq\x000cposix\nsystem\nq\x000h\x00" + call,
        "inst": b"(S'" + quoted + b"'\niposix\nsystem\n.",
        "obj": b"(cposix\nsystem\nS'" + quoted + b"'\no.",
        "builtins": b"\x80\x02c__builtin__\neval\n" + _text_opcode(f"__import__('os').system({command!r})") + b"\x85R.",
        "extension": b"\x80\x02\x82\xf0" + call,
        "object array": pickle.dumps(np.array([_System(command)], dtype=object)),
        "in a dictionary": pickle.dumps({"image_data": np.zeros(3), "class_dict": _System(command)}, 2),
        "after an image": pickle.dumps([np.zeros((3, 1), np.uint8), _System(command)], 2),
    }


def _text_opcode(text: str) -> bytes:
    return b"X" + struct.pack("<I", len(text)) + text.encode()


class _System:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def registered_extension():
    copyreg.add_extension("posix", "system", 0xF0)
    yield
    copyreg.remove_extension("posix", "system", 0xF0)


@pytest.mark.parametrize("name", _exploits(""))
def test_exploits_do_nothing_here(name, tmp_path, registered_extension):
    trace = tmp_path / "trace"
    exploit = _exploits(f"touch {trace}")[name]
    pickle.loads(exploit)
    assert trace.exists(), "not a real exploit"
    trace.unlink()
    path = tmp_path / "mini-imagenet-cache-train.pkl"
    path.write_bytes(exploit)
    with pytest.raises(InputError, match=r"mini-imagenet-cache-train\.pkl is refused"):
        load_pickle(path)
    with pytest.raises(InputError, match=r"mini-imagenet-cache-train\.pkl is refused"):
        list(iterate_pickled_pngs(path))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "a set": pickle.dumps({1, 2}),
        "an object": pickle.dumps(io.BytesIO()),
        "a class": pickle.dumps(dict),
        "a type": pickle.dumps(np.dtype("u1")),
        "an unfinished array": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01bt"
        + b"R.",
        "a bare constructor": b"\x80\x02]cnumpy\ndtype\na.",
        "a structured array": pickle.dumps(np.zeros(2, [("a", "u1")])),
        "dates": pickle.dumps(np.zeros(2, "M8[D]")),
        "a masked array": pickle.dumps(np.ma.array([1])),
        "an ordered dictionary": pickle.dumps(collections.OrderedDict(a=1)),
        "an encoding": b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00base64tR.",
        "a persistent id": b"\x80\x02Pabc\n.",
        "an unknown opcode": b"\x80\x02\xff.",
        "a newer protocol": b"\x80\x05\x80\x09N.",
        "no Unicode": pickle.dumps(np.array(["a"])).replace(b"a\x00\x00\x00", b"\xff\xff\xff\xff"),
    }.items(),
)
def test_anything_but_plain_data_is_refused(name, data):
    with pytest.raises(InputError, match=r"some\.pkl is refused: .*get the original"):
        load(data)


_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01"
_TYPE = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
_TEN_GB = struct.pack("<Q", 10 << 30)


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "binbytes8": b"\x80\x04\x8e" + _TEN_GB + b"abc.",
        "binunicode8": b"\x80\x04\x8d" + _TEN_GB + b"abc.",
        "bytearray8": b"\x80\x05\x96" + _TEN_GB + b"abc.",
        "binbytes": b"\x80\x03B\xff\xff\xff\xffabc.",
        "binstring": b"\x80\x02T\xff\xff\xff\xffabc.",
        "frame": b"\x80\x04\x95" + _TEN_GB + b"].",
        "long4": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
        "array": b"\x80\x02" + _ARRAY + b"\x8a\x05\x00\x00\x00\x00\x20\x85" + _TYPE + b"\x89U\x03abctb.",
        "negative shape": b"\x80\x02" + _ARRAY + b"J\xff\xff\xff\xff\x85" + _TYPE + b"\x89U\x03abctb.",
        "empty but vast": b"\x80\x02" + _ARRAY + b"K\x00\x8a\x05\x00\x00\x00\x00\x20\x86" + _TYPE + b"\x89U\x03abctb.",
        "element": b"\x80\x02" + _ARRAY + b"K\x01\x85cnumpy\ndtype\n(U\x0bS9999999999tR" + b"\x89U\x03abctb.",
        "memo": b"\x80\x02]r\xff\xff\xff\xff" + b"j\xff\xff\xff\xff.",
        "digits": b"\x80\x02I" + b"9" * 6000 + b"\n.",
    }.items(),
)
def test_lying_sizes_cost_nothing(name, data):
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with pytest.raises(InputError, match=r"some\.pkl is (truncated|damaged|refused|a damaged pickle)"):
            load(data)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "tuples": b"\x80\x02)" + b"\x85" * 1_000_000 + b".",
        "marks": b"\x80\x02" + b"(" * 1_000_000 + b".",
        "itself": b"\x80\x02]q\x00h\x00a.",
        "itself in a tuple": b"\x80\x02]q\x00h\x00\x85a.",
        "laughs": b"\x80\x02]q\x00" + b"](h\x00h\x00eq\x00" * 60 + b".",
        "laughing tuples": b"\x80\x02)q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b".",
        "stack": b"\x80\x02" + b"N" * 2_000_000 + b".",
        "key": b"\x80\x02})" + b"\x85" * 100_000 + b"Ns.",
    }.items(),
)
def test_recursion_bombs(name, data):
    with pytest.raises(InputError, match=r"some\.pkl is"):
        load(data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_truncation_is_noticed(protocol):
    data = pickle.dumps({"data": np.arange(20, dtype=np.uint8), "labels": list(range(5))}, protocol)
    for length in range(len(data)):
        with pytest.raises(InputError, match=r"some\.pkl is"):
            load(data[:length])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty instead of a pickle: a failed download; delete it"),
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "is an HTML page instead of a pickle: a failed download"),
        (b'\n<html lang="en">', "is an HTML page"),
        (b'{"error": 404}', "is a JSON message"),
        (b"<?xml version='1.0'?><Error/>", "is an XML message"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"PK\x03\x04", "is a zip archive instead of a pickle; it is damaged or the wrong file"),
        (b"\x00" * 600, "is of no kind known here"),
    ],
)
def test_what_is_no_pickle_is_called_by_its_name(tmp_path, content, message):
    path = tmp_path / "data.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_pickle(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_pickles_inside_an_archive_are_read_without_unpacking(mode):
    images = [bytes([index % 256]) * 5000 for index in range(1500)]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, plain in {"labels.pkl": {"labels": [1, 2]}, "images.pkl": images}.items():
            entry, data = tarfile.TarInfo(name), pickle.dumps(plain, 2)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    members = open_archive(memory_source("tiered-imagenet.tar", buffer.getvalue()))
    assert load_pickle(next(members)) == {"labels": [1, 2]}
    assert list(iterate_pickled_pngs(next(members))) == images
    cut = open_archive(memory_source("tiered-imagenet.tar", buffer.getvalue()[:9000]))
    with pytest.raises(InputError, match=r"images\.pkl in tiered-imagenet\.tar is trunc|tiered-imagenet\.tar is trunc"):
        [list(iterate_pickled_pngs(member)) for member in cut if member.name == "images.pkl"]


def test_absent_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.pkl is not a file"):
        load_pickle(tmp_path / "none.pkl")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_images_are_streamed_in_order(protocol):
    images = [bytes([index % 251]) * (300 + index % 7) for index in range(2500)]
    arrays = [np.frombuffer(image, np.uint8).reshape(-1, 1) for image in images]
    assert list(iterate_pickled_pngs(memory_source("x.pkl", pickle.dumps(arrays, protocol)))) == images
    assert list(iterate_pickled_pngs(memory_source("x.pkl", pickle.dumps(images, protocol)))) == images


def test_a_python_2_list_of_images_is_streamed(tmp_path):
    images = [b"\x00\x01\x02\x03", b"\x01\x02\x03\x04", b"\x02\x03\x04\x05"]
    data = base64.b64decode(PYTHON_2_LIST)
    assert list(iterate_pickled_pngs(memory_source("x.pkl", data))) == images
    write_png_pickle(tmp_path / "x.pkl", images)
    assert (tmp_path / "x.pkl").read_bytes() == data


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"data": 1}, "damaged pickle .a dict, not a list"),
        ([np.zeros((84, 84, 3), np.uint8)], r"element 0 is no encoded image .* uint8 \(84, 84, 3\)"),
        ([b"png", np.zeros(4, np.float32)], "element 1 is no encoded image"),
        ([b"png", "png"], "element 1 is no encoded image .* a str"),
    ],
)
def test_a_list_of_other_things_is_no_list_of_images(plain, message):
    with pytest.raises(InputError, match=message):
        list(iterate_pickled_pngs(memory_source("x.pkl", pickle.dumps(plain))))


def test_streaming_holds_one_batch_only(tmp_path):
    path, count, size = tmp_path / "images.pkl", 4000, 16_000
    with open(path, "wb") as file:
        pickle.dump([np.full((size, 1), index % 256, np.uint8) for index in range(count)], file, 4)
    tracemalloc.start()
    try:
        assert sum(len(image) for image in iterate_pickled_pngs(path)) == count * size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * 1000 * size  # 64 MB in the file, batches of 16 MB


# VmHWM, not ru_maxrss: that one begins with the memory of the process that starts this one.
_MEASURE = """
import sys
from data_prep.formats.archives import open_archive
from data_prep.formats.pickles import iterate_pickled_pngs
total = sum(len(image) for image in iterate_pickled_pngs(sys.argv[1]))
print(total, next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
def test_a_gigabyte_is_streamed_in_little_memory(tmp_path):
    path, count, size = tmp_path / "train_images_png.pkl", 65_000, 17_000
    write_png_pickle(path, (bytes([index % 256]) * size for index in range(count)))
    assert path.stat().st_size > 1 << 30
    run = subprocess.run([sys.executable, "-c", _MEASURE, str(path)], check=True, capture_output=True, text=True)
    total, peak_kib = map(int, run.stdout.split())
    path.unlink()
    assert total == count * size
    assert peak_kib < 256 * 1024
