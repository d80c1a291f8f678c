"""Running jobs on this machine: nothing outlives its driver, and what is killed goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.jobs.engine import LOGS, Local
from benchmarks.jobs.kinds import OptimizeJob, Places
from benchmarks.jobs.plan import make_plan
from benchmarks.jobs.schedule import run_jobs
from benchmarks.running.record import read_record
from scripts import Script

ROOT = Path(__file__).parents[3]
LONG = "--task quadratic --training.unrolls 400 --training.horizon 20 --training.validate-every 50 --steps 20"
WORDS = (*LONG.split(), "--test.initializations", "2", "--checkpoint-seconds", "0.01")
linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes where Linux lists them")


def until(there: Callable[[], object], seconds: float = 240.0) -> bool:
    deadline = time.monotonic() + seconds
    while not there() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(there())


def driver(results: Path, jobs: str) -> subprocess.Popen[str]:
    """A process that runs jobs, given as a Python expression."""
    code = f"""
import signal
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where this was started in the background
from fewshot.console import run_command
from scripts import Script, writes
from test_engine import *
places = Places(Path({str(results)!r}))
run_command(lambda _: print(run_jobs(make_plan({jobs}, places), places, Local(2), quiet=True)))
"""
    paths = os.pathsep.join(map(str, [ROOT, Path(__file__).parent, Path(__file__).parents[1]]))
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


def below(pid: int) -> set[int]:
    """A process and all that descend from it."""
    found = {pid}
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found |= {each for child in path.read_text().split() for each in below(int(child))}
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_its_driver(number: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = driver(tmp_path / "results", f"[Script(writes(Path({str(log)!r}), 'a', 600), label='a')]")
    assert until(log.exists)
    everyone = below(process.pid)
    assert len(everyone) > 2, "the server, and the job that it forked"
    process.send_signal(number)
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
    process.communicate(timeout=120)
    assert process.returncode == expected[number]
    assert until(lambda: not any(map(alive, everyone)), 60), everyone
    assert log.read_text() == "<a"


@linux
def test_the_next_start_goes_on_from_what_a_killed_driver_left(tmp_path: Path) -> None:
    job, results = OptimizeJob(WORDS), tmp_path / "results"
    places = Places(results)
    record = job.record_path(places)
    first = driver(results, "[OptimizeJob(WORDS)]")
    assert until(record.with_name("checkpoint.pt").exists)
    first.kill()
    first.communicate()
    again = driver(results, "[OptimizeJob(WORDS)]")  # while the job of the first may still be saving
    assert again.communicate(timeout=300)[0] == "[]\n"
    found = read_record(record)
    assert found.measured.interruptions >= 1
    serial = Places(tmp_path / "serial")
    assert not run_jobs(make_plan([job], serial), serial, Local(1), quiet=True)
    assert read_record(job.record_path(serial)).digest == found.digest


def test_a_killed_job_is_started_again_but_not_for_ever(tmp_path: Path) -> None:
    places, mark = Places(tmp_path), tmp_path / "mark"
    kill = "import os; os.kill(os.getpid(), 9)"
    once = Script((f"import os; os.path.exists({str(mark)!r}) or (open({str(mark)!r}, 'w'), os.kill(os.getpid(), 9))",),
                  label="once")  # fmt: skip
    ever = Script((kill,), label="ever")
    (why,) = run_jobs(make_plan([once, ever], places), places, Local(2), quiet=True)
    assert why.startswith("ever on nothing, seed 0: ended with status -9")


def test_jobs_have_the_threads_they_are_given_and_output_is_kept(tmp_path: Path) -> None:
    places = Places(tmp_path)
    job = Script(("import torch, os; print(torch.get_num_threads(), os.environ['OMP_NUM_THREADS'])",), label="job")
    assert not run_jobs(make_plan([job], places), places, Local(1), quiet=True)
    assert (tmp_path / LOGS / "job.log").read_text().startswith("1 1\n")
