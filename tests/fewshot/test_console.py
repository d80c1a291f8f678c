"""How commands end, and what they show on the way."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from fewshot import console
from fewshot.console import Terminated, duration, progress, run_command, say
from fewshot.errors import InputError


def ended(action, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Exit status and standard error of a command that does `action`."""
    with pytest.raises(SystemExit) as status:
        run_command(lambda _: action())
    return status.value.code, capsys.readouterr().err


def raising(error: BaseException):
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (InputError("a\n  b"), 2, "error: a b\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), 2, "error: the disk is full while x/y was written; "),
        (RuntimeError("unable to write, errno = 28, error message"), 2, "error: the disk is full; "),
        (KeyboardInterrupt(), 130, "interrupted: the same command continues"),
        (Terminated(), 143, "terminated: the same command continues"),
    ],
)
def test_what_is_no_bug_ends_in_one_line(error, status, line, capsys) -> None:
    code, text = ended(raising(error), capsys)
    assert (code, text.count("\n")) == (status, 1)
    assert text.startswith(line)


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "x"), RuntimeError("a bug"), ValueError("another")])
def test_a_bug_keeps_its_traceback(error) -> None:
    with pytest.raises(type(error)):
        run_command(lambda _: raising(error)())


def test_sigterm_ends_like_ctrl_c_and_the_handler_is_put_back(capsys) -> None:
    before = signal.getsignal(signal.SIGTERM)
    code, text = ended(lambda: os.kill(os.getpid(), signal.SIGTERM), capsys)
    assert (code, text) == (143, "terminated: the same command continues from the last checkpoint\n")
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_command_runs_in_any_thread() -> None:
    ran = []
    thread = threading.Thread(target=lambda: run_command(lambda _: ran.append(1)))
    thread.start()
    thread.join()
    assert ran == [1]


def test_work_goes_on_where_nobody_reads_any_more() -> None:
    script = (
        "import sys; from fewshot.console import run_command, say\n"
        "def main(_):\n"
        "    for i in range(3): say(f'{i} ' + 'x' * 100_000)\n"
        "    print('done', file=sys.stderr)\n"
        "run_command(main)"
    )
    line = f'{sys.executable} -c "$0" | head -c 10'
    run = subprocess.run(["bash", "-o", "pipefail", "-c", line, script], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr, run.returncode) == ("0 xxxxxxxx", "done\n", 0)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_narrow_terminal_keeps_the_eta_and_drops_the_note(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    monkeypatch.setattr(console, "Console", lambda **_: screen)
    display = progress()
    note = "training accuracy 61.2%, validation 58.3% (best)"
    display.add_task("meta_lstm smooth seed 0: meta-training", total=75_000, completed=40_000, note=note)
    screen.print(display.get_renderable())
    lines = screen.file.getvalue().strip("\n").splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(lines) == 1
    assert "40000/75000" in lines[0]
    assert "ETA -:--:--" in lines[0]
    assert (note in lines[0]) == (width == 200)


def test_without_a_terminal_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    display = progress()
    task = display.add_task("unrolls", total=200, note="")
    for second in range(130):
        clock[0] = float(second)
        display.update(task, completed=second, note=f"loss {second}")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["unrolls: 10 of 200", "unrolls: 70 of 200"]
    assert lines[0].endswith("loss 10")


def test_quiet_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(console, "FIRST_LINE", 0.0)
    display = progress(quiet=True)
    display.update(display.add_task("unrolls", total=2, note=""), completed=1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (1200, "20 min"), (7800, "2 h 10 min"), (40_000, "11 h"),
     (1_728_005, "20 days")],
)  # fmt: skip
def test_durations_are_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_say_prints_at_once(capsys) -> None:
    say("a")
    assert capsys.readouterr().out == "a\n"
