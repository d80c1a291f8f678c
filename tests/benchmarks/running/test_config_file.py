"""Options from a file: the same command as when they are typed, and the same refusals."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from benchmarks.few_shot.command import parse as parse_run
from benchmarks.general.command import parse as parse_optimize
from benchmarks.running.config_file import read_options, write_options
from benchmarks.running.identity import plain_data
from fewshot.errors import InputError

TYPED = "--smooth --way 3 --penalty.weight 0.25 --training.meta-rate 1e-5 --training.augment --seeds 4 5"
TOML = """
regularizer = "smooth"
way = 3
penalty.weight = 0.25
training = {meta_rate = 1e-5, augment = true}
seeds = [4, 5]
normalize = false
"""


def written(folder: Path, text: str, name: str = "chosen.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("form", ["toml", "json"])
def test_a_file_is_as_good_as_typing(form: str, tmp_path: Path) -> None:
    typed = parse_run(TYPED.split())
    path = written(tmp_path, TOML)
    if form == "json":
        path = written(tmp_path, json.dumps(tomllib.loads(TOML)), "chosen.json")
    read = parse_run(["--config", str(path)])
    assert read.config == typed.config
    assert read.seeds == (4, 5)
    assert "penalty.weight" in read.given
    assert parse_run(list(read.words)).config == typed.config, "the words say it all"


def test_what_is_typed_counts_more(tmp_path: Path) -> None:
    path = written(tmp_path, "test.steps = 70\ntraining.no-envelope = true\ntask = 'quadratic'\noptimizer = 'adam'\n")
    command = parse_optimize(["--config", str(path), "--steps", "20"])
    assert (command.test.steps, command.task) == (20, "quadratic")
    path = written(tmp_path, "training.envelope = true\noptimizer = 'adam'\n")
    assert not parse_optimize(["--training.no-envelope", "--config", str(path)]).training.envelope
    path = written(tmp_path, "training.envelope = false\noptimizer = 'adam'\n")
    assert not parse_optimize(["--config", str(path)]).training.envelope


def test_a_whole_configuration_of_a_record_comes_back(tmp_path: Path) -> None:
    command = parse_optimize(["--task", "quadratic", "--smooth", "--training.unrolls", "3", "--core.hidden-size", "4"])
    path = written(tmp_path, json.dumps(plain_data(command.config)), "config.json")
    assert parse_optimize(["--config", str(path)]).config == command.config


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "some" / "chosen.toml"
    values = {"penalty.weight": 1e-05, "regularizer": "smooth", "normalize": False, "seeds": [1, 2], "manifest": None}
    write_options(path, values, ["Chosen,", "by hand."])
    assert path.read_text().startswith("# Chosen,\n# by hand.\n")
    read = {"penalty.weight": ["1e-05"], "regularizer": ["smooth"], "normalize": False, "seeds": ["1", "2"]}
    assert read_options(path) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("way = 1", "way is 1; it must be at least 2"),
        ("wya = 3", "there is no option --wya here; did you mean --way"),
        ("training.no-such = true", "there is no option --training.no-such"),
        ("penalty.weight = 1.0", "add --smooth or --regularizer NAME"),
        ("way = 'five'", "--way is 'five'; it must be a whole number"),
        ("method = 'nope'", "unknown method 'nope'"),
        ("way = [[3]]", "way in"),
        ("way = 2026-01-02", "give a text, a number"),
        ("way =", "cannot be read"),
        ("config = 'other.toml'", "leave it out of the file"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_name_of_the_file(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        parse_run(["--config", str(path)])
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml cannot be read \(No such file"):
        parse_run(["--config", str(tmp_path / "none.toml")])
    with pytest.raises(InputError, match="'word' belongs to no option"):
        parse_run(["word", "--config", str(written(tmp_path, ""))])
