"""Pre-training learns, stops and continues, and is the same in one process and in two."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks import pretrain
from benchmarks.running.record import read_record
from fewshot.backbones.file import load_backbone
from fewshot.backbones.pretrain import Pretrainer, PretrainOptions
from fewshot.data.store import writing
from fewshot.errors import InputError

OPTIONS = [
    *("--dataset", "shapes", "--backbone", "conv4_64", "--preset", "quick", "--device", "cpu", "--quiet"),
    *("--training.epochs", "3", "--training.warmup-epochs", "1", "--training.milestones", "2"),
    *("--training.batch-size", "16", "--training.pad", "1", "--training.validate-every", "1"),
    *("--training.validation-episodes", "20", "--training.validation-way", "4"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Classes are blurred random patterns; images are noisy, shifted copies: new classes can be told apart."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.Generator(np.random.Philox(0))
    with writing(folder / "shapes.h5", "shapes", [], "none") as writer:
        for split, classes in (("train", 8), ("val", 4), ("test", 4)):
            writer.add_split(split, {f"{split}{c}": 20 for c in range(classes)}, (16, 16, 1))
            coarse = generator.integers(0, 200, (classes, 4, 4)).repeat(4, 1).repeat(4, 2)
            images = np.stack([np.roll(p, generator.integers(-1, 2, 2), (0, 1)) for p in coarse.repeat(20, 0)])
            images = images + generator.integers(0, 56, images.shape)
            names = [f"{split}/{i}" for i in range(classes * 20)]
            writer.write(split, 0, images[..., None].astype(np.uint8), names)
    return folder


def train(data, results, *extra):
    pretrain.main([*OPTIONS, "--data", str(data), "--results", str(results), *extra])
    (record,) = results.rglob("pretraining.json")
    return read_record(record), load_file(record.with_name("last.safetensors"))


def test_it_learns_far_above_chance_and_keeps_the_best(data, tmp_path):
    record, _ = train(data, tmp_path)
    training = record.facts.training
    assert record.details.curve[-1]["accuracy"] > 0.7  # of 8 training classes
    assert training.best_accuracy > 0.6  # of 4 classes it has never seen, from one image of each
    assert training.best_accuracy == max(v["accuracy"] for v in record.details.validation)
    (best,) = tmp_path.rglob("best.safetensors")
    assert f"step {training.best_step}" in load_backbone(best)[1].origin


def test_an_interrupted_training_ends_with_the_same_bits(data, tmp_path, monkeypatch):
    record, undisturbed = train(data, tmp_path / "a")
    step = Pretrainer._step

    def until(self, number):
        if number == 13:
            raise KeyboardInterrupt
        return step(self, number)

    monkeypatch.setattr(Pretrainer, "_step", until)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "b", "--checkpoint-seconds", "1e-9")
    monkeypatch.undo()
    resumed_record, resumed = train(data, tmp_path / "b", "--checkpoint-seconds", "1e-9")
    assert resumed_record.measured.interruptions == 1
    assert resumed_record.digest == record.digest
    assert all(torch.equal(resumed[name], value) for name, value in undisturbed.items())


def test_two_processes_are_one_with_the_doubled_batch(data, tmp_path):
    """16 images a step: 16 in one process, 8 in each of two. Statistics and gradients are those of all 16."""
    short = ("--training.epochs", "1", "--training.warmup-epochs", "0", "--training.milestones", "1")
    _, alone = train(data, tmp_path / "one", *short)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    where = ("--data", str(data), "--results", str(tmp_path / "two"))
    subprocess.run(
        [*launcher, "-m", "benchmarks.pretrain", *OPTIONS, *where, *short],
        check=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    (path,) = (tmp_path / "two").rglob("last.safetensors")
    together = load_file(path)
    assert read_record(path.with_name("pretraining.json")).facts.processes == 2
    for name, value in alone.items():
        if name.endswith("num_batches_tracked"):  # of no effect, and not counted by several processes
            continue
        torch.testing.assert_close(together[name].double(), value.double(), rtol=1e-3, atol=1e-4, msg=name)


def test_the_learning_rate_warms_up_and_falls():
    options = PretrainOptions(epochs=6, warmup_epochs=2, milestones=(4, 5), rate=0.1, decay=0.1)
    rates = [options.rate_at(step, 10) for step in (0, 9, 19, 20, 39, 40, 50)]
    assert rates == pytest.approx([0.005, 0.05, 0.1, 0.1, 0.1, 0.01, 0.001])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--training.batch-size", "999"], "training.batch-size 999: split 'train' has only 160 images"),
        (["--backbone", "vgg"], "unknown backbone 'vgg'"),
        (["--crop", "17"], "crop 17: images of shapes have 16 pixels"),
        (["--training.validation-way", "5"], "way 5: split 'val' has only 4 classes"),
    ],
)
def test_refusals_come_before_any_work(data, tmp_path, extra, message):
    with pytest.raises(InputError, match=message):
        train(data, tmp_path, *extra)
    assert not list(tmp_path.iterdir())


def test_weights_from_elsewhere_come_in(data, tmp_path, capsys):
    _, weights = train(data, tmp_path / "a")
    torch.save(weights, tmp_path / "theirs.pth")
    where = ["--data", str(data), "--results", str(tmp_path / "b")]
    pretrain.main([*OPTIONS, *where, "--import-weights", str(tmp_path / "theirs.pth")])
    assert "validation accuracy" in capsys.readouterr().out
    (path,) = (tmp_path / "b").rglob("*.safetensors")
    _, info = load_backbone(path)
    assert (info.backbone, info.dataset, info.origin) == ("conv4_64", "shapes", "imported from theirs.pth")


def test_imports_are_known_by_their_content(data, tmp_path, capsys):
    _, weights = train(data, tmp_path / "a")
    others = {name: value + 0.5 if "weight" in name else value for name, value in weights.items()}
    for folder, content in (("one", weights), ("two", others), ("again", weights)):
        (tmp_path / folder).mkdir()
        torch.save(content, tmp_path / folder / "best.pth")
        where = ["--data", str(data), "--results", str(tmp_path / "b")]
        pretrain.main([*OPTIONS, *where, "--import-weights", str(tmp_path / folder / "best.pth")])
    paths = re.findall(r"--learner\.backbone (\S+)", capsys.readouterr().out)
    assert paths[0] == paths[2] != paths[1]
    for path, content in zip(paths, (weights, others), strict=False):
        net, _ = load_backbone(Path(path))
        assert all(torch.equal(value, content[name]) for name, value in net.state_dict().items())
