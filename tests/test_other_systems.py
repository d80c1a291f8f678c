"""Nothing that only Linux has is needed: the same things work where it is hidden, as on Windows and macOS."""

import os
import subprocess
import sys

HIDE = """
import mmap, os, sys
for name in ("fcntl", "resource", "pwd", "grp"):
    sys.modules[name] = None
for module, names in (
    (os, ("sched_getaffinity", "getuid", "getxattr", "setxattr", "posix_fallocate")),
    (mmap, ("MADV_DONTNEED",)),
):
    for name in names:
        delattr(module, name)
"""


def run(code, folder):
    process = subprocess.run(
        [sys.executable, "-c", HIDE + code],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "FEWSHOT_NATIVE": "0"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_every_module_can_be_imported(tmp_path):
    code = """
import importlib, pkgutil
import benchmarks, data_prep, fewshot
count = 0
for package in (fewshot, data_prep, benchmarks):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
            count += 1
print(count)
"""
    assert int(run(code, tmp_path)) > 200


def test_files_appear_complete_or_not_at_all(tmp_path):
    code = """
from pathlib import Path
from fewshot.files import only_one, replacing, reserve, write_text
write_text(Path("x.txt"), "first")
try:
    with replacing(Path("x.txt")) as temporary:
        temporary.write_text("second")
        raise KeyError
except KeyError:
    print(Path("x.txt").read_text())
write_text(Path("x.txt"), "third")
with only_one(Path("folder"), "testing"):
    reserve(Path("x.txt"), 10)
print(Path("x.txt").read_text(), sorted(path.name for path in Path().iterdir()))
"""
    assert run(code, tmp_path).split("\n")[:2] == ["first", "third ['folder', 'x.txt']"]


def test_a_dataset_is_drawn_and_a_learner_trained_and_used(tmp_path):
    code = """
from pathlib import Path
import fewshot
from benchmarks.run import main
from benchmarks.running.record import read_record
from fewshot.data.catalog import open_dataset
budget = "--training.episodes 2 --training.validate-every 2 --training.validation-episodes 2 --test.episodes 2"
main(f"--preset quick --quiet --device cpu --learner.filters 4 --learner.inner-epochs 1 {budget}".split())
(path,) = Path().rglob("best.safetensors")
images = open_dataset("glyphs", "data")["test"].images[::80, ..., 0]
print(len(fewshot.load_learner(path).predict(images[:5], range(5), images).labels))
print(read_record(path.with_name("record.json")).facts.status)
"""
    out = run(code, tmp_path)
    assert out.rstrip().endswith("100\nfinished")
