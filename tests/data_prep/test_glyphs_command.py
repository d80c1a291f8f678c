"""`python -m data_prep.glyphs`: makes, keeps, refuses to overwrite."""

import h5py
import pytest
from PIL import Image

from data_prep.glyphs import main
from fewshot.console import run_command
from fewshot.data import glyphs
from fewshot.data.store import Dataset


@pytest.fixture(autouse=True)
def few_images(monkeypatch):
    monkeypatch.setattr(glyphs, "RECIPE", glyphs.Recipe(images_per_class=3))


@pytest.fixture
def made(tmp_path):
    path = tmp_path / "glyphs.h5"
    main(["--out", str(path), "--quiet"])
    return path


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        run_command(main, arguments)
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    return message


def test_it_makes_the_dataset_and_says_what_it_is(tmp_path, capsys):
    path = tmp_path / "new" / "glyphs.h5"
    main(["--out", str(path), "--quiet"])
    said = capsys.readouterr().out
    assert "written" in said
    assert "192 train images of 64 classes" in said
    assert Dataset.open(path).fingerprint in said


def test_a_good_file_is_kept(made, capsys):
    before = made.stat().st_mtime_ns
    main(["--out", str(made)])
    assert "kept" in capsys.readouterr().out
    assert made.stat().st_mtime_ns == before


def test_force_makes_it_anew(made, capsys):
    fingerprint = Dataset.open(made).fingerprint
    made.write_bytes(b"something else")
    main(["--out", str(made), "--force", "--quiet"])
    assert "written" in capsys.readouterr().out
    assert Dataset.open(made).fingerprint == fingerprint


def test_a_foreign_file_is_not_overwritten(tmp_path, capsys):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    assert "--force" in refusal(capsys, "--out", str(notes))
    assert notes.read_text() == "mine"


def test_a_damaged_file_is_found_out(made, capsys):
    with h5py.File(made, "r+") as file:
        file["val/images"][0, 0, 0, 0] ^= 1  # pyright: ignore
    message = refusal(capsys, "--out", str(made))
    assert "damaged" in message
    assert "--force" in message


def test_images_of_another_version_are_not_taken_for_these(made, monkeypatch, capsys):
    monkeypatch.setattr(glyphs, "RECIPE", glyphs.Recipe(images_per_class=3, seed=1))
    assert "--force" in refusal(capsys, "--out", str(made))


def test_a_folder_is_no_file(tmp_path, capsys):
    assert "name a file" in refusal(capsys, "--out", str(tmp_path))


def test_the_preview_shows_a_kept_file_too(made, tmp_path):
    main(["--out", str(made), "--preview", str(tmp_path / "sheet.png")])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 1000
