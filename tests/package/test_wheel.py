"""The package without its checkout: built, put into a bare environment, and used in an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from fewshot import __version__

ROOT = Path(__file__).parents[2]
MADE = {".venv", ".git", "results", "data", "site", "build", "dist"}
"""Folders of the checkout that are no sources."""
pytestmark = pytest.mark.slow


def run(*words, folder, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the source distribution, and the wheel that was built of it."""
    folder = tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT, folder / "sources", ignore=_no_sources)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "sources", folder=folder)
    return folder / "dist"


def _no_sources(folder, names):
    return MADE.intersection(names) if Path(folder) == ROOT else {"__pycache__"}


@pytest.fixture(scope="module")
def bare(built, tmp_path_factory):
    """The bin folder of an environment that has the wheel and, by a path, the packages that it needs."""
    folder = tmp_path_factory.mktemp("bare")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    (wheel,) = built.glob("*.whl")
    places = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    site = Path(sysconfig.get_path("purelib", scheme="venv", vars=places))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    scripts = Path(sysconfig.get_path("scripts", scheme="venv", vars=places))
    pip = ("-m", "pip", "--python", folder / "venv", "install", "--no-deps", "--no-index", "--quiet", wheel)
    run(sys.executable, *pip, folder=folder)
    return scripts


def test_the_distributions_hold_what_they_need(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert wheel.name.startswith(f"fewshot_smooth_bench-{__version__}-py3")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for package in ("fewshot", "benchmarks", "data_prep"):
        sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*") if path.is_file()}
        assert {name for name in sources if "__pycache__" not in name} <= inside
    assert not any(name.startswith(("tests/", "docs/")) for name in inside)
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CITATION.cff", "tests/test_readme.py", "docs/tables.md", "Makefile"} <= names


def test_it_is_the_wheel_that_is_imported(bare, tmp_path):
    code = "import benchmarks, data_prep, fewshot; print(fewshot.__version__, fewshot.__file__, benchmarks.__file__)"
    version, *files = run(bare / "python", "-c", code, folder=tmp_path).split()
    assert version == __version__
    assert all(Path(file).is_relative_to(bare.parent) for file in files)


def test_a_shipped_optimizer_trains_a_model(bare, tmp_path):
    code = """
import sys, torch, fewshot
torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
optimizer = fewshot.LearnedOptimizer(model.parameters(), "smoothed_simple")
x = torch.randn(64, 8)
losses = []
for _ in range(100):
    loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(losses[-1] / losses[0])
print([m.__file__ for m in list(sys.modules.values()) if (getattr(m, "__file__", "") or "").startswith(sys.argv[1])])
"""
    ratio, loaded = run(
        bare / "python", "-c", code, f"{ROOT}{os.sep}", folder=tmp_path, FEWSHOT_NATIVE="0"
    ).splitlines()
    assert float(ratio) < 0.5
    assert own(loaded) == []


def own(loaded):
    """Of files of loaded modules, those of the checkout; its environment may lie in it."""
    return [name for name in eval(loaded) if not Path(name).is_relative_to(sysconfig.get_path("purelib"))]


def test_the_benchmark_runs_in_an_empty_folder(bare, tmp_path):
    budget = "--training.episodes 2 --training.validate-every 2 --training.validation-episodes 2 --test.episodes 3"
    words = f"run --preset quick --quiet --device cpu --learner.filters 4 --learner.inner-epochs 1 {budget}"
    assert "meta_lstm" in run(bare / "fewshot-bench", *words.split(), folder=tmp_path)
    (path,) = (tmp_path / "results").rglob("best.safetensors")
    code = (
        "import sys, fewshot; card = fewshot.load_learner(sys.argv[1]).card; print(card.problem); print(card.command)"
    )
    problem, command = run(bare / "python", "-c", code, path, folder=tmp_path).splitlines()
    assert problem == "glyphs, 5-way 1-shot"
    assert command.startswith("python -m benchmarks.run --preset quick")


def test_the_console_scripts_know_every_command(bare, tmp_path):
    assert "predict" in run(bare / "fewshot-bench", folder=tmp_path)
    assert "omniglot" in run(bare / "fewshot-prep", folder=tmp_path)
    ended = subprocess.run([bare / "fewshot-bench", "rum"], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "unknown command 'rum'; choose one of: run, optimize" in ended.stderr
