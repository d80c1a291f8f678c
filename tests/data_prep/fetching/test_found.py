"""Listing what lies at a path."""

import time

import pytest

from data_prep.fetching.found import Found
from data_prep.formats.names import hides, path_parts, readable
from fewshot.errors import InputError

PER_SECOND = 20_000


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b.png", ["a", "b.png"]),
        ("./a//b.png", ["a", "b.png"]),
        ("a\\b\\c.png", ["a", "b", "c.png"]),
        ("$\\frac{$/1.png", ["$\\frac{$", "1.png"]),
        ("a: b/c.png", ["a: b", "c.png"]),
        ("12:30/c.png", ["12:30", "c.png"]),
        ("../a.png", None),
        ("a\\..\\..\\b.png", None),
        ("a/..\\..\\b.png", None),
        ("/a.png", None),
        ("\\\\server\\a.png", None),
        ("C:\\a.png", None),
        ("C:/a.png", None),
        ("", None),
    ],
)
def test_names_lead_inside_or_nowhere(name, parts):
    assert path_parts(name) == parts


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("گل‌سرخ", False),
        ("नमस्ते", False),
        ("a\u202egnp.exe", True),
        ("a\nb", True),
        ("a\x1b[2J", True),
        ("a\u2028b", True),
    ],
)
def test_names_that_would_not_show_as_they_are(name, hidden):
    assert hides(name) == hidden


def test_bytes_that_are_no_utf8_are_readable():
    assert readable(b"caf\xe9".decode("utf-8", "surrogateescape")) == "caf\\xe9"
    assert readable("café") == "café"


def test_links_keep_their_names_and_end_where_they_lead_back(tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool" / "1.png").write_bytes(b"x")
    (tmp_path / "a").symlink_to("pool")
    (tmp_path / "pool" / "back").symlink_to(tmp_path)
    (tmp_path / "nowhere").symlink_to("gone")
    found = Found(tmp_path)
    assert list(found.names) == ["a/1.png", "pool/1.png"]
    assert found.where("a/1.png") == found.where("pool/1.png") == str((tmp_path / "pool" / "1.png").resolve())
    told = " ".join(found.left_out.lines())
    assert "a link that leads back to a folder around it" in told
    assert "a link that leads nowhere" in told


def test_two_files_of_one_name_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.png").write_bytes(b"")
    (tmp_path / "a\\b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"two files called a/b\.png"):
        Found(tmp_path)


def test_many_files_are_listed_fast(tmp_path):
    for folder in range(20):
        (tmp_path / f"class{folder}").mkdir()
        for file in range(1000):
            (tmp_path / f"class{folder}" / f"{file}.png").touch()
    start = time.process_time()
    assert len(Found(tmp_path).names) == 20_000
    assert 20_000 / (time.process_time() - start) > PER_SECOND
