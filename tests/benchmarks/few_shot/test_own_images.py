"""A folder of photographs becomes a table, by the commands that the messages suggest."""

import re
import shlex
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from benchmarks import pretrain, report, run
from benchmarks.backbones import config
from data_prep import image_folder, verify
from fewshot.errors import InputError

CLASSES = 16
BUDGET = [
    *("--training.episodes", "4", "--training.validate-every", "2", "--training.validation-episodes", "2"),
    *("--test.episodes", "5", "--device", "cpu", "--quiet"),
]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """16 folders of 20 photographs, and everything else beside them; a short preset for backbones."""
    generator = np.random.Generator(np.random.Philox(0))
    for number in range(CLASSES):
        folder = tmp_path / "photos" / f"bird {chr(97 + number)}"
        folder.mkdir(parents=True)
        colour = generator.integers(110, 140, 3)
        for row in range(20):
            pixels = np.clip(colour + generator.integers(-100, 100, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"IMG_{row:04d}.JPG", "JPEG")

    def short(base):
        training = replace(config.paper(base).training, epochs=2, warmup_epochs=1, milestones=(), validation_episodes=5)
        return replace(base, training=training)

    monkeypatch.setitem(config.PRESETS._things, "paper", short)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepare(*more):
    arguments = ["--from", "photos", "--name", "birds", "--image-size", "16", "--quiet"]
    image_folder.main([*arguments, *more])


def protonet(way):
    run.main(["--dataset", "birds", "--method", "protonet", "--way", str(way), "--shot", "1", *BUDGET, *BACKBONE])


BACKBONE = ["--learner.backbone", "conv4_64"]


def refusal(act, *arguments):
    with pytest.raises(InputError) as error:
        act(*arguments)
    return str(error.value)


def command_in(message):
    """The arguments of the pre-training that a message suggests."""
    return shlex.split(re.search(r"`python -m benchmarks\.pretrain ([^`]*)`", message)[1])


def test_from_photographs_to_a_table(places, capsys):
    prepare()
    told = capsys.readouterr().out
    assert "train 10 classes / 200 images, val 3 classes / 60 images, test 3 classes / 60 images" in told
    assert "--val and --test of data_prep.image_folder" in refusal(protonet, 5)
    wider = shlex.split(re.search(r"(--val \S+ --test \S+) leave 5 classes each for --way 5", told)[1])

    prepare(*wider, "--force")
    assert "val 5 classes / 100 images, test 5 classes / 100 images" in capsys.readouterr().out
    suggested = command_in(refusal(protonet, 5))
    pretrain.main([*suggested, "--device", "cpu", "--quiet"])
    capsys.readouterr()
    protonet(5)
    assert "accuracy" in capsys.readouterr().out
    report.main([])
    table = capsys.readouterr().out
    assert re.search(r"birds \(resized\) +\| +5 +\| +1 +\| +protonet", table)
    verify.main(["birds"])
    assert "pixels resized" in capsys.readouterr().out


def test_three_ways_with_what_is_there(places, capsys):
    prepare()
    direct = refusal(pretrain.main, ["--dataset", "birds", "--backbone", "conv4_64", "--device", "cpu", "--quiet"])
    suggested = command_in(refusal(protonet, 3))
    assert suggested == command_in(direct)
    assert suggested[-2:] == ["--training.validation-way", "3"]
    pretrain.main([*suggested, "--device", "cpu", "--quiet"])
    protonet(3)
    assert "accuracy" in capsys.readouterr().out
