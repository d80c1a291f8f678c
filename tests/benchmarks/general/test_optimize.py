"""The command of the general track, end to end on small settings, and its errors."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from makers import optimized
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.general.command import parse
from benchmarks.general.experiment import experiment_of
from benchmarks.general.observe import GeneralObserver
from benchmarks.general.verdict import how_it_went
from benchmarks.optimize import main
from benchmarks.reporting.crossed.speedup import envelope, speed_up
from benchmarks.reporting.read import rows_of
from benchmarks.running.record import Record, read_record
from benchmarks.running.schema import GeneralFacts, GeneralTraining
from fewshot.console import run_command
from fewshot.errors import InputError
from fewshot.general.tasks import open_task
from fewshot.optimizers import LEARNED
from fewshot.optimizers.optimizer_file import load_optimizer

SMALL = "--training.unrolls 3 --training.horizon 20 --training.validate-every 2 --steps 20 --test.initializations 2"


def run(results: Path, words: str) -> Record:
    """Run the command on digits; the one record that is new."""
    before = set(results.rglob("record.json"))
    main(["--task", "digits_mlp", "--results", str(results), "--quiet", *words.split()])
    (new,) = set(results.rglob("record.json")) - before
    return read_record(new)


def test_learned_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"--optimizer simple --smooth {SMALL}"
    record = run(tmp_path, words)
    assert isinstance(record.facts, GeneralFacts)
    assert record.facts.status == "finished"
    assert record.facts.meta_parameters == 440
    assert record.facts.config["penalty"]["maximum"] == "endpoints"
    assert record.facts.config["transfer"] is None
    assert [point["unroll"] for point in record.details.validation] == [2, 3]
    runs = record.results.best.runs
    assert [r.initialization for r in runs] == [0, 1]
    assert runs[0].step[-1] == 20
    assert len(runs[0].test_loss) == len(runs[0].step) == 21
    states = record.details.smoothness.state
    assert len(states) == 1000
    assert states != sorted(states), "in the order drawn"
    assert record.details.smoothness.lipschitz > 0
    measured = record.facts.trajectory
    assert (measured.steps, len(measured.penalty)) == (20, 2)
    assert all(number > 0 for part in (measured.penalty, measured.slope, measured.lipschitz) for number in part)
    _, card = load_optimizer(record.path.parent / "best.safetensors")
    assert card.regularizer == "smooth"
    assert card.validation == {"loss": record.facts.training.best_loss, "steps": 20.0}
    assert "simple" in capsys.readouterr().out
    main(["--task", "digits_mlp", "--results", str(tmp_path), *words.split()])
    assert "was finished before" in capsys.readouterr().out


def test_variation_is_an_option_of_training_alone(tmp_path: Path) -> None:
    plain = run(tmp_path, f"--optimizer rnnprop {SMALL}")
    words = "--training.variation.scaling 3 --training.variation.convex 20 --training.variation.convex-scaling 1"
    varied = run(tmp_path, f"--optimizer rnnprop {SMALL} {words}")
    assert varied.facts.config["training"]["variation"] == {"scaling": 3.0, "convex": 20, "convex_scaling": 1.0}
    assert varied.facts.config_sha256 != plain.facts.config_sha256
    assert varied.facts.protocol.sha256 == plain.facts.protocol.sha256
    assert varied.details.curve[0]["loss"] != plain.details.curve[0]["loss"]
    starts = [[r.test_loss[0] for r in record.results.best.runs] for record in (plain, varied)]
    assert starts[0] == starts[1], "the test starts from the same weights"


def test_curriculum_is_recorded(tmp_path: Path) -> None:
    words = "--training.unrolls 4 --training.horizon 20 --training.truncation 10 --training.curriculum 10 --steps 20"
    record = run(tmp_path, f"--optimizer simple {words} --test.initializations 1")
    assert record.facts.config["training"]["curriculum"] == [10]
    assert record.details.stages == [{"horizon": 10, "unroll": 0}, {"horizon": 20, "unroll": 2}]
    assert [(p["unroll"], p["horizon"]) for p in record.details.validation] == [(2, 20), (4, 20)]


def test_imitation_is_recorded_apart(tmp_path: Path) -> None:
    words = "--training.imitation.probability 1 --training.imitation.teacher rmsprop"
    record = run(tmp_path, f"--optimizer simple --smooth {SMALL} {words}")
    assert record.facts.config["training"]["imitation"] == {"probability": 1.0, "teacher": "rmsprop", "rate": 0.01}
    assert record.details.curve == []
    assert [p["unroll"] for p in record.details.imitation] == [1, 2, 3]
    assert all(p["distance"] > 0 and p["penalty"] > 0 for p in record.details.imitation)
    assert record.facts.status == "finished"


def test_the_stable_preset_is_in_the_record_and_later_options_in_no_other(tmp_path: Path) -> None:
    words = "--training.unrolls 2 --training.horizon 20 --training.truncation 10 --steps 20 --test.initializations 1"
    stable = run(tmp_path, f"--optimizer simple --preset stable {words} --training.shortest-horizon 10")
    training, core = stable.facts.config["training"], stable.facts.config["core"]
    later = {"normalize_weights": True, "clip": "norm", "loss_cap": 1.5, "objective": "log", "shortest_horizon": 10}
    later |= {"second_order": True}
    assert later.items() <= training.items()
    assert core["output_multiplier"] == 0.1
    assert stable.path is not None
    assert all(point["lost"] >= 0 for point in stable.details.curve)
    _, card = load_optimizer(stable.path.parent / "best.safetensors")
    assert {name: card.options[name] for name in core} == core
    off = {name: value for name, value in card.options.items() if name not in core}
    assert {"scale_free", "update_rms", "nominal_rate"} <= off.keys()
    assert off == {name: getattr(LEARNED["simple"].Options(), name) for name in off} | {
        "nominal_decays": [0.9, 0.99, 0.999]
    }
    assert not {"update_rms", "nominal_rate"} & core.keys()
    quick = parse(["--preset", "quick"]).to_dict()
    assert not {*later, "meta_warmup"} & set(quick["training"])
    assert "output_multiplier" not in quick["core"]


@pytest.mark.parametrize(
    ("words", "sha256"),
    [
        ("--preset quick", "f13616e70550"),
        ("--preset quick --smooth", "b754434b412d"),
        ("--preset paper", "a7ab2fddf2ce"),
        ("--preset paper --smooth --optimizer rnnprop", "dab3fd7adfbb"),
        ("--preset quick --optimizer dm", "0c4a9a8f2898"),
    ],
)
def test_presets_mean_what_they_meant(words: str, sha256: str) -> None:
    """Options that come later leave the hash of a configuration as it was."""
    assert parse([*words.split(), "--test.initializations", "5"]).sha256().startswith(sha256)


def test_same_command_elsewhere_gives_the_same_digest(tmp_path: Path) -> None:
    words = f"--optimizer simple {SMALL}"
    first, second = run(tmp_path / "a", words), run(tmp_path / "b", words)
    assert first.digest == second.digest


def test_hand_designed_run_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sgd = run(tmp_path, "--optimizer sgd --training.points 3 --steps 20 --test.initializations 5")
    assert [point.rate for point in sgd.details.grid] == [1e-4, 1e-2, 1.0]
    least = min(sgd.details.grid, key=lambda point: point.validation_loss)
    assert sgd.facts.rate == least.rate
    assert sgd.facts.config["core"] is None
    assert sgd.facts.config["penalty"] is None
    simple = run(tmp_path, f"--optimizer simple {SMALL} --test.initializations 5")
    assert simple.facts.protocol.sha256 == sgd.facts.protocol.sha256
    assert [a.train_loss[0] for a in simple.results.best.runs] == [b.train_loss[0] for b in sgd.results.best.runs], (
        "paired: the same initializations"
    )
    table = capsys.readouterr().out.splitlines()[-12:]
    assert "sgd" in "".join(table)
    assert "simple" in "".join(table)


def test_transfer(tmp_path: Path) -> None:
    trained = run(tmp_path, f"--optimizer simple {SMALL}")
    path = trained.path.parent / "best.safetensors"
    main(["--evaluate", str(path), "--task", "quadratic", "--steps", "30", "--results", str(tmp_path), "--quiet"])
    records = [read_record(p) for p in tmp_path.rglob("record.json")]
    (record,) = [r for r in records if r.facts.config["transfer"]]
    transfer = record.facts.config["transfer"]
    assert transfer["task"] == "digits_mlp"
    assert transfer["config_sha256"] == trained.facts.config_sha256
    assert record.facts.config["task"] == "quadratic"
    assert record.results.best.runs[0].test_accuracy is None
    main(["--evaluate", str(path), "--task", "digits_mlp", "--steps", "20", "--test.initializations", "2",
          "--results", str(tmp_path), "--quiet"])  # fmt: skip
    again = [read_record(p) for p in tmp_path.rglob("record.json")]
    (same,) = [r for r in again if r.facts.config["transfer"] and r.facts.config["task"] == "digits_mlp"]
    assert same.results.best.runs == trained.results.best.runs, "the file holds what was tested"


def test_a_grid_that_diverges_is_a_failed_run(tmp_path: Path) -> None:
    words = "--optimizer sgd --task quadratic --training.low 1e3 --training.high 1e4 --training.points 2 --quiet"
    with pytest.raises(SystemExit):
        main([*words.split(), "--results", str(tmp_path)])
    record = read_record(next(tmp_path.rglob("record.json")))
    assert record.facts.status == "failed"
    assert "diverged" in record.facts.failure
    assert record.facts.rate is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--optimizer adagrad", "unknown optimizer 'adagrad'; choose one of: simple"),
        ("--task mnist", "unknown task 'mnist'; choose one of: digits_mlp"),
        ("--preset slow", "unknown preset 'slow'"),
        ("--optimizer adam --smooth", "has no effect on adam"),
        ("--penalty.weight 3", "add --smooth"),
        ("--optimizer adam --seeds 0 1", "leave --seeds out"),
        ("--training.truncation 30", "multiple of training.truncation 30"),
        ("--test.points 1", "test.points is 1"),
        ("--training.imitation.teacher lion", "unknown training.imitation.teacher 'lion'"),
        ("--training.curriculum 100 50", "training.curriculum is 100 50"),
        ("--training.variation.scaling -1", "training.variation.scaling is -1"),
        ("--task mnist_mlp --data /nowhere", "python -m data_prep.mnist"),
        ("--evaluate nobody", "unknown learned optimizer 'nobody'"),
        ("--evaluate nobody --smooth", "leave --regularizer out"),
        ("--evaluate /nowhere/best.safetensors", "/nowhere/best.safetensors"),
    ],
)
def test_errors(words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        run_command(main, [*words.split(), "--results", str(tmp_path)])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize("optimizer", LEARNED)
def test_presets_follow_the_optimizer(optimizer: str) -> None:
    command = parse(["--optimizer", optimizer, "--task", "mnist_mlp", "--smooth"])
    assert isinstance(command.core, LEARNED[optimizer].Options)
    assert command.penalty.maximum == ("endpoints" if optimizer == "simple" else "auto")
    assert (command.training.meta_rate, command.training.horizon) == (1e-4, 200)  # pyright: ignore[reportAttributeAccessIssue]
    assert parse(["--optimizer", optimizer]).training != command.training, "digits_mlp is quick"


def test_a_continued_run_repeats_no_point_in_tensorboard(tmp_path: Path) -> None:
    for done, last in ((0, 4), (2, 5)):  # killed after 4 unrolls, with a checkpoint of 2
        with GeneralObserver(tmp_path, "a run", quiet=True, done=done) as observer:
            observer.begin("unrolls", 5, done)
            for unroll in range(done + 1, last + 1):
                observer.step(unroll, {"loss": float(unroll)})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4, 5]


def test_training_problems_of_stages_are_disjoint(tmp_path: Path) -> None:
    command = parse(["--task", "digits_mlp", "--results", str(tmp_path)])
    experiment = experiment_of(command, 0, open_task("digits_mlp", tmp_path, torch.device("cpu")), torch.device("cpu"))
    validation, test = (experiment.problems(stage, 100) for stage in ("val", "test"))
    assert not {p.seed for p in validation} & {p.seed for p in test}
    weights = torch.stack([p.init() for p in (*validation, *test)])
    assert len(weights.unique(dim=0)) == 200, "initial weights of all problems differ"


def test_every_rate_of_adam_is_kept_on_the_test_problems(tmp_path: Path) -> None:
    words = "--training.points 4 --training.low 1e-3 --training.high 1 --steps 20 --test.points 5"
    record = run(tmp_path, f"--optimizer adam {words} --test.initializations 4")
    found, runs = record.details.envelope, record.results.best.runs
    assert found.rates == [point.rate for point in record.details.grid]
    assert found.losses().shape == (4, 4, 5)
    chosen = found.losses()[found.rates.index(record.facts.rate)]
    assert chosen.tolist() == [r.test_loss for r in runs], "the rate that is tested is one of them"
    assert (envelope(found.losses())[:, -1] <= chosen[:, -1]).all()
    assert speed_up(chosen[:, -1], 20, envelope(found.losses()), found.step).ratio <= 1
    plain = run(tmp_path, f"--optimizer adam {words} --test.initializations 4 --training.no-envelope")
    assert plain.details.envelope is None
    for a, b in zip(plain.results.best.runs, runs, strict=True):
        assert a.test_loss == pytest.approx(b.test_loss, rel=1e-5)
    assert run(tmp_path, f"--optimizer sgd {words} --test.initializations 4").details.envelope is None


def test_a_diverged_rate_has_no_losses_in_the_envelope(tmp_path: Path) -> None:
    words = "--optimizer adam --task quadratic --training.low 1 --training.high 1e30 --training.points 2 --steps 20"
    record = run(tmp_path, f"{words} --test.initializations 3")
    losses = record.details.envelope.losses()
    assert np.isfinite(losses[0]).all()
    assert np.isnan(losses[1, :, -1]).all()
    assert record.details.border == "lowest"


def test_a_rate_at_the_border_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "--training.low 1e-6 --training.high 1e-5 --training.points 2 --steps 20 --test.initializations 2"
    record = run(tmp_path, f"--optimizer sgd {words}")
    assert record.details.border == "highest"
    assert "1e-05 is the highest of its grid" in capsys.readouterr().err


def test_selection_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = run(tmp_path, f"--optimizer simple {SMALL} --training.clamp 1e-9")
    training, details = record.facts.training, record.details
    assert training.last_loss == details.validation[-1]["loss"]
    assert training.best_loss == min(point["loss"] for point in details.validation)
    assert training.exploded == sum(p["final_loss"] > math.log(10) for p in details.curve) / 3
    assert training.clipped > 0.9
    assert record.facts.lipschitz == details.smoothness.lipschitz
    out = capsys.readouterr().out
    assert f"converged: validation loss {training.best_loss:.3g}" in out
    assert "try" in out
    assert "a --training.clamp above 1e-09" in out
    assert run(tmp_path, f"--optimizer simple {SMALL} --training.clamp 1e9").facts.training.clipped == 0


@pytest.mark.parametrize(
    ("last", "exploded", "said"),
    [
        (0.3, 0.02, "converged"),
        (0.329, 0.1, "converged"),
        (0.329, 0.11, "not converged"),
        (0.331, 0.02, "not converged"),
        (None, 0.02, "not converged"),
    ],
)
def test_an_early_best_is_called_one(last: float | None, exploded: float, said: str) -> None:
    training = GeneralTraining(
        unroll=40, skipped=2, best_unroll=5, best_loss=0.3, last_loss=last, exploded=exploded, clipped=0.94
    )
    record = optimized([0.5])
    config = {**record.facts.config, "training": {"truncation": 20, "horizon": 200, "meta_rate": 1e-3, "clamp": 1.0}}
    line = how_it_went(msgspec.structs.replace(record.facts, training=training, config=config))
    assert line is not None
    assert f": {said}: validation loss" in line
    assert ("diverged at last" in line) == (last is None)
    assert ("an early best" in line) == (last is None or last > 0.33) == ("--training.truncation above 20" in line)
    assert ("--training.second-order" in line) == (said == "not converged")
    assert f"{exploded:.0%} of unrolls exploded; the clamp cut 94% of the meta-gradient" in line
    config["training"]["second_order"] = True
    exact = how_it_went(msgspec.structs.replace(record.facts, training=training, config=config))
    assert exact is not None
    assert "second-order" not in exact
    assert "--training.truncation" not in exact
    assert how_it_went(record.facts) is None, "records before computation 2 do not tell"


def test_versions_of_the_computation_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "--optimizer sgd --training.points 2 --steps 20 --test.initializations 2"
    new = run(tmp_path / "new", words)
    assert new.facts.protocol.computation == 2
    monkeypatch.setattr("benchmarks.general.base.COMPUTATION", 1)
    old = run(tmp_path / "old", words)
    assert old.facts.config_sha256 == new.facts.config_sha256
    assert old.facts.protocol.sha256 != new.facts.protocol.sha256
    assert [len(rows_of(records)) for records in ([old, new], [new, new])] == [2, 1]
    with pytest.raises(InputError, match=r"has version 2 of the computation, this program 1.*--fresh"):
        run(tmp_path / "new", words)


def test_precision_is_of_the_networks_and_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = f"--optimizer simple --smooth {SMALL}"
    full = run(tmp_path, words)
    monkeypatch.setenv("FEWSHOT_EMULATE_BF16", "1")
    half = run(tmp_path, f"{words} --precision bf16")
    assert half.facts.config == {**full.facts.config, "precision": "bf16"}
    losses = [record.results.best.runs[0].test_loss for record in (full, half)]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
