"""l2, orthogonal and spectral against numbers worked out by another route."""

import numpy as np
import pytest
import torch
from torch import nn

from fewshot.data.episodes import Episode
from fewshot.learners import METHODS
from fewshot.learners.meta_lstm import MetaLSTMOptions
from fewshot.learners.sib import SIBOptions
from fewshot.optimizers import LEARNED, MetaLSTM, NeuralOptimizer, Simple, SyntheticGradient
from fewshot.optimizers.optimizer_file import OptimizerCard, load_optimizer, save_optimizer
from fewshot.regularizers import L2, REGULARIZERS, Orthogonal, Regularizer, Spectral, inner_step
from fewshot.regularizers.penalty import core_penalty


class Matrices(NeuralOptimizer):
    """A core with matrices of every shape, and a bias."""

    state_size = 1
    columns = {"features": slice(0, 1)}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = {"wide": (3, 7), "tall": (7, 3), "square": (5, 5), "row": (1, 6), "column": (6, 1)}
        self.weights = nn.ParameterDict(
            {k: nn.Parameter(torch.randn(v, generator=generator, dtype=torch.float64)) for k, v in shapes.items()}
        )
        self.bias = nn.Parameter(torch.full((5,), 100.0, dtype=torch.float64))


def test_l2_is_the_sum_of_squares_without_biases():
    core = Matrices()
    expected = sum(float(x) ** 2 for weight in core.weights.values() for x in weight.detach().flatten())
    assert L2().per_core(core).item() == pytest.approx(expected, rel=1e-12)


def test_orthogonal_is_the_squared_deviation_of_the_singular_values_on_the_smaller_side():
    """||W Wᵀ - I||² = Σ (σ² - 1)² over the min(m, n) singular values."""
    core = Matrices()
    expected = sum(((torch.linalg.svdvals(w) ** 2 - 1) ** 2).sum().item() for w in core.weights.values())
    assert Orthogonal().per_core(core).item() == pytest.approx(expected, rel=1e-12)


def test_orthogonal_vanishes_where_all_matrices_are_orthogonal():
    core = Matrices()
    with torch.no_grad():
        for weight in core.weights.values():
            nn.init.orthogonal_(weight, generator=torch.Generator().manual_seed(1))
    assert Orthogonal().per_core(core).item() < 1e-24
    with torch.no_grad():
        core.weights["tall"].mul_(2)
    assert Orthogonal().per_core(core).item() == pytest.approx(3 * 3**2)


@pytest.mark.parametrize("regularizer", [L2(), Orthogonal()])
def test_penalties_of_weights_have_the_right_gradient(regularizer):
    core = Matrices()
    names = [name for name, _ in core.named_parameters()]

    def penalty(*values):
        with torch.no_grad():
            twin = Matrices()
        for name, value in zip(names, values, strict=True):
            module, _, leaf = name.rpartition(".")
            del twin.get_submodule(module)._parameters[leaf]
            twin.get_submodule(module)._parameters[leaf] = value
        return regularizer.per_core(twin)

    assert torch.autograd.gradcheck(penalty, tuple(p.detach().requires_grad_() for p in core.parameters()))


def matrices(core):
    return [(m, name) for m in core.modules() for name in getattr(m, "parametrizations", {})]


@pytest.mark.parametrize("kind", [MetaLSTM, SyntheticGradient, *LEARNED.values()])
def test_spectral_divides_every_matrix_by_its_largest_singular_value(kind):
    plain, core = (kind(torch.Generator().manual_seed(1)).double() for _ in range(2))
    before = {n: p.detach().clone() for n, p in plain.named_parameters()}
    assert Spectral().attach(core) is core
    effective_weights = core.effective_weights()
    assert effective_weights.keys() == before.keys()
    for n, weight in before.items():
        if weight.ndim == 2:
            largest = torch.linalg.svd(weight).S[0]
            torch.testing.assert_close(effective_weights[n], weight / largest, rtol=1e-12, atol=1e-14)
            assert torch.linalg.svdvals(effective_weights[n])[0].item() == pytest.approx(1, rel=1e-12)
        else:
            assert torch.equal(effective_weights[n], weight)
    assert len(matrices(core)) == sum(w.ndim == 2 for w in before.values()) >= 3


def test_spectral_attached_twice_is_spectral_attached_once():
    core = Spectral().attach(Spectral().attach(Simple(torch.Generator().manual_seed(1))))
    assert all(len(module.parametrizations[name]) == 1 for module, name in matrices(core))
    assert len(list(core.parameters())) == 3


def test_spectral_moves_no_global_randomness_and_needs_none():
    state = torch.random.get_rng_state()
    core = Spectral().attach(Simple(torch.Generator().manual_seed(1)))
    core(torch.ones(3, 1), core.init_hidden(3))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_spectral_of_a_zero_matrix_is_zero():
    core = Simple(torch.Generator().manual_seed(1))
    nn.init.zeros_(core.output)
    Spectral().attach(core)
    assert torch.equal(core(torch.ones(3, 1), core.init_hidden(3))[0], torch.zeros(3, 1))


def test_singular_values_are_computed_once_an_unroll(monkeypatch):
    core = Spectral().attach(Simple(torch.Generator().manual_seed(1)))
    calls = []
    norm = torch.linalg.matrix_norm
    monkeypatch.setattr(torch.linalg, "matrix_norm", lambda *a, **k: (calls.append(1), norm(*a, **k))[1])
    state, hidden = torch.ones(3, 1), core.init_hidden(3)
    calls.clear()
    with core.unroll():
        with torch.no_grad():  # even if the first use wants no gradient
            core(state, hidden)
        for _ in range(5):
            step, _ = inner_step(core, Regularizer(), state, hidden)
            hidden = step.next_hidden
    assert len(calls) == 3
    step.update.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in core.parameters())
    core(state, core.init_hidden(3))
    assert len(calls) > 3


@pytest.mark.parametrize("name", LEARNED)
def test_a_spectral_core_is_stored_as_what_it_amounts_to(name, tmp_path):
    core = Spectral().attach(LEARNED[name](torch.Generator().manual_seed(1)))
    card = OptimizerCard(name, "digits_mlp", "python -m …", 0, regularizer="spectral")
    save_optimizer(tmp_path / "x.safetensors", core, card)
    loaded, _ = load_optimizer(tmp_path / "x.safetensors")
    assert matrices(core)
    assert not matrices(loaded)
    state = torch.randn(5, core.state_size, generator=torch.Generator().manual_seed(0))
    expected, actual = (each(state, each.init_hidden(5))[0] for each in (core, loaded))
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("name", REGULARIZERS)
def test_meta_lstm_regularizes_the_core_and_not_the_start(name):
    regularizer = REGULARIZERS[name]()
    generator = torch.Generator().manual_seed(0)
    learner = METHODS["meta_lstm"].build(1, 28, 5, MetaLSTMOptions(), regularizer, generator)
    start = learner.start.detach().clone()
    penalty = core_penalty(learner.core, regularizer)
    with torch.no_grad():
        learner.start.mul_(3)
    assert torch.equal(core_penalty(learner.core, regularizer), penalty)
    assert torch.equal(learner.start, 3 * start)
    names = [n for n, _ in learner.named_parameters()]
    assert "start" in names
    assert any("parametrizations" in n for n in names) == (name == "spectral")


@pytest.mark.parametrize("name", ["l2", "orthogonal", "spectral"])
def test_sib_regularizes_the_core_alone(name):
    regularizer = REGULARIZERS[name]()
    learner = METHODS["sib"].build(12, 1, 5, SIBOptions(), regularizer, torch.Generator().manual_seed(0)).double()
    nothing = np.zeros(0, dtype=np.int64)
    images = torch.rand(2, 15, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(5).repeat(3)
    prediction = learner(Episode(images[0], labels, images[1], labels, nothing, nothing, nothing))
    weights = [w for n, w in learner.named_parameters() if w.ndim == 2]
    gradients = torch.autograd.grad(prediction.logits.sum() + prediction.penalty, weights)
    assert len(weights) == 3
    assert all(torch.isfinite(g).all() and g.abs().sum() > 0 for g in gradients)
    if name == "spectral":
        assert prediction.penalty == 0
        assert len(matrices(learner)) == 3
    else:
        expected = sum(w.square().sum() for w in weights) if name == "l2" else None
        if expected is not None:
            torch.testing.assert_close(prediction.penalty, expected)
        assert learner.diagonal.grad is None
        assert torch.autograd.grad(core_penalty(learner.core, regularizer), learner.diagonal, allow_unused=True) == (
            None,
        )
