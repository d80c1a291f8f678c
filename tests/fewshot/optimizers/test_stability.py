"""Steps of a fixed root mean square, and the nominal step beside: what they are, and what smoothness makes of them."""

import dataclasses
import math
from dataclasses import dataclass

import pytest
import torch
from optimizer_models import begin, draw, perturbed, take_steps

import fewshot
from benchmarks.running.identity import plain_data
from fewshot.engine.unroll import Unroll, step_weights
from fewshot.errors import InputError
from fewshot.general.stepping import LearnedStepper
from fewshot.general.tasks import Quadratic
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer, Simple, StabilityOptions, create
from fewshot.optimizers.observe import GradientRMS
from fewshot.optimizers.optimizer_file import OptimizerCard, load_optimizer, save_optimizer
from fewshot.regularizers import Regularizer, Smoothness, SmoothOptions, inner_step

ROWS, RMS = 6, 0.3
NOMINAL = {"nominal_rate": 0.02, "nominal_learned": True}


def make(name="simple", **options):
    kind = LEARNED[name]
    return perturbed(create(kind, torch.Generator().manual_seed(1), kind.Options(**options)))


def step_of(core, networks=2):
    """A second step of networks of `ROWS` weights."""
    hidden = begin(core, lengths=torch.tensor([[4, 2]] * networks))
    rows = networks * ROWS
    return core.step(draw(rows, core.state_size), core(draw(rows, core.state_size, seed=4), hidden)[1])


@pytest.mark.parametrize("name", LEARNED)
def test_steps_have_the_root_mean_square_that_is_asked_for_and_the_direction_of_the_core(name):
    core = make(name, update_rms=RMS)
    step = step_of(core)
    inner = core.core(step.state, step.hidden if core.tensor_parts else step.hidden[:-1])[0]
    for update, output in zip(step.update.split(ROWS), inner.split(ROWS), strict=True):
        assert update.square().mean().sqrt().item() == pytest.approx(RMS, rel=1e-12)
        torch.testing.assert_close(update / RMS, output / output.square().mean().sqrt(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["simple", "dm", "rnnprop"])
def test_no_output_is_no_step(name):
    core = make(name, update_rms=RMS)
    with torch.no_grad():
        core.core.output.zero_()
        if name != "simple":
            core.core.output_bias.zero_()
    update = step_of(core).update
    assert torch.equal(update, torch.zeros_like(update))
    assert all(g.isfinite().all() for g in torch.autograd.grad(update.sum(), list(core.parameters()), allow_unused=True)
               if g is not None)  # fmt: skip


@pytest.mark.parametrize("columns", ["default", "all"])
@pytest.mark.parametrize("maximum", ["endpoints", "pgd"])
@pytest.mark.parametrize("tricks", [{"update_rms": RMS}, NOMINAL, {"update_rms": RMS, **NOMINAL}])
def test_smoothness_is_the_change_of_a_row_in_units_of_its_networks_steps(tricks, maximum, columns):
    """By brute force: row by row, at the scale of the step; the nominal step does not change, or it does."""
    if columns == "all" and ("nominal_rate" not in tricks or maximum == "endpoints"):
        pytest.skip("no other columns than the features', or more than one")
    core, radius = make(**tricks), 0.5
    step = step_of(core)
    regularizer = Smoothness(SmoothOptions(maximum=maximum, radius=radius, columns=columns, pgd_steps=12))
    found = regularizer.per_row(core, step)
    inner_hidden = step.hidden[:1]
    output = core.core(step.state[:, :1], inner_hidden)[0]
    scale = torch.ones_like(output)
    if "update_rms" in tricks:
        rms = output.view(2, -1).square().mean(dim=1).sqrt()
        scale = (RMS / rms).repeat_interleave(ROWS)[:, None]
    gaps = []
    for offset in torch.linspace(-radius, radius, 41, dtype=torch.float64):
        gap = ((core.core(step.state[:, :1] + offset, inner_hidden)[0] - output) * scale)[:, 0].abs()
        gaps.append(gap + (radius * core.nominal_rate if columns == "all" else 0.0))
    finest = torch.stack(gaps).max(dim=0).values.square()
    assert (found <= finest * (1 + 1e-2)).all()
    assert found.sum() > 0.95 * finest.sum()
    for mine in torch.autograd.grad(found.sum(), list(core.parameters()), allow_unused=True):
        assert mine is None or mine.isfinite().all()


def test_the_gradient_of_smoothness_counts_the_scale():
    """No multiple of the outputs changes the penalty: it cannot be made small by making all outputs small."""
    core = make(update_rms=RMS)
    penalty = Smoothness(SmoothOptions(maximum="endpoints")).per_row(core, step_of(core)).sum()
    (slope,) = torch.autograd.grad(penalty, core.core.output)
    assert slope.abs().max() > 1e-6
    assert (slope * core.core.output).sum().abs() < 1e-10


@pytest.mark.parametrize("maximum", ["endpoints", "pgd"])
def test_the_gradient_of_the_penalty_is_that_of_differences(maximum):
    core = make(update_rms=RMS, hidden_size=3, **NOMINAL)
    hidden, state = begin(core, lengths=torch.tensor([[4, 2]])), draw(ROWS, core.state_size)
    regularizer, names = Smoothness(SmoothOptions(maximum=maximum, radius=0.1)), [n for n, _ in core.named_parameters()]

    class Penalty(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.core = core

        def forward(self):
            regularizer.reseed(0)
            step, _ = inner_step(core, Regularizer(), state, hidden)
            return regularizer.per_row(core, core.step(state, step.next_hidden))

    def of(*parameters):
        weights = {f"core.{name}": p for name, p in zip(names, parameters, strict=True)}
        return torch.func.functional_call(Penalty(), weights, ())

    # s' is a constant: PGD's end moves with the parameters by less than the signs of its steps say
    assert torch.autograd.gradcheck(of, [p.detach().clone().requires_grad_() for p in core.parameters()])


def quadratic_steps(optimizer, parameter, count=30):
    problem = Quadratic(size=5, dtype=torch.float32).problem("train", 0, 16)
    for step in range(count):
        parameter.grad = None
        problem.loss(parameter, problem.batch(step)).backward()
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize("name", ["simple", "dm", "rnnprop"])
@pytest.mark.parametrize("learned", [False, True])
def test_without_an_output_the_nominal_step_with_one_decay_is_adams(name, learned):
    """Against torch's, by way of the drop-in optimizer; and along one trajectory by way of a stepper."""
    options = {"nominal_rate": 0.03, "nominal_learned": learned, "nominal_decays": (0.9,)}
    core = create(LEARNED[name], torch.Generator().manual_seed(1), LEARNED[name].Options(**options))
    with torch.no_grad():
        core.core.output.zero_()
    mine, theirs = (torch.nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2))
    found = quadratic_steps(fewshot.LearnedOptimizer([mine], core), mine)
    expected = quadratic_steps(torch.optim.Adam([theirs], 0.03, betas=(0.9, 0.999)), theirs)
    assert (expected - torch.linspace(-1, 1, 5)).abs().max() > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    weights = torch.linspace(-1, 1, 5)
    stepper, parameter = LearnedStepper(core, weights), torch.nn.Parameter(weights.clone())
    adam = torch.optim.Adam([parameter], 0.03)
    for step in range(4):
        parameter.grad = draw(5, seed=step).float()
        adam.step()
        weights = stepper.step(weights, parameter.grad)
    torch.testing.assert_close(weights, parameter.detach(), rtol=1e-5, atol=1e-6)


def test_several_decays_are_the_mean_of_the_steps_of_each():
    decays, gradients = (0.5, 0.9, 0.99), [draw(4, seed=s) for s in range(5)]
    core = make(nominal_rate=0.1, nominal_decays=decays, nominal_square_decay=0.8)
    memory = core.features.init(gradients[0])
    for gradient in gradients:
        state, memory = core.observe(gradient, gradient, memory, ())
    ages = [len(gradients) - 1 - t for t in range(len(gradients))]

    def average(values, decay):
        share = torch.tensor([decay**age for age in ages], dtype=torch.float64)
        return (share[:, None] * torch.stack(values)).sum(dim=0) / share.sum()

    root = average([g.square() for g in gradients], 0.8).sqrt()
    expected = sum(average(gradients, decay) / (root + 1e-8) for decay in decays) / 3
    torch.testing.assert_close(state[:, 1], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", LEARNED)
def test_meta_gradients_reach_the_nominal_rate(name):
    core = make(name, update_rms=0.01, **NOMINAL)
    problems = [Quadratic(size=4, rows=12, dtype=torch.float64).problem("train", s, 8) for s in range(2)]
    found = Unroll(core, Regularizer(), problems, 0).truncation(step_weights("linear", 0, 5))
    found.surrogate.backward()
    assert core.log_nominal_rate.grad.abs() > 1e-6
    assert all(p.grad is None or p.grad.isfinite().all() for p in core.parameters())


@pytest.mark.parametrize("options", [{"update_rms": RMS}, {"update_rms": RMS, **NOMINAL}])
def test_steppers_and_unrolls_take_the_same_steps(options):
    core = make(**options)
    problems = [Quadratic(size=4, rows=12, dtype=torch.float64).problem("train", s, 8) for s in range(3)]
    unroll = Unroll(core, Regularizer(), problems, 0)
    weights = torch.stack([p.init() for p in problems])
    stepper = LearnedStepper(core, weights)
    with torch.no_grad():
        for step in range(3):
            gradient = unroll._losses(step)[1]
            weights = stepper.step(weights, gradient)
            unroll._advance(gradient)
            unroll.step += 1
            torch.testing.assert_close(weights, unroll.weights, rtol=1e-12, atol=1e-14)


def test_a_file_holds_options_and_rate(tmp_path):
    core = create(Simple, torch.Generator().manual_seed(1), Simple.Options(update_rms=RMS, **NOMINAL))
    save_optimizer(tmp_path / "x.safetensors", core, OptimizerCard("simple", "digits_mlp", "command", 3))
    loaded, card = load_optimizer(tmp_path / "x.safetensors")
    assert (card.options["update_rms"], loaded.options) == (RMS, core.options)
    model, other = torch.nn.Linear(6, 3), torch.nn.Linear(6, 3)
    other.load_state_dict(model.state_dict())
    moved = take_steps(model, fewshot.LearnedOptimizer(model.parameters(), core), range(3))
    assert torch.equal(moved, take_steps(other, fewshot.LearnedOptimizer(other.parameters(), loaded), range(3)))


@pytest.mark.parametrize("name", LEARNED)
def test_options_that_are_off_are_no_part_of_a_configuration_and_change_no_core(name):
    options = LEARNED[name].Options
    assert not [key for key in plain_data(options()) if key.startswith(("nominal", "update_rms"))]
    assert plain_data(options(update_rms=0.5))["update_rms"] == 0.5
    assert type(create(LEARNED[name], torch.Generator().manual_seed(0))) is LEARNED[name]
    with pytest.raises(TypeError, match="create"):
        LEARNED[name](torch.Generator(), options(update_rms=0.5))


@dataclass(frozen=True)
class DescentOptions(StabilityOptions):
    rate: float = 0.1


class Descent(CoordinatewiseOptimizer):
    """A core of no more than the contract asks for, as a plug-in brings it."""

    Options, columns, state_size = DescentOptions, {"features": slice(0, 1)}, 1

    def __init__(self, generator, options=None):
        super().__init__(generator, options)
        self.features, self.rate = GradientRMS(), torch.nn.Parameter(torch.tensor(self.options.rate))

    def forward(self, state, hidden):
        return -self.rate * state, hidden


def test_the_least_core_has_the_options_too():
    core = create(Descent, torch.Generator(), DescentOptions(update_rms=RMS, nominal_rate=0.1, nominal_decays=(0.9,)))
    weights, gradients = torch.nn.Parameter(torch.zeros(6)), [draw(6, seed=s).float() for s in range(2)]
    optimizer, adam = fewshot.LearnedOptimizer([weights], core), torch.nn.Parameter(torch.zeros(6))
    theirs = torch.optim.Adam([adam], 0.1)
    for gradient in gradients:
        weights.grad, adam.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        theirs.step()
    descent = sum(RMS * g / g.square().mean().sqrt() for g in gradients)
    torch.testing.assert_close(weights.detach(), adam.detach() - descent, rtol=1e-5, atol=1e-6)
    state = draw(6, 2).float()
    step = core.step(state, core.init_hidden(6))
    gap = Smoothness(SmoothOptions(radius=0.5)).per_row(core, step)
    expected = (RMS * 0.5 / state[:, 0].square().mean().sqrt()).square().expand(6)
    torch.testing.assert_close(gap, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"update_rms": -1.0}, "update_rms is -1"),
        ({"update_rms": math.nan}, "update_rms is nan"),
        ({"nominal_rate": math.inf}, "nominal_rate is inf"),
        ({"nominal_decays": ()}, "empty"),
        ({"nominal_decays": (0.9, 1.0)}, "decay of the nominal step is 1.0"),
        ({"nominal_square_decay": -0.1}, "decay of the nominal step is -0.1"),
        ({"nominal_learned": True}, "nominal_rate"),
    ],
)
def test_options_that_make_no_step_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        Simple.Options(**options)


@pytest.mark.parametrize("name", LEARNED)
def test_derivatives_of_features_are_finite_where_gradients_are_zero(name: str) -> None:
    """What meta-gradients of second order need: a pixel that is always black has weights without a gradient."""
    core = LEARNED[name](torch.Generator().manual_seed(0))
    both = create(LEARNED[name], torch.Generator().manual_seed(0), dataclasses.replace(core.options, nominal_rate=0.1))
    gradient = torch.tensor([[0.0, 0.3, -2.0]], requires_grad=True)
    for each in (core, both):
        memory, weights, total = each.features.init(gradient), torch.ones(1, 3), torch.zeros(())
        hidden = each.begin(torch.tensor([[3]]))
        for _ in range(2):
            state, memory = each.observe(gradient, weights, memory, hidden)
            total = total + state.square().sum()
        (slope,) = torch.autograd.grad(total, gradient)
        assert slope.isfinite().all()
        assert slope[0, 1:].any()
