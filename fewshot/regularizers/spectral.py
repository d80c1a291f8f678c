"""Spectral normalization: every weight matrix of a neural optimizer divided by its largest singular value.

Takeru Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018. They approximate the
singular value by a step of power iteration at each use, with a buffer that every use moves; a core's matrices are so
small that the exact value costs nothing, if it is computed once an unroll (`NeuralOptimizer.unroll`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fewshot.optimizers.core import NeuralOptimizer
from fewshot.regularizers.base import Regularizer


class Spectral(Regularizer):
    """W / σ₁(W) in the place of every weight matrix W. There is no penalty, and no λ.

    Every matrix then has norm one, the output layer too: what an initialization or training says about its scale is
    lost, and so it is in the published comparison.
    """

    def attach(self, core: NeuralOptimizer) -> NeuralOptimizer:
        """Reparametrize `core` in place; its parameters are new objects from here on. Once is enough."""
        for module in list(core.modules()):
            for name, parameter in list(module.named_parameters(recurse=False)):
                if parameter.ndim == 2 and not isinstance(module, parametrize.ParametrizationList):
                    parametrize.register_parametrization(module, name, _UnitNorm())
        return core


class _UnitNorm(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        norm = torch.linalg.matrix_norm(weight, ord=2)
        return weight / norm.clamp_min(torch.finfo(weight.dtype).tiny)
