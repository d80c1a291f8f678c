"""Penalties on the weight matrices of a neural optimizer: l2 and orthogonality. Biases and gains are left alone."""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.errors import InputError
from fewshot.optimizers.core import NeuralOptimizer
from fewshot.regularizers.base import Regularizer, WeightOptions


class _OfMatrices(Regularizer):
    """Base of penalties on weight matrices."""

    Options = WeightOptions

    def attach(self, core: NeuralOptimizer) -> NeuralOptimizer:
        if not weight_matrices(core):
            raise InputError(
                f"{type(core).__name__} has no weight matrix for {type(self).__name__} to act on; use another"
                " regularizer"
            )
        return core


class L2(_OfMatrices):
    """R = Σ ||W||², the sum of all squared entries of all weight matrices."""

    def per_core(self, core: NeuralOptimizer) -> Tensor:
        return torch.stack([weight.square().sum() for weight in weight_matrices(core)]).sum()


class Orthogonal(_OfMatrices):
    """R = Σ ||W Wᵀ - I||², Wᵀ W instead where W has more rows than columns.

    Nitin Bansal, Xiaohan Chen, Zhangyang Wang, "Can We Gain More from Orthogonality Regularizations in Training Deep
    CNNs?", NeurIPS 2018, their "soft orthogonality" on the side on which it can be reached. Only there may a matrix
    have all singular values one.
    """

    def per_core(self, core: NeuralOptimizer) -> Tensor:
        return torch.stack([_deviation(weight) for weight in weight_matrices(core)]).sum()


def weight_matrices(core: NeuralOptimizer) -> list[Tensor]:
    """The parameters of a core with two axes."""
    return [parameter for parameter in core.parameters() if parameter.ndim == 2]


def _deviation(weight: Tensor) -> Tensor:
    wide = weight if weight.shape[0] <= weight.shape[1] else weight.T
    return (wide @ wide.T - torch.eye(len(wide), dtype=wide.dtype, device=wide.device)).square().sum()
