"""Small models and losses on which optimizers are tried."""

import torch
from torch import nn


def make_model(dtype=torch.float32, units=5):
    model = nn.Sequential(nn.Linear(6, units), nn.Tanh(), nn.Linear(units, 3)).to(dtype)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def loss_of(model, step):
    generator = torch.Generator().manual_seed(100 + step)
    x, y = torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)
    return nn.functional.cross_entropy(model(x.to(next(model.parameters()).dtype)).float(), y)


def take_steps(model, optimizer, steps):
    """The weights after these steps, in one vector."""
    for step in steps:
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
    return vector(model)


def vector(model):
    return nn.utils.parameters_to_vector([p.contiguous() for p in model.parameters()]).detach().clone()


def set_gradients(parameters, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float32).to(
            parameter.dtype
        )


def begin(core, rows=None, lengths=None):
    """Hidden in float64 of so many rows, or of networks of tensors of these lengths."""
    hidden = core.init_hidden(rows) if lengths is None else core.begin(lengths)
    return tuple(part.double() if part.is_floating_point() else part for part in hidden)


def perturbed(core):
    """In float64, away from the special initial values."""
    core = core.double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
    return core


def draw(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
