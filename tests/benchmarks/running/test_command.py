"""Command lines: what is refused, in how many words, and what stands on a card."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.backbones.command import parse as parse_pretrain
from benchmarks.few_shot.command import parse as parse_run
from benchmarks.general.command import parse as parse_optimize
from benchmarks.running.command import Execution, check_seeds, command_text, default_data, options
from fewshot.errors import InputError

PARSERS = {"run": parse_run, "optimize": parse_optimize, "pretrain": parse_pretrain}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run --shot 0", "shot is 0; it must be at least 1"),
        ("run --way 1", "way is 1; it must be at least 2"),
        ("run --way five", "--way is 'five'; it must be a whole number"),
        ("run --query five", "--query is 'five'; it must be a whole number"),
        ("run --seeds 1 x", "--seeds is 'x'; it must be a whole number"),
        ("run --training.meta-rate fast", "--training.meta-rate is 'fast'; it must be a number"),
        ("run --results", "--results lacks a value"),
        ("run --device gpu", "--device is 'gpu'; choose one of: auto, cpu, cuda"),
        ("run word", "'word' belongs to no option"),
        ("run --methd sib", "no option --methd here; did you mean --method"),
        ("run --inner-epochs 3", "did you mean --learner.inner-epochs"),
        ("run --method nope", "unknown method 'nope'; choose one of: meta_lstm"),
        ("run --preset nope", "unknown preset of meta_lstm 'nope'; choose one of: auto"),
        ("run --regularizer nope", "unknown regularizer 'nope'"),
        ("run --penalty.weight 3", "add --smooth or --regularizer NAME"),
        ("run --regularizer l2 --penalty.radius 3", "--penalty.radius: no such option"),
        ("run --regularizer l2 --smooth", "--smooth and --regularizer l2 contradict each other"),
        ("run --method protonet --smooth", "method protonet has no neural optimizer to regularize"),
        ("optimize --steps 5 --test.steps 7", "--steps 5 and --test.steps 7 contradict each other"),
        ("optimize --evaluate simple --optimizer dm", "leave --optimizer out"),
        ("optimize --evaluate simple --training.unrolls 3 --core.hidden-size 4", "--core.hidden-size, --training.unr"),
        ("optimize --evaluate simple --preset paper", "leave --preset out"),
        ("optimize --evaluate simple --smooth", "leave --regularizer out"),
        ("optimize --evaluate simple --seeds 1", "has one run; leave --seeds out"),
        ("optimize --optimizer adam --core.hidden-size 4", "--core.hidden-size: no such option of this optimizer"),
        ("optimize --optimizer adam --smooth", "has no effect on adam, which is not learned"),
        ("optimize --core.output-scale nan", "output_scale is nan"),
        ("optimize --optimizer dm --core.p 800", "p is 800"),
        ("pretrain --backbone nope", "unknown backbone 'nope'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(words: str, message: str) -> None:
    name, *arguments = words.split()
    with pytest.raises(InputError) as error:
        PARSERS[name](arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0"])
def test_time_between_checkpoints_is_positive(name: str, value: str) -> None:
    with pytest.raises(InputError, match="must be positive and finite"):
        PARSERS[name](["--checkpoint-seconds", value])


@pytest.mark.parametrize("name", PARSERS)
def test_an_empty_value_is_no_value(name: str) -> None:
    with pytest.raises(InputError, match="--results is empty"):
        PARSERS[name](["--results", ""])


@pytest.mark.parametrize("seeds", [(), (-1,), (1, 1)])
def test_seeds_are_different_whole_numbers(seeds: tuple[int, ...]) -> None:
    check_seeds((0, 3))
    with pytest.raises(InputError, match="different whole numbers"):
        check_seeds(seeds)


def test_the_same_option_twice_with_one_value_is_no_contradiction() -> None:
    assert parse_run(["--smooth", "--regularizer", "smooth"]).regularizer == "smooth"
    assert parse_optimize(["--steps", "7", "--test.steps=7"]).test.steps == 7
    assert parse_run(["--way", "3", "--way", "4"]).way == 4, "the last one counts, as ever on command lines"


def test_evaluating_takes_what_does_not_belong_to_the_optimizer() -> None:
    command = parse_optimize(["--evaluate", "simple", "--training.batch-size", "32", "--steps", "9"])
    assert (command.config.batch_size, command.test.steps) == (32, 9)


def test_data_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWSHOT_DATA", "elsewhere")
    assert {str(parse([]).data) for parse in PARSERS.values()} == {"elsewhere"}
    assert parse_run(["--data", "here"]).data == Path("here")
    monkeypatch.setenv("FEWSHOT_DATA", "")
    assert default_data() == Path("data")


@pytest.mark.parametrize("name", PARSERS)
def test_how_a_command_is_carried_out_decides_no_identity(name: str) -> None:
    parse = PARSERS[name]
    names = {f.name for f in dataclasses.fields(Execution)}
    assert names <= {f.name for f in dataclasses.fields(parse([]))}
    execution = ["--seeds", "4", "--results", "r", "--data", "d", "--fresh", "--quiet", "--checkpoint-seconds", "3"]
    assert parse(execution).config == parse([]).config
    assert parse(execution).sha256() == parse([]).sha256()


def test_options_are_read_from_words() -> None:
    words = ["--a.b_c=1", "--seeds", "0", "1", "--fresh", "--x", "-3"]
    assert list(options(words)) == [("a.b-c", ["1"]), ("seeds", ["0", "1"]), ("fresh", []), ("x", ["-3"])]


def test_a_card_names_no_place_of_the_machine_it_was_made_on() -> None:
    words = (
        "--optimizer",
        "dm",
        "--data",
        "/tmp/data",
        "--results=/tmp/runs",
        "--quiet",
        "--device",
        "cpu",
        "--seeds",
        "3",
    )
    text = command_text("benchmarks.optimize", words, "benchmarks/optimize.py")
    assert text == "python -m benchmarks.optimize --optimizer dm --seeds 3"
    assert command_text("benchmarks.optimize", words, "mine/train.py").startswith("python train.py --optimizer dm")


@pytest.mark.parametrize("module", ["benchmarks", "benchmarks.run", "benchmarks.optimize", "benchmarks.paper"])
def test_help_into_a_closed_pipe_is_quiet(module: str) -> None:
    arguments = "--help" if module != "benchmarks" else ""
    line = f"{sys.executable} -m {module} {arguments} | head -c 20"
    run = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, timeout=100)
    assert run.stderr == ""
    assert len(run.stdout) == 20


def test_precision_of_pre_training_is_an_option_of_its_training() -> None:
    usual, full, half = (
        parse_pretrain(["--dataset", "glyphs", *words])
        for words in ([], ["--precision", "fp32"], ["--precision", "bf16"])
    )
    assert usual.training.precision == "auto"
    assert full.training.precision == "full", "its older name, so that hashes stay"
    assert half.training.precision == "bf16"
    assert len({each.sha256() for each in (usual, full, half)}) == 3
