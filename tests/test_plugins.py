"""Every example of docs/plugins.md runs as printed: chosen, in the help, in the record, in the table."""

from __future__ import annotations

import hashlib
import importlib
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.backbones.config import PRESETS as BACKBONE_PRESETS
from benchmarks.few_shot.presets import PRESETS
from benchmarks.general.presets import PRESETS as GENERAL_PRESETS
from benchmarks.paper.exhibits import EXHIBITS
from benchmarks.reporting.claims import CLAIMS
from benchmarks.running.record import read_record
from fewshot import registry
from fewshot.data.catalog import CATALOG
from fewshot.general.hand_designed import HAND_DESIGNED
from fewshot.general.tasks import TASKS
from fewshot.learners import METHODS
from fewshot.optimizers import LEARNED
from fewshot.regularizers import REGULARIZERS

REGISTRIES = (
    *(REGULARIZERS, LEARNED, METHODS, TASKS, CATALOG, HAND_DESIGNED, CLAIMS, EXHIBITS),
    *(PRESETS, GENERAL_PRESETS, BACKBONE_PRESETS),
)
PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text(encoding="utf-8")
CODE = dict(
    zip(
        re.findall(r"[Ss]aved? (?:this )?as `(\w+\.py)`", PAGE), re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL),
        strict=True,
    )
)  # fmt: skip
COMMANDS = re.findall(r"^    python -m (benchmarks\.\w+) (.*--plugin (\w+\.py).*)$", PAGE, re.MULTILINE)
SMALL = {
    "benchmarks.run": "--preset defaults --training.episodes 4 --training.validate-every 2 --test.episodes 3 "
    "--training.validation-episodes 2 --quiet",
    "benchmarks.optimize": "--training.unrolls 2 --training.horizon 20 --training.validate-every 2 --quiet "
    "--training.validation-problems 1 --steps 10 --test.initializations 2",
}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch):
    """What plug-ins bring is gone after a test."""
    monkeypatch.setattr(registry, "_loaded", {})
    before = [set(known) for known in REGISTRIES]
    yield
    for known, names in zip(REGISTRIES, before, strict=True):
        for name in set(known) - names:
            del known[name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with every example saved as the page says."""
    monkeypatch.chdir(tmp_path)
    for name, code in CODE.items():
        (tmp_path / name).write_text(code)
    return tmp_path


def run(command: str, words: str) -> None:
    module = {"benchmarks.paper": "benchmarks.paper.__main__"}.get(command, command)
    importlib.import_module(module).main(shlex.split(words))


@pytest.mark.parametrize("name", CODE)
def test_examples_are_short(name: str) -> None:
    assert sum(bool(line.strip()) for line in CODE[name].splitlines()) <= 20


def test_every_example_has_a_command() -> None:
    assert {name for _, _, name in COMMANDS} == set(CODE)


@pytest.mark.parametrize(
    ("command", "words", "name"),
    [c for c in COMMANDS if c[0] in SMALL],
    ids=[f"{name}, {command}" for command, _, name in COMMANDS if command in SMALL],
)
def test_a_run_with_a_plugin(command: str, words: str, name: str, folder: Path, capsys) -> None:
    small = SMALL[command]
    if "--preset" in words:
        small = small.replace("--preset defaults ", "")
    if "--optimizer adam" in words:
        small = "--training.points 2 --training.validation-problems 3 --steps 10 --test.initializations 2 --quiet"
    run(command, f"{words} {small}")
    (path,) = (folder / "results" / "runs").rglob("record.json")
    facts = read_record(path).facts
    sha256 = hashlib.sha256(CODE[name].encode()).hexdigest()
    assert [(plugin.name, plugin.sha256) for plugin in facts.environment.plugins] == [(name, sha256)]
    assert facts.status == "finished"
    shown = {"long_training.py": "smooth", "stripes.py": "stripes"}.get(name, name.removesuffix(".py"))
    assert f" {shown} " in capsys.readouterr().out, "it has a row"


@pytest.mark.parametrize(
    ("name", "words", "text"),
    [
        ("small_updates.py", "benchmarks.run --regularizer small_updates", "λ, coefficient of the penalty"),
        ("tanh_step.py", "benchmarks.optimize --optimizer tanh_step", "Initial length of the longest step"),
        ("pixels.py", "benchmarks.run --method pixels", "Initial scale of the distances"),
        ("wide_digits.py", "benchmarks.optimize", "wide_digits"),
    ],
)
def test_a_plugin_is_in_the_help(name: str, words: str, text: str, folder: Path, capsys) -> None:
    command, *arguments = words.split()
    with pytest.raises(SystemExit):
        run(command, " ".join([*arguments, "--plugin", name, "--help"]))
    assert text in re.sub(r"[\s│]+", " ", capsys.readouterr().out)


def test_a_claim_of_a_plugin_gets_a_verdict_on_its_own_figure(folder: Path, capsys) -> None:
    run("benchmarks.paper", "--plugin figure9.py --plugin claims.py figure9 --quiet")
    printed = capsys.readouterr().out
    assert "Figure 9: RMSProp and SGD (quick-scale analogue" in printed
    assert "RMSProp is better than SGD:" in printed
    assert "rmsprop against sgd" in printed
    run("benchmarks.report", "--plugin claims.py --format md")
    assert "RMSProp is better than SGD:" in capsys.readouterr().out


def test_an_optimizer_of_a_plugin_is_evaluated_with_it_alone(folder: Path, capsys) -> None:
    small = SMALL["benchmarks.optimize"]
    words = "--plugin tanh_step.py --plugin small_updates.py --optimizer tanh_step --regularizer small_updates"
    run("benchmarks.optimize", f"{words} {small}")
    (weights,) = (folder / "results" / "runs").rglob("best.safetensors")
    del REGULARIZERS["small_updates"]  # as in a process that does not know the regularizer: testing needs none
    run("benchmarks.optimize", f"--plugin tanh_step.py --evaluate {weights} --steps 5 --quiet")
    assert "tanh_step" in capsys.readouterr().out
