"""Files of few-shot learners: what is written is what is read, and everything else is refused in one line."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from fewshot.data.episodes import Episode
from fewshot.data.interchange import learn2learn
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.learners.file import LearnerCard, load_weights, read_learner_card, save_learner
from fewshot.regularizers import REGULARIZERS

WAY = 3


def skip_without_learn2learn():
    try:
        learn2learn()
    except InputError as error:
        pytest.skip(str(error))


def card_of(name, **changes):
    method = METHODS[name]
    features = method.learns_from == "features"
    shape = {"channels": 8, "image_size": 1} if features else {"channels": 1, "image_size": 16}
    backbone = {"backbone": "conv4_64", "backbone_sha256": "0" * 64} if features else {}
    options = dataclasses.asdict(method.options())
    known = LearnerCard(name, "glyphs", "f" * 64, WAY, 1, 4, seed=5, options=options, **shape, **backbone)
    return dataclasses.replace(known, **changes)


def make(card):
    regularizer = REGULARIZERS[card.regularizer]
    options = METHODS[card.method].options(**card.options)
    generator = torch.Generator().manual_seed(3)
    build = METHODS[card.method].build
    attached = regularizer(regularizer.Options(**card.penalty))
    return build(card.channels, card.image_size, card.way, options, attached, generator).eval()


def episode(card):
    generator = torch.Generator().manual_seed(1)
    shape = (card.channels,) if card.image_size == 1 else (card.channels, card.image_size, card.image_size)
    support, query = torch.rand(2 * WAY, *shape, generator=generator), torch.rand(4, *shape, generator=generator)
    nowhere = torch.empty(0).numpy()
    return Episode(support, torch.arange(WAY).repeat(2), query, torch.zeros(4).long(), nowhere, nowhere, nowhere)


@pytest.mark.parametrize("regularizer", ["none", "smooth", "spectral"])
@pytest.mark.parametrize("name", METHODS)
def test_what_is_read_answers_as_what_was_written(name, regularizer, tmp_path):
    if regularizer != "none" and not METHODS[name].regularized:
        pytest.skip("no neural optimizer")
    if name == "maml":
        skip_without_learn2learn()
    card = card_of(name, regularizer=regularizer)
    learner = make(card)
    written = save_learner(tmp_path / "x.safetensors", learner.state_dict(), card)
    state = torch.random.get_rng_state()
    loaded, read = load_weights(tmp_path / "x.safetensors")
    assert torch.equal(torch.random.get_rng_state(), state)
    assert read == written == read_learner_card(tmp_path / "x.safetensors")
    assert not loaded.training
    with torch.no_grad():
        assert torch.equal(loaded(episode(card)).logits, learner(episode(card)).logits)


def test_a_smooth_sib_in_the_space_of_class_weights_is_read(tmp_path):
    card = card_of("sib", regularizer="smooth", penalty={"columns": "theta", "maximum": "pgd"})
    learner = make(card)
    save_learner(tmp_path / "x.safetensors", learner.state_dict(), card)
    with torch.no_grad():
        answer = load_weights(tmp_path / "x.safetensors")[0](episode(card)).logits
        assert torch.equal(answer, learner(episode(card)).logits)


def rewrite(path, change=lambda card: card, weights=lambda tensors: tensors):
    """A file whose card and weights are changed, its hash that of the changed weights unless the card says so."""
    card = card_of("meta_lstm")
    written = save_learner(path, make(card).state_dict(), card)
    tensors = weights(load_file(path))
    if weights is not rewrite.__defaults__[1]:
        written = save_learner(path, tensors, card)
    save_file(load_file(path), path, {"learner": change(dataclasses.asdict(written))})
    return path


def text(**changes):
    return lambda card: json.dumps(card | changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (text(method="nothing"), "unknown method 'nothing'; known are: meta_lstm"),
        (text(regularizer="mine"), r"unknown regularizer 'mine'; known are: none.*--plugin"),
        (text(way="3"), "no readable card .way has the wrong type"),
        (text(version=9), "its format 9 is newer than 1"),
        (text(more=1), "no readable card"),
        (text(options={"inner_epochs": "many"}), "options that do not fit"),
        (text(options={"nothing": 1}), "options that do not fit"),
        (text(options={"filters": {"a": 1}}), "options that do not fit .a value is neither number nor text"),
        (text(options={"filters": 5}), "does not hold what its card says"),
        (text(image_size=-4), "options that do not fit|does not hold"),
        (text(way=0), "options that do not fit|does not hold"),
        (text(sha256="0" * 64), "is damaged: its weights have another hash"),
        (lambda card: "[1]", "no readable card .not a dictionary"),
        (lambda card: "{", "no readable card"),
        (lambda card: "[" * 100_000, "no readable card"),
    ],
)
def test_other_cards_are_refused(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_weights(rewrite(tmp_path / "x.safetensors", change))


def test_other_weights_are_refused(tmp_path):
    path = rewrite(tmp_path / "x.safetensors", json.dumps, lambda tensors: {"start": tensors["start"]})
    with pytest.raises(InputError, match="does not hold what its card says"):
        load_weights(path)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    save_file({"start": torch.zeros(3)}, tmp_path / "b.safetensors")
    for name, message in (
        ("a", "is not a safetensors file"),
        ("b", "is not a few-shot learner .its header"),
        ("c", "there is no few-shot learner at"),
    ):
        with pytest.raises(InputError, match=message):
            load_weights(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize("place", [0, 9, 200, -1])
def test_a_damaged_file_is_refused(place, tmp_path):
    path = rewrite(tmp_path / "x.safetensors", json.dumps)
    content = bytearray(path.read_bytes())
    content[place] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_weights(path)
