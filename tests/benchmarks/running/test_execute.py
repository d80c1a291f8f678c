"""Running an experiment once: what is finished is shown, what is damaged is refused, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.optimize import main
from benchmarks.running.record import RECORD_NAME, Record, read_record
from fewshot.console import run_command
from fewshot.errors import InputError

TINY = [
    *("--task", "quadratic", "--training.unrolls", "2", "--training.horizon", "20", "--training.validate-every", "2"),
    *("--steps", "10", "--test.initializations", "2", "--quiet"),
]


def record_of(folder: Path) -> Path:
    (path,) = folder.glob(f"*/seed0/{RECORD_NAME}")
    return path


@pytest.fixture
def finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The folder of results of a small run."""
    main([*TINY, "--results", str(tmp_path)])
    capsys.readouterr()
    return tmp_path


def test_a_finished_run_is_shown(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = record_of(finished).read_bytes()
    main([*TINY, "--results", str(finished)])
    assert "seed 0 was finished before" in capsys.readouterr().out
    assert record_of(finished).read_bytes() == before


def test_a_finished_run_is_shown_without_writing_anything(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a disk that cannot be written: root may write anywhere, so every way to write is closed here."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("mkdir", "open"):
        monkeypatch.setattr(f"fewshot.files.os.{name}", refuse)
    monkeypatch.setattr(Path, "mkdir", refuse)
    main([*TINY, "--results", str(finished)])
    with pytest.raises(InputError, match="cannot write"):
        main([*TINY, "--results", str(finished), "--fresh"])


@pytest.mark.parametrize("name", [RECORD_NAME, "best.safetensors", "tensorboard"])
def test_fresh_starts_over_whatever_lies_there(finished: Path, name: str) -> None:
    before = read_record(record_of(finished))
    path = record_of(finished).with_name(name)
    if path.is_file():
        path.unlink()
    (path / "inside").mkdir(parents=True, exist_ok=True)
    main([*TINY, "--results", str(finished), "--fresh"])
    assert read_record(record_of(finished)).digest == before.digest


def test_a_record_that_is_a_directory_is_named(finished: Path) -> None:
    path = record_of(finished)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match=r"is not a readable record.*--fresh"):
        main([*TINY, "--results", str(finished)])


def test_a_record_of_other_data_is_refused(finished: Path) -> None:
    path = record_of(finished)
    record = read_record(path)
    elsewhere = msgspec.structs.replace(record.facts.dataset, fingerprint="another")
    facts = msgspec.structs.replace(record.facts, dataset=elsewhere)
    Record.of(facts, record.results, record.details, record.measured).write(path)
    with pytest.raises(InputError, match="another version of quadratic; run again with --fresh"):
        main([*TINY, "--results", str(finished)])


def test_a_failure_ends_with_status_1_and_its_cause(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "--results", str(tmp_path), "--core.output-scale", "1e30"]
    with pytest.raises(SystemExit) as status:
        run_command(main, words)
    assert status.value.code == 1
    record = read_record(record_of(tmp_path))
    assert record.facts.status == "failed"
    assert f"seed 0 failed: {record.facts.failure}" in capsys.readouterr().out
    assert record.results is None
    assert record.measured.train_seconds > 0
    assert record.measured.test_seconds == 0


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    """A file-size limit stands for a disk without room: every write beyond it fails."""
    script = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        "from benchmarks.optimize import main; from fewshot.console import run_command\n"
        "run_command(main)"
    )
    command = [sys.executable, "-c", script, *TINY, "--results", str(tmp_path)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    lines = [line for line in run.stderr.splitlines() if "TensorBoard" not in line]
    assert run.returncode == 2
    assert len(lines) == 1
    assert lines[0].startswith("error: cannot write ")
