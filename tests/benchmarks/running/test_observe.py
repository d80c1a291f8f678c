"""Who watches a run never ends it, and says in time how long it will take."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.running import observe
from benchmarks.running.observe import Observer


def test_scalars_are_written(tmp_path: Path) -> None:
    with Observer(tmp_path, "title", quiet=True) as observer:
        observer.scalars({"train/loss": 2.0}, 3, flush=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(3, 2.0)]


@pytest.mark.parametrize("broken", ["add_scalar", "flush", "close"])
def test_a_run_goes_on_where_curves_cannot_be_written(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Observer(tmp_path, "title", quiet=True) as observer:
        monkeypatch.setattr(observe.SummaryWriter, broken, full)
        for step in range(3):
            observer.scalars({"train/loss": 2.0}, step, flush=True)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].endswith("No space left on device; the run goes on")


def test_hours_of_work_are_foretold_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(observe.time, "monotonic", lambda: clock[0])
    with Observer(tmp_path, "meta_lstm", quiet=True) as observer:
        for total in (100, 75_000):
            observer.begin("meta-training", total, 10)
            for done in range(11, 50):
                clock[0] += 1.0
                observer.show(done, "")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["meta_lstm: about 21 h to go at this pace; it can be interrupted and continued"]
