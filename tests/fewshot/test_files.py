"""Atomic replacement of files and exclusive use of folders."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fewshot.errors import InputError
from fewshot.files import only_one, replacing, write_text


def test_text_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.txt"
    write_text(path, "one")
    write_text(path, "Ω")
    assert path.read_text(encoding="utf-8") == "Ω"
    assert list(path.parent.iterdir()) == [path]


def test_new_files_have_the_usual_permissions(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "")
    (tmp_path / "y").write_text("")
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "y").stat().st_mode


@pytest.mark.parametrize("error", [ValueError("no"), FileNotFoundError(errno.ENOENT, "no"), KeyboardInterrupt()])
def test_errors_of_the_body_pass_and_leave_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)) as caught:
        fail()
    assert caught.value is error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        RuntimeError("Can't decrement id ref count (file write failed: errno = 28, error message = 'No space left')"),
    ],
)
def test_a_disk_that_fills_up_is_the_users_to_mend(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "x"

    def fail() -> None:
        with replacing(path):
            raise error

    with pytest.raises(InputError, match=r"cannot write .*No space left.*; free space there or choose another folder"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "x", tmp_path / "folder", Path("/proc/nowhere/x")):
        entered = False
        with pytest.raises(InputError, match="cannot write"), replacing(path):
            entered = True
        assert not entered
    assert sorted(tmp_path.iterdir()) == [tmp_path / "file", tmp_path / "folder"]


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from fewshot.files import only_one\n"
        "with only_one(Path(sys.argv[1]), 'running'): print('held')"
    )

    def other() -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)

    with only_one(tmp_path, "running"):
        assert "another process is running in" in other().stderr
    assert other().stdout == "held\n"


def test_the_second_of_two_can_wait_for_the_first(tmp_path, capsys):
    """Two commands that both lack a backbone: one makes it, the other waits."""
    code = (
        "import sys, time; from pathlib import Path; from fewshot.files import only_one\n"
        "with only_one(Path(sys.argv[1]), 'pre-training'):\n"
        "    print('held', flush=True); time.sleep(1.0); (Path(sys.argv[1]) / 'made').touch()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(InputError, match="another process is pre-training"), only_one(tmp_path, "pre-training"):
        pass
    with only_one(tmp_path, "pre-training", wait=True):
        assert (tmp_path / "made").exists()
    assert "waiting for it" in capsys.readouterr().err
    process.communicate()
