"""The README's own example runs as written, and its commands exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.running.record import read_record

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def python_block(*, of: str) -> str:
    """The one block of code that has these words in it."""
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if of in block)
    return code


def test_the_learned_optimizer_of_the_readme_trains_a_model(tmp_path):
    script = "import torch; torch.manual_seed(0)\n" + python_block(of="LearnedOptimizer")
    process = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert float(re.fullmatch(r"loss (\S+)\n", process.stdout)[1]) < 0.5  # it starts from log 10 = 2.3


def test_the_regularizer_of_the_readme_runs_as_written(tmp_path):
    code = python_block(of="class SmallUpdates")
    arguments, name = re.search(r"`python (-m benchmarks.run --plugin (\w+\.py) [^`]*)`", README).groups()
    (tmp_path / name).write_text(code)
    budget = "--training.episodes 4 --training.validate-every 4 --training.validation-episodes 2 --test.episodes 3"
    process = subprocess.run(
        [sys.executable, *arguments.split(), *budget.split(), "--quiet"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    (path,) = (tmp_path / "results" / "runs").rglob("record.json")
    record = read_record(path)
    assert record.facts.config["regularizer"] == "small_updates"
    assert record.facts.config["penalty"] == {"weight": 10.0, "reduction": "mean"}
    assert record.facts.training.episode == 4
    assert "small_updates" in process.stdout


@pytest.mark.slow
def test_the_learner_of_the_readme_classifies_images(tmp_path):
    budget = "--training.episodes 4 --training.validate-every 4 --training.validation-episodes 2 --test.episodes 3"
    words = f"-m benchmarks.run --method meta_lstm --smooth --way 5 --shot 1 --quiet {budget}".split()
    script = python_block(of="load_learner") + "\nprint(len(answers.labels), answers.classes)"
    for arguments in (words, ["-c", script]):
        process = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "50 ('a', 'b', 'c', 'd', 'e')"


def test_files_and_modules_of_the_readme_exist():
    root = Path(__file__).parents[1]
    for link in re.findall(r"\]\(([\w/.]+)\)", README):
        assert (root / link).is_file(), link
    for module in re.findall(r"python -m ((?:benchmarks|data_prep)\.[a-z_]+)", README):
        place = root / module.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), module
