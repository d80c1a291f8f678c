"""Files of learned optimizers: what is written is what is read, and everything else is refused in one line."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from fewshot.errors import InputError
from fewshot.optimizers import LEARNED
from fewshot.optimizers import optimizer_file as files
from fewshot.optimizers.optimizer_file import OptimizerCard, load_optimizer, read_card, save_optimizer

CARD = OptimizerCard("simple", "digits_mlp", "python -m benchmarks.optimize", 3, validation={"loss": 0.25})


def make(name="simple", **options):
    kind = LEARNED[name]
    return kind(torch.Generator().manual_seed(1), kind.Options(**options))


@pytest.mark.parametrize("name", LEARNED)
def test_what_is_read_does_what_was_written(name, tmp_path):
    core = make(name, hidden_size=7)
    written = save_optimizer(tmp_path / "x.safetensors", core, dataclasses.replace(CARD, optimizer=name))
    loaded, card = load_optimizer(tmp_path / "x.safetensors")
    assert card == written == read_card(tmp_path / "x.safetensors")
    assert card.options == json.loads(json.dumps(dataclasses.asdict(core.options)))
    assert loaded.options == core.options
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    state = torch.randn(5, core.state_size, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(state, loaded.init_hidden(5))[0], core(state, core.init_hidden(5))[0])


def test_the_multiplier_is_in_the_file_and_files_of_before_have_none(tmp_path):
    """The same weights with another multiplier are another optimizer."""
    save_optimizer(tmp_path / "new.safetensors", core := make(output_multiplier=0.1), CARD)
    loaded, card = load_optimizer(tmp_path / "new.safetensors")
    assert (card.version, card.options["output_multiplier"]) == (files.FORMAT, 0.1)
    state = torch.randn(5, 1, generator=torch.Generator().manual_seed(0))
    moved = core(state, core.init_hidden(5))[0]
    assert torch.equal(loaded(state, loaded.init_hidden(5))[0], moved)

    def of_before(card):
        options = {k: v for k, v in card["options"].items() if k != "output_multiplier"}
        return {**{k: v for k, v in card.items() if k != "version"}, "options": options}

    old = rewrite(tmp_path / "old.safetensors", of_before, lambda _: dict(core.state_dict()))
    loaded, card = load_optimizer(old)
    assert card.version == 1
    torch.testing.assert_close(loaded(state, loaded.init_hidden(5))[0], 10 * moved)


def test_another_optimizer_than_the_card_says_is_not_written(tmp_path):
    with pytest.raises(TypeError, match="Simple is not the optimizer 'dm'"):
        save_optimizer(tmp_path / "x.safetensors", make(), dataclasses.replace(CARD, optimizer="dm"))


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    core = make()
    core.output.data[0, 3] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        save_optimizer(tmp_path / "x.safetensors", core, CARD)
    assert list(tmp_path.iterdir()) == []


def test_shipped_optimizers_go_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SHIPPED", tmp_path)
    with pytest.raises(InputError, match=r"unknown learned optimizer 'tiny'; choose one of: \(none"):
        load_optimizer("tiny")
    save_optimizer(tmp_path / "tiny.safetensors", make(), CARD)
    save_optimizer(tmp_path / "other.safetensors", make(), CARD)
    assert load_optimizer("tiny")[1].task == "digits_mlp"
    with pytest.raises(InputError, match="'tyni'; choose one of: other, tiny; or give the path"):
        load_optimizer("tyni")


def test_what_is_shipped_says_where_it_comes_from_and_is_in_the_readme():
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    shipped = files.shipped()
    assert {"simple", "smoothed_simple", "simple_cifar10_cnn", "smoothed_simple_cifar10_cnn", "rnnprop"} <= set(shipped)
    for name in shipped:
        _, card = load_optimizer(name)
        assert f"`{name}`" in readme
        assert card.command.startswith("python -m benchmarks.optimize ")
        assert f"--task {card.task}" in card.command
        assert (card.regularizer == "smooth") == name.startswith("smoothed") == ("--smooth" in card.command)
        assert card.validation["loss"] < 2.0
        assert card.description


def rewrite(path, change_card=lambda card: card, change_weights=lambda weights: weights):
    """Write a file as a stranger would: the hash fits whatever is in it."""
    save_optimizer(path, make(), CARD)
    card, weights = dataclasses.asdict(read_card(path)), change_weights(load_file(path))
    card["sha256"] = files.weights_sha256(weights)
    card = change_card(card)
    save_file(weights, path, {"optimizer": card if isinstance(card, str) else json.dumps(card)})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: {**card, "optimizer": "adam"}, "unknown optimizer 'adam'; known are: simple"),
        (lambda card: {**card, "optimizer": "dm"}, "options that do not fit"),
        (lambda card: {**card, "options": {"hidden_size": 10**12}}, "hidden_size is 1000000000000"),
        (lambda card: {**card, "options": {"hidden_size": "20"}}, "whole number"),
        (lambda card: {**card, "options": {"hidden_size": 21}}, "does not hold what its card says"),
        (lambda card: {**card, "options": {"hidden_size": {"a": 1}}}, "options that do not fit"),
        (lambda card: {**card, "options": {"first_decay": "x"}}, "options that do not fit"),
        (lambda card: {**card, "options": 3}, "no readable card"),
        (lambda card: {**card, "seed": "3"}, "no readable card"),
        (lambda card: {**card, "surprise": 3}, "no readable card"),
        (lambda card: {**card, "surprise": 3, "version": 4}, "its format 4 is newer than 3, .*: update fewshot"),
        (lambda card: {**card, "version": "2"}, "no readable card"),
        (lambda card: "[]", "no readable card"),
        (lambda card: "{", "no readable card"),
        (lambda card: "[" * 100_000, "no readable card"),
        (lambda card: {**card, "sha256": "0" * 64}, "is damaged: its weights have another hash"),
    ],
)
def test_foreign_cards_are_refused(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_optimizer(rewrite(tmp_path / "x.safetensors", change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {**w, "output": w["output"] * float("inf")}, "'output' that is not finite float32"),
        (lambda w: {**w, "output": w["output"].double()}, "'output' that is not finite float32"),
        (lambda w: {k: v for k, v in w.items() if k != "output"}, "does not hold what its card says"),
        (lambda w: {**w, "more": torch.zeros(1)}, "does not hold what its card says"),
    ],
)
def test_foreign_weights_are_refused(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_optimizer(rewrite(tmp_path / "x.safetensors", change_weights=change))


def test_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="there is no learned optimizer at"):
        load_optimizer(path)
    with pytest.raises(InputError, match="there is no learned optimizer at"):
        load_optimizer("folder/x")
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="not a safetensors file"):
        load_optimizer(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="is not a learned optimizer"):
        load_optimizer(path)


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_optimizer(path, make(), CARD)
    content = path.read_bytes()
    for length in range(0, len(content), 97):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            load_optimizer(path)
