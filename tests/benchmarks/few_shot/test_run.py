"""`python -m benchmarks.run` as users meet it: results, interruptions, refusals."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmarks.few_shot.config import FewShotConfig
from benchmarks.run import main
from benchmarks.running.record import read_record
from fewshot.data.store import writing
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.nets import precision

TINY = [
    *("--dataset", "tiny", "--preset", "quick", "--way", "3", "--query", "4", "--quiet", "--device", "cpu"),
    *("--learner.filters", "4", "--learner.hidden-size", "4", "--learner.inner-epochs", "2"),
    *("--training.episodes", "30", "--training.validate-every", "10", "--training.validation-episodes", "5"),
    *("--test.episodes", "12"),
]


@pytest.fixture
def folders(tmp_path):
    """--data and --results; the dataset has 5 classes of 12 images a split, each a fixed pattern with noise."""
    generator = np.random.Generator(np.random.Philox(0))
    with writing(tmp_path / "data" / "tiny.h5", "tiny", [], "none") as writer:
        for split in ("train", "val", "test"):
            writer.add_split(split, {f"{split}{c}": 12 for c in range(5)}, (16, 16, 1))
            patterns = np.repeat(generator.integers(0, 200, (5, 16, 16, 1)), 12, axis=0)
            images = (patterns + generator.integers(0, 56, (60, 16, 16, 1))).astype(np.uint8)
            writer.write(split, 0, images, [f"{split}/{i}" for i in range(60)])
    return ["--data", str(tmp_path / "data"), "--results", str(tmp_path / "results")]


def records(folders):
    return {path: read_record(path) for path in sorted(Path(folders[3]).rglob("record.json"))}


def only_record(folders):
    (record,) = records(folders).values()
    return record


def weights(folders):
    return [path.read_bytes() for path in sorted(Path(folders[3]).rglob("*.safetensors"))]


def test_a_run_leaves_a_complete_record_and_a_table(folders, capsys):
    main([*TINY, *folders, "--smooth"])
    record = only_record(folders)
    assert record.facts.status == "finished"
    assert record.facts.config["regularizer"] == "smooth"
    assert record.facts.config["penalty"]["radius"] == 1.0
    assert record.facts.config["learner"]["inner_epochs"] == 2
    for model in ("best", "last"):
        correct = getattr(record.results, model).correct
        assert len(correct) == 12
        assert all(isinstance(c, int) and 0 <= c <= 12 for c in correct)
    assert record.facts.queries_per_episode == 12
    assert record.facts.manifests["test"].count == 12
    assert len(record.facts.manifests["test"].sha256) == 64
    assert [point["episode"] for point in record.details.curve] == [10, 20, 30]
    assert {"loss", "accuracy", "penalty", "step_size"} <= set(record.details.curve[0])
    assert {"torch", "numpy", "python"} <= set(record.facts.environment.versions)
    assert record.measured.peak_memory_bytes > 1e8
    mean = 100 * np.mean(record.results.best.correct) / 12
    assert f"{mean:.2f} ±" in capsys.readouterr().out


def test_smoothing_changes_training_and_nothing_else(folders):
    for extra in ([], ["--smooth"], ["--smooth", "--penalty.weight", "0"]):
        main([*TINY, *folders, *extra])
    plain, smooth, weightless = sorted(
        records(folders).values(),
        key=lambda r: -1 if r.facts.config["penalty"] is None else -r.facts.config["penalty"]["weight"],
    )
    if plain.facts.config["regularizer"] != "none":
        plain, smooth = smooth, plain
    assert plain.results == weightless.results
    assert plain.details.curve[-1]["loss"] != smooth.details.curve[-1]["loss"]
    assert plain.facts.manifests == smooth.facts.manifests


def test_the_same_command_shows_the_finished_run(folders, capsys):
    main([*TINY, *folders])
    (path,) = records(folders)
    before, digest = path.read_bytes(), only_record(folders).digest
    main([*TINY, *folders])
    assert path.read_bytes() == before
    assert "was finished before" in capsys.readouterr().out
    main([*TINY, *folders, "--fresh"])
    assert path.read_bytes() != before  # measured anew
    assert only_record(folders).digest == digest


def test_several_seeds_are_several_runs_of_one_row(folders, capsys):
    main([*TINY, *folders, "--seeds", "0", "1"])
    first, second = records(folders).values()
    assert (first.facts.seed, second.facts.seed) == (0, 1)
    assert first.facts.config_sha256 == second.facts.config_sha256
    assert first.facts.manifests == second.facts.manifests
    assert first.results != second.results
    table = capsys.readouterr().out
    assert "2 seeds" in table


def command(folders, *extra):
    return [sys.executable, "-m", "benchmarks.run", *TINY, *folders, *extra]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_kill_9_at_random_moments_changes_nothing(folders, tmp_path):
    """Killed again and again, the run still ends with the bits of one that was left alone."""
    long = ["--training.episodes", "400", "--smooth", "--penalty.maximum", "pgd", "--checkpoint-seconds", "0.2"]
    undisturbed = [*folders[:3], str(tmp_path / "undisturbed")]
    subprocess.run(command(undisturbed, *long), check=True, env=environment(), capture_output=True)
    generator = np.random.Generator(np.random.Philox(os.getpid()))
    kills = 0
    while not records(folders):
        process = subprocess.Popen(command(folders, *long), env=environment(), stdout=subprocess.PIPE)
        if kills < 5:
            checkpoint = next(Path(folders[3]).rglob("checkpoint.pt"), None)
            written = checkpoint and checkpoint.stat().st_mtime_ns
            while (
                process.poll() is None
                and checkpoint == next(Path(folders[3]).rglob("checkpoint.pt"), None)
                and (checkpoint is None or checkpoint.stat().st_mtime_ns == written)
            ):
                time.sleep(0.02)
            time.sleep(generator.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        assert kills < 20
    assert only_record(folders).measured.interruptions >= 3
    assert only_record(folders).digest == only_record(undisturbed).digest
    assert weights(folders) == weights(undisturbed)


def refused(arguments):
    process = subprocess.run(arguments, env=environment(), capture_output=True, text=True)
    assert process.returncode == 2, process.stderr
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
    return process.stderr


def test_refusals_are_one_line_and_exit_with_2(folders):
    assert "unknown method 'foo'; choose one of: meta_lstm" in refused(command(folders, "--method", "foo"))


def damage_truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def damage_garbage(path):
    path.write_bytes(b"no dataset")


def damage_version(path):
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 99


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--method", "foo"], "unknown method 'foo'; choose one of: meta_lstm"),
        (["--preset", "foo"], "unknown preset of meta_lstm 'foo'; choose one of: auto, defaults, paper"),
        (["--regularizer", "foo"], "unknown regularizer 'foo'; choose one of: none, smooth"),
        (["--dataset", "foo"], "unknown dataset 'foo'; known: glyphs"),
        (["--way", "6"], r"way 6: split 'train' has only 5 classes; choose at most"),
        (
            ["--shot", "9"],
            r"shot 9 \+ query 4 need 13 images a class, but class 'train0' .* has 12; lower shot or query",
        ),
        (["--smooth", "--penalty.weight", "-1"], "penalty.weight is -1.0; it must be a finite number of at least 0"),
        (
            ["--smooth", "--penalty.columns", "foo"],
            "unknown penalty.columns 'foo'; choose one of: default, all, features",
        ),
        (["--penalty.weight", "1"], "no such option without a regularizer that has it; add --smooth"),
        (["--seeds", "0", "0"], "seeds are 0, 0; give one or more different"),
        (["--normalize"], "no published mean and deviation for 'tiny'; leave --normalize out"),
        (["--results", "/dev/null/runs"], "cannot write /dev/null/runs.*choose another folder"),
        (["--learner.filters", "0"], "learner.filters is 0; it must be at least 1"),
    ],
)
def test_bad_options_are_refused_before_any_work(folders, extra, message):
    with pytest.raises(InputError, match=message):
        main([*TINY, *folders, *extra])
    assert not records(folders)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, r"tiny\.h5 .*prepare"),
        (damage_garbage, r"tiny\.h5 is truncated or not an HDF5 file; prepare"),
        (damage_version, r"tiny\.h5 has schema version 99, this program reads 1; prepare"),
    ],
)
def test_damaged_datasets_are_refused_and_earlier_results_stay(folders, damage, message):
    main([*TINY, *folders])
    before = {path: path.read_bytes() for path in Path(folders[3]).rglob("*") if path.is_file()}
    damage(Path(folders[1]) / "tiny.h5")
    with pytest.raises(InputError, match=message):
        main([*TINY, *folders, "--fresh"])
    assert {path: path.read_bytes() for path in Path(folders[3]).rglob("*") if path.is_file()} == before


def test_a_corrupt_checkpoint_is_refused_and_kept(folders):
    main([*TINY, *folders])
    (record,) = records(folders)
    checkpoint = record.with_name("checkpoint.pt")
    record.unlink()
    checkpoint.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"checkpoint .*checkpoint.pt is damaged.*--fresh"):
        main([*TINY, *folders])
    assert checkpoint.read_bytes() == b"damaged"
    main([*TINY, *folders, "--fresh"])
    assert only_record(folders).facts.status == "finished"


def test_a_changed_record_is_refused(folders):
    main([*TINY, *folders])
    (path,) = records(folders)
    path.write_text(path.read_text().replace('"status":"finished"', '"status":"failed"'))
    with pytest.raises(InputError, match="was changed after it was written"):
        main([*TINY, *folders])


def test_a_record_of_another_dataset_file_is_not_shown(folders):
    main([*TINY, *folders])
    with writing(Path(folders[1]) / "tiny.h5", "tiny", [], "none") as writer:
        for split in ("train", "val", "test"):
            writer.add_split(split, {f"{split}{c}": 12 for c in range(5)}, (16, 16, 1))
            writer.write(split, 0, np.zeros((60, 16, 16, 1), np.uint8), [f"{split}/{i}" for i in range(60)])
    with pytest.raises(InputError, match="another version of tiny; run again with --fresh"):
        main([*TINY, *folders])


def test_a_dataset_that_is_not_what_it_claims_is_refused(folders):
    main([*TINY, *folders])
    with h5py.File(Path(folders[1]) / "tiny.h5", "r+") as file:
        file.attrs["fingerprint"] = "0" * 64
    with pytest.raises(InputError, match=r"tiny\.h5 is damaged: fingerprint"):
        main([*TINY, *folders])


def test_two_runs_of_the_same_command_do_not_meet(folders):
    from fewshot.files import only_one

    main([*TINY, *folders])
    (path,) = records(folders)
    before = path.read_bytes()
    with only_one(path.parent, "testing"), pytest.raises(InputError, match="another process is"):
        main([*TINY, *folders, "--fresh"])
    assert path.read_bytes() == before


def test_a_failed_run_is_recorded_as_a_failure(folders, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([*TINY, *folders, "--training.meta-rate", "1e30", "--training.clip", "none"])
    assert exit_.value.code == 1
    record = only_record(folders)
    assert record.facts.status == "failed"
    assert "not finite" in record.facts.failure or "finite logits" in record.facts.failure
    assert record.results is None
    assert "failed" in capsys.readouterr().out


def test_the_test_episodes_can_be_exported(folders, tmp_path):
    main([*TINY, *folders, "--manifest", str(tmp_path / "episodes.json")])
    exported = json.loads((tmp_path / "episodes.json").read_text())
    assert exported["sha256"] == only_record(folders).facts.manifests["test"].sha256
    assert len(exported["episodes"]) == 12
    assert exported["episodes"][0]["support"][0][0].startswith("test/")


def test_several_episodes_a_step(folders):
    main([*TINY, *folders, "--training.episodes-per-step", "5", "--smooth"])
    record = only_record(folders)
    assert record.facts.training.episode == 30
    assert [v["episode"] for v in record.details.validation] == [10, 20, 30]
    assert record.facts.training.skipped == 0


def test_a_record_of_another_computation_is_refused(folders, monkeypatch):
    main([*TINY, *folders])
    assert only_record(folders).facts.computation == 2
    monkeypatch.setitem(METHODS._things, "meta_lstm", replace(METHODS["meta_lstm"], computation=3))
    with pytest.raises(InputError, match=r"has version 2 of the computation, this program 3.*--fresh"):
        main([*TINY, *folders])


def test_precision_is_of_the_run_and_refused_where_it_is_emulated(folders, monkeypatch):
    monkeypatch.setattr(precision, "_in_hardware", lambda _: False)
    monkeypatch.delenv(precision.EMULATE, raising=False)
    bf16 = [*TINY, *folders, "--precision", "bf16"]
    with pytest.raises(InputError, match=r"neither AVX512-BF16 nor AMX.*--precision fp32.*FEWSHOT_EMULATE_BF16=1"):
        main(bf16)
    assert not records(folders)
    monkeypatch.setenv(precision.EMULATE, "1")
    main(bf16)
    main([*TINY, *folders])
    runs = {record.facts.config.get("precision"): record for record in records(folders).values()}
    assert set(runs) == {"bf16", None}, "float32 is no part of a configuration"
    losses = [[point["loss"] for point in runs[name].details.curve] for name in ("bf16", None)]
    assert losses[0] != losses[1]
    assert losses[0][0] == pytest.approx(losses[1][0], abs=0.05), "later ones follow other weights"
    with pytest.raises(InputError, match="sib learns from features and computes no network"):
        FewShotConfig(method="sib", precision="bf16")
