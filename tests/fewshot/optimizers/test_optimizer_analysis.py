"""Fig. 7: updates and slopes around the zero state, against differences and a closed form."""

import numpy as np
import pytest
import torch

from fewshot.optimizers import LEARNED, Simple
from fewshot.optimizers.analysis import zero_state_response
from fewshot.regularizers import Spectral


def analyse(core, **options):
    return zero_state_response(core, torch.Generator().manual_seed(0), **options)


@pytest.mark.parametrize("name", [name for name in LEARNED if LEARNED[name].independent_rows])
def test_updates_are_the_cores_and_slopes_their_derivative(name):
    core = LEARNED[name](torch.Generator().manual_seed(1))
    before = {k: v.clone() for k, v in core.state_dict().items()}
    found = analyse(core, count=200)
    assert all(torch.equal(core.state_dict()[k], v) for k, v in before.items())
    core = core.double()
    states = torch.from_numpy(found.states)

    def update(states):
        with torch.no_grad():
            return core(states, core.init_hidden(200))[0][:, 0].numpy()

    np.testing.assert_allclose(found.updates, update(states), rtol=1e-10, atol=1e-14)
    slopes = 0
    for column in range(core.state_size):
        nudge = torch.zeros(core.state_size, dtype=torch.float64)
        nudge[column] = 1e-6
        slopes = slopes + np.abs(update(states + nudge) - update(states - nudge)) / 2e-6
    np.testing.assert_allclose(found.slopes, slopes, rtol=1e-5, atol=1e-9)
    assert found.lipschitz == found.slopes.max()


def test_states_are_a_thousand_with_a_deviation_of_a_tenth_from_the_generator():
    core = Simple(torch.Generator().manual_seed(1))
    state = torch.random.get_rng_state()
    found = analyse(core)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert found.states.shape == (1000, 1)
    assert found.states.std() == pytest.approx(0.1, rel=0.1)
    assert np.array_equal(analyse(core).states, found.states)


def test_the_slope_at_zero_is_the_product_of_the_layers():
    core = Simple(torch.Generator().manual_seed(1))
    found = analyse(core, deviation=1e-9)
    assert found.lipschitz == pytest.approx((core.output @ core.input).abs().item(), rel=1e-6)


def test_steeper_optimizers_have_larger_numbers_and_spectral_ones_at_most_one():
    core = Simple(torch.Generator().manual_seed(1))
    before = analyse(core).lipschitz
    with torch.no_grad():
        core.output.mul_(100)
    assert analyse(core).lipschitz == pytest.approx(100 * before)
    assert analyse(Spectral().attach(core)).lipschitz <= 1
