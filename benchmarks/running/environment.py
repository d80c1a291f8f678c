"""What a run ran on: versions, processor, commit, memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("fewshot-smooth-bench", "torch", "torchvision", "numpy", "scipy", "h5py", "learn2learn")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    there = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            there[package] = version(package)
        except PackageNotFoundError:
            continue
    return there


def processor() -> str:
    """Name of the processor; its architecture where the system tells no more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or one that names none
        name = platform.processor()
    return name or platform.machine()


def commit() -> str | None:
    """Commit of the checkout this code runs from, "+changes" appended where files differ; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=20
        )
        return run.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory() -> int | None:
    """Largest resident memory of this process so far, in bytes; None where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
    except (OSError, StopIteration):  # not Linux; there ru_maxrss may include the memory of the parent process
        try:
            import resource  # absent on Windows
        except ImportError:
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
