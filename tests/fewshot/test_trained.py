"""Meta-trained learners on anybody's images."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import fewshot
from fewshot.backbones.file import BackboneInfo, save_backbone
from fewshot.backbones.view import View
from fewshot.data.augment import Augment
from fewshot.errors import InputError
from fewshot.learners import METHODS
from fewshot.learners.file import LearnerCard, save_learner
from fewshot.nets.backbone import build_backbone
from fewshot.regularizers import Regularizer

SIZE = 20
OPTIONS = {"meta_lstm": {"filters": 4, "hidden_size": 4, "inner_epochs": 3, "init_scale": 0.5}}
VIEW = View(SIZE, 16, 3, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


def save(folder, method, way=3, **changes):
    """A learner with random weights, and the backbone beside it where it learns from features."""
    known = METHODS[method]
    options = dataclasses.asdict(known.options(**OPTIONS.get(method, {})))
    shape = {"channels": 1, "image_size": 16}
    names = {}
    if known.learns_from == "features":
        net = build_backbone("conv4_64", 3, 16, torch.Generator().manual_seed(0))
        info = BackboneInfo("conv4_64", "tiny", "f", VIEW, Augment(), "nobody")
        info = save_backbone(folder / "backbone.safetensors", net.state_dict(), info)
        names = {"backbone": info.backbone, "backbone_sha256": info.sha256}
        shape = {"channels": net.features, "image_size": 1}
    card = LearnerCard(method, "tiny", "f", way, 1, 4, seed=0, options=options, **shape, **names)
    card = dataclasses.replace(card, **changes)
    learner = known.build(
        card.channels, card.image_size, way, known.options(**OPTIONS.get(method, {})), Regularizer(None),
        torch.Generator().manual_seed(2),
    )  # fmt: skip
    if method == "meta_lstm":  # input and forget gates that move the weights
        for name, parameter in learner.named_parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    save_learner(folder / "best.safetensors", learner.state_dict(), card)
    return folder / "best.safetensors"


def images(n, seed=0, size=16):
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def learner(tmp_path):
    return fewshot.load_learner(save(tmp_path, "meta_lstm"))


def test_answers_are_probabilities_of_the_labels_of_the_support(learner):
    answers = learner.predict(images(3), ["cat", "dog", "cow"], images(5, 1))
    assert answers.classes == ("cat", "dog", "cow")
    assert answers.probabilities.shape == (5, 3)
    torch.testing.assert_close(answers.probabilities.sum(1), torch.ones(5))
    assert answers.labels == [answers.classes[place] for place in answers.probabilities.argmax(1)]


def test_the_order_of_shots_changes_nothing(learner):
    """Support images come in whatever order; what counts is the order in which classes and their images appear."""
    support, queries = images(6), images(4, 1)
    expected = learner.predict(support, [0, 1, 2, 0, 1, 2], queries).probabilities
    for order in ([0, 3, 1, 4, 2, 5], [0, 1, 3, 2, 4, 5]):
        labels = [[0, 1, 2, 0, 1, 2][place] for place in order]
        assert torch.equal(learner.predict(support[order], labels, queries).probabilities, expected)
    swapped = learner.predict(support[[3, 1, 2, 0, 4, 5]], [0, 1, 2, 0, 1, 2], queries).probabilities
    assert not torch.equal(swapped, expected)


def test_classes_may_have_different_numbers_of_images(learner):
    assert learner.predict(images(5), [2, 0, 1, 2, 2], images(2)).classes == (2, 0, 1)


def test_many_queries_are_answered_as_one_by_one(learner, monkeypatch):
    queries = images(7, 1)
    whole = learner.predict(images(3), "abc", queries).probabilities
    monkeypatch.setattr("fewshot.trained.BATCH", 2)
    torch.testing.assert_close(learner.predict(images(3), "abc", queries).probabilities, whole)


def test_a_transductive_learner_sees_all_queries_at_once(tmp_path, monkeypatch):
    sib = fewshot.load_learner(save(tmp_path, "sib"))
    assert sib.transductive
    whole = sib.predict(images(3), "abc", images(7, 1)).probabilities
    monkeypatch.setattr("fewshot.trained.BATCH", 2)
    torch.testing.assert_close(sib.predict(images(3), "abc", images(7, 1)).probabilities, whole, atol=1e-5, rtol=0)
    first = sib.predict(images(3), "abc", images(7, 1)[:1]).probabilities
    assert not torch.equal(first[0], whole[0])


def test_prototypes_of_any_number_of_classes_are_the_nearest_means(tmp_path):
    """The whole way by hand: resize, three channels, centre, normalization, backbone, nearest class mean."""
    path = save(tmp_path, "protonet")
    support, queries = images(8, size=24), images(5, 1, size=24)
    labels = [0, 1, 2, 3, 0, 1, 2, 3]
    answers = fewshot.load_learner(path).predict(support, labels, queries)
    net = build_backbone("conv4_64", 3, 16, torch.Generator().manual_seed(0)).eval()

    def features(x):
        x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)[..., 2:18, 2:18]
        mean, std = (torch.tensor(values)[:, None, None] for values in (VIEW.mean, VIEW.std))
        with torch.no_grad():
            return F.normalize(net((x - mean) / std), dim=1)

    means = F.normalize(torch.stack([features(support)[[c, c + 4]].mean(0) for c in range(4)]), dim=1)
    expected = (10 * features(queries) @ means.T).softmax(1)
    torch.testing.assert_close(answers.probabilities, expected, atol=1e-5, rtol=0)


def test_normalization_is_that_of_meta_training(tmp_path, learner):
    mean, std = 0.3, 0.5
    normalized = fewshot.load_learner(save(tmp_path, "meta_lstm", mean=[mean], std=[std]))
    scaled = (normalized.see(images(2)) * std + mean).clamp(0, 1)
    torch.testing.assert_close(scaled, learner.see(images(2)))


def test_files_images_and_tensors_are_taken(learner, tmp_path):
    array = (255 * images(3)[:, 0].numpy()).astype(np.uint8)
    paths = [tmp_path / f"{place}.png" for place in range(3)]
    for path, each in zip(paths, array, strict=True):
        Image.fromarray(each).save(path)
    expected = learner.predict(paths, "abc", array).probabilities
    found = learner.predict(array, np.array([7, 8, 9]), [Image.open(path) for path in paths])
    assert found.classes == (7, 8, 9)
    torch.testing.assert_close(found.probabilities, expected)


def test_nothing_asked_is_nothing_answered(learner):
    assert learner.predict(images(3), "abc", []).labels == []


@pytest.mark.parametrize(
    ("support", "labels", "message"),
    [
        (
            images(4),
            "abcd",
            "way is 4, but this meta_lstm was meta-trained for 3 classes and its learned initial weights",
        ),
        (images(2), "ab", "way is 2, but"),
        (images(1), "a", "below 2 classes"),
        (images(3), "ab", "there are 3 support images and 2 labels"),
        ([], "", "below 2 classes"),
        (torch.zeros(3, 2, 16, 16), "abc", "images have 2 channels, 1 are wanted"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(learner, support, labels, message):
    with pytest.raises(InputError, match=message):
        learner.predict(support, labels, images(1))


def test_sib_is_tied_to_its_number_of_classes(tmp_path):
    sib = fewshot.load_learner(save(tmp_path, "sib"))
    with pytest.raises(InputError, match="its synthetic gradient network takes so many scores"):
        sib.predict(images(4), "abcd", images(1))


def test_answers_that_are_not_finite_are_refused(tmp_path):
    learner = fewshot.load_learner(save(tmp_path, "meta_lstm"))
    learner.learner.start.data[0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        learner.predict(images(3), "abc", images(1))


def test_a_backbone_is_known_by_its_hash(tmp_path):
    path = save(tmp_path, "protonet")
    other = tmp_path / "other" / "best.safetensors"
    other.parent.mkdir()
    path.rename(other)
    with pytest.raises(InputError, match=r"no file in .*other, results/backbones has the weights of the conv4_64"):
        fewshot.load_learner(other)
    expected = fewshot.load_learner(other, tmp_path / "backbone.safetensors").predict(images(3), "abc", images(2))
    found = fewshot.load_learner(other, tmp_path).predict(images(3), "abc", images(2))
    assert torch.equal(found.probabilities, expected.probabilities)
    with pytest.raises(InputError, match="is not a backbone"):
        fewshot.load_learner(other, other)


def test_a_learner_on_images_takes_no_backbone(tmp_path):
    with pytest.raises(InputError, match="learns from images; leave it out"):
        fewshot.load_learner(save(tmp_path, "meta_lstm"), tmp_path)
