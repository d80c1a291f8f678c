# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # My own optimizer
#
# An optimizer of network weights is a small network that is applied to every weight: from what it observes of the
# gradient it makes a step. This notebook writes one, meta-trains it, holds it against Adam, and trains a model with
# it. As it stands it takes a few minutes on two cores.

# %%
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.datasets import load_digits

import fewshot
from benchmarks.optimize import main as optimize
from fewshot.optimizers import LEARNED, CoordinatewiseOptimizer
from fewshot.optimizers.observe import GradientRMS

# %%
UNROLLS = 300
STEPS = 200
INITIALIZATIONS = 25
RESULTS = Path("results/my_own_optimizer")

# %% [markdown]
# ## The optimizer
#
# Its state has one column, the gradient over the root mean square of all gradients (`GradientRMS`). The step is a
# learned multiple of what is left after squashing: a sign method for large gradients, gradient descent for small
# ones. `hidden` is memory, of which it has none. Options of the dataclass appear on the command line as
# `--core.rate`.


# %%
@dataclass(frozen=True)
class SquashedOptions:
    rate: float = 0.01
    """Initial length of the longest step."""


@LEARNED.register("squashed")
class Squashed(CoordinatewiseOptimizer):
    """A learned multiple of the squashed gradient."""

    Options, columns, state_size = SquashedOptions, {"features": slice(0, 1)}, 1

    def __init__(self, generator, options=None):
        super().__init__(generator, options)
        self.features = GradientRMS()
        self.log_rate = torch.nn.Parameter(torch.tensor(self.options.rate).log())
        self.log_slope = torch.nn.Parameter(torch.tensor(0.0))

    def forward(self, state, hidden):
        return -self.log_rate.exp() * (self.log_slope.exp() * state).tanh(), hidden


# %% [markdown]
# ## Meta-training and test
#
# On networks that classify scikit-learn's digits. Adam's learning rate is chosen on validation problems; both are
# tested on the same trainings from fresh weights.

# %%
common = ["--task", "digits_mlp", "--test.steps", STEPS, "--test.initializations", INITIALIZATIONS]
common += ["--results", RESULTS, "--quiet"]
optimize([*map(str, common), "--optimizer", "adam"])
optimize([*map(str, common), "--optimizer", "squashed", "--training.unrolls", str(UNROLLS)])

# %% [markdown]
# ## In a program of your own
#
# The file of its weights says what it is. Where it is loaded, the class must have been registered: put it into a
# module and import that.

# %%
(path,) = RESULTS.glob("general-squashed-*/seed0/best.safetensors")
print(fewshot.read_card(path))

images, labels = map(torch.tensor, load_digits(return_X_y=True))
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.ReLU(), torch.nn.Linear(48, 10))
optimizer = fewshot.LearnedOptimizer(model.parameters(), path)
for _ in range(STEPS):
    batch = torch.randint(len(images), (128,))
    loss = torch.nn.functional.cross_entropy(model(images[batch].float() / 16), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss of a model that it was never trained on: {loss.item():.3f}")
