"""A small sweep from end to end: trials without a test, the choice, what it leaves, and the runs that judge it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.few_shot.command import parse as parse_run
from benchmarks.few_shot.experiment import FewShotExperiment
from benchmarks.general.command import parse as parse_optimize
from benchmarks.general.experiment import experiment_of
from benchmarks.jobs.kinds import Places
from benchmarks.jobs.plan import Plan
from benchmarks.optimize import main as optimize
from benchmarks.running.execute import run
from benchmarks.running.record import read_record
from benchmarks.running.validation import VALIDATION_NAME, read_validation
from benchmarks.sweep.__main__ import main
from benchmarks.sweep.grid import read_grid
from benchmarks.sweep.tune import Tuning, sides_of
from fewshot.console import run_command
from fewshot.data.catalog import open_dataset
from fewshot.errors import InputError
from fewshot.general.tasks import open_task

QUADRATIC = "--task quadratic --training.unrolls 8 --training.horizon 20 --training.validate-every 2"
QUADRATIC += " --steps 20 --test.initializations 2"
CPU = torch.device("cpu")
GRID = ["--grid", "penalty.weight=10,100000", "penalty.radius=0.1,1"]


def here(plan: Plan, places: Places) -> list[str]:
    """Runs jobs in this process: one a trial would cost seconds of imports each."""
    for planned in plan.todo:
        optimize(planned.job.arguments(places))
    return []


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmarks.sweep.__main__.run_jobs", lambda plan, places, engine, quiet: here(plan, places))
        words = ["optimize", *QUADRATIC.split(), "--smooth", *GRID, "--seeds", "0", "1", "--quiet"]
        main([*words, "--results", str(folder / "runs"), "--out", str(folder / "out")])
    return folder


def test_nothing_is_tested_but_what_was_chosen_and_on_fresh_seeds(swept: Path) -> None:
    tested = [read_record(path).facts for path in (swept / "runs").rglob("record.json")]
    assert sorted((facts.config["regularizer"], facts.seed) for facts in tested) == [
        ("none", 2), ("none", 3), ("smooth", 2), ("smooth", 3),
    ]  # fmt: skip
    trials = [read_validation(path) for path in (swept / "runs").rglob(VALIDATION_NAME)]
    assert {trial.facts.seed for trial in trials} == {0, 1}
    assert len(trials) == 2 * 2 * 4, "as many trials without a regularizer as with one"
    assert "test" not in (swept / "out" / "sweep.md").read_text().split("\n", 1)[1]


def test_the_chosen_setting_is_the_best_on_validation_and_is_a_file(swept: Path) -> None:
    means: dict[str, list[float]] = {}
    for path in (swept / "runs").glob(f"general-simple-smooth-*/*/{VALIDATION_NAME}"):
        trial = read_validation(path)
        penalty = trial.facts.config["penalty"]
        means.setdefault(f"{penalty['weight']:g} {penalty['radius']:g}", []).append(float(trial.table.mean()))
    best = min(means, key=lambda name: np.mean(means[name]))
    chosen = parse_optimize(["--config", str(swept / "out" / "chosen-smooth.toml")])
    assert f"{chosen.penalty.weight:g} {chosen.penalty.radius:g}" == best
    assert chosen.training.unrolls == 8
    record = next((swept / "runs").glob(f"{chosen.config.run_name()}/seed2/record.json"))
    assert read_record(record).facts.config_sha256 == chosen.config.sha256()
    text = (swept / "out" / "sweep.md").read_text()
    assert "smooth: 4 settings; 8 trials" in text
    assert "none: 4 settings; 8 trials" in text
    assert text.count("chosen") == 2
    assert (swept / "out" / "heat-map-smooth.png").stat().st_size > 5000
    assert not (swept / "out" / "heat-map-none.png").exists(), "it has one option alone"


def test_a_trial_that_goes_on_to_its_test_is_the_run_that_was_never_stopped(tmp_path: Path) -> None:
    task, words = open_task("quadratic", tmp_path, CPU), [*QUADRATIC.split(), "--quiet"]
    whole = parse_optimize([*words, "--results", str(tmp_path / "whole")])
    record = run(experiment_of(whole, 0, task, CPU), whole, 0)
    parts = [*words, "--results", str(tmp_path / "parts")]
    for more in (["--validate-only", "--stop-at", "4"], ["--validate-only"]):
        command = parse_optimize([*parts, *more])
        experiment = experiment_of(command, 0, task, CPU)
        found = experiment.validate(experiment.folder / "validation.json")
        assert found.facts.done == (command.stop_at or 8)
        assert not list((tmp_path / "parts").rglob("record.json"))
    assert np.mean(found.values) == pytest.approx(record.facts.training.best_loss)
    command = parse_optimize(parts)
    assert run(experiment_of(command, 0, task, CPU), command, 0).digest == record.digest


def test_values_of_a_few_shot_trial_are_those_of_the_best_model(tmp_path: Path) -> None:
    glyphs = open_dataset("glyphs", tmp_path, quiet=True)
    words = "--way 3 --shot 1 --query 4 --training.episodes 4 --training.validate-every 2 --quiet --validate-only"
    words += f" --training.validation-episodes 5 --test.episodes 2 --learner.inner-epochs 1 --results {tmp_path / 'r'}"
    command = parse_run(words.split())
    experiment = FewShotExperiment(command, 0, glyphs, CPU)
    found = experiment.validate(experiment.folder / "validation.json")
    assert len(found.values) == 5
    progress = experiment._trainer().progress
    assert np.mean(found.values) == pytest.approx(progress.best_accuracy)
    assert found.facts.problems == experiment.validation.sha256(glyphs)


def test_halving_ends_with_what_whole_trials_give(swept: Path, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    words, grid = [*QUADRATIC.split(), "--smooth"], read_grid(GRID[1:])
    places = Places(tmp_path)
    sides = sides_of("optimize", words, grid, None)
    tuning = Tuning(sides, (0,), halving=2)
    outcomes, failures = tuning.run(places, lambda plan: here(plan, places))
    assert not failures
    for side, outcome in zip(sides, outcomes, strict=True):
        assert outcome.tried == 4
        assert 1 <= len(outcome.settings) < 4, "some are stopped, and the best goes on"
        ended = {path.parent.parent.name for path in tmp_path.glob(f"*-{side.regularizer}-*/seed0/{VALIDATION_NAME}")}
        assert len(ended) == len(outcome.settings)
        for name in ended:
            whole, halved = (read_validation(f / name / "seed0" / VALIDATION_NAME) for f in (swept / "runs", tmp_path))
            assert halved.values == whole.values
            assert halved.measured.interruptions > 0
    again, _ = tuning.run(places, lambda plan: [f"{run.job.name} was run again" for run in plan.todo])
    assert [outcome.chosen for outcome in again] == [outcome.chosen for outcome in outcomes]


def test_a_validation_that_was_changed_is_refused(swept: Path, tmp_path: Path) -> None:
    path = next((swept / "runs").rglob(VALIDATION_NAME))
    content = json.loads(path.read_text())
    content["values"][0] = 0.0
    changed = tmp_path / VALIDATION_NAME
    changed.write_text(json.dumps(content))
    with pytest.raises(InputError, match="was changed after it was written"):
        read_validation(changed)
    changed.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="no readable validation"):
        read_validation(changed)


def test_settings_on_other_problems_are_not_compared(swept: Path) -> None:
    words = [*QUADRATIC.split(), "--smooth"]
    tuning = Tuning(sides_of("optimize", words, read_grid(["penalty.weight=10"]), None, plain=False), (0,))
    (trial,) = tuning.first_jobs()
    assert trial.record_path(Places(swept / "runs")).name == VALIDATION_NAME
    assert trial.arguments(Places(swept / "runs"))[-1] == "--validate-only"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "say whose runs to sweep over"),
        ("paper --grid a=1,2", "say whose runs to sweep over"),
        ("run --smooth", "there is no --grid"),
        ("run --smooth --grid penalty.weight=1,2 --fresh", "--fresh is no option of a sweep"),
        ("run --smooth --grid penalty.weight=1,2 --evaluate x", "--evaluate is no option of a sweep"),
        ("run --smooth --grid penalty.weight=1,2 --seeds 0 1 --fresh-seeds 1 2", "fresh_seeds has 1, a seed of trials"),
        ("run --smooth --grid penalty.weight=1,2 --halving 1", "halving is 1"),
        ("run --smooth --grid penalty.weight=1,2 --gpus 0.5", "gpus is 0.5, which is for --engine ray"),
        ("run --smooth --grid penalty.weight=1,2 --wya 3", "there is no option --wya here"),
    ],
)
def test_errors(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_command(main, words.split())
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
