"""Turning gradients and losses into the features that neural optimizers read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Memory = tuple[Tensor, ...]
"""What features remember from step to step, each [..., P]; `()` for features without memory."""


class Features:
    """State columns of the weights of one network, or of several of one size, from their gradients.

    Pure: all memory is passed in and out. Gradients enter as constants.
    """

    size: int
    """F, columns."""
    needs: Literal["nothing", "mean_square", "network"] = "network"
    """What a weight's columns depend on beside the weight itself: nothing; the mean of g² over its network, which a
    caller that holds only a part of the network can give; or the network in other ways, and then all must be there."""
    reads_weights: bool = True
    """Whether columns depend on values of weights."""

    def init(self, weights: Tensor) -> Memory:
        """The memory before the first step, for weights [..., P]."""
        return ()

    def __call__(
        self, gradient: Tensor, weights: Tensor, memory: Memory, mean_square: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        """Observe one step.

        Args:
            gradient: [..., P], of the loss with respect to `weights`, without a graph.
            weights: [..., P]; the last axis runs over the weights of one network.
            memory: from `init` or the previous step.
            mean_square: [..., 1], the mean of g² over the network, where P is but a part of it; None: P is all of it.
                Given only to features that do not need the network.

        Returns:
            State columns [..., P, F], and the next memory.
        """
        raise NotImplementedError


class GradientRMS(Features):
    """g / √(mean g² + 1e-5), the mean over all weights of a network: what Xiong & Hsieh's code feeds its optimizer.

    Scale-free, it is g / √(mean g²): the same for a loss and any multiple of it.
    """

    size = 1
    needs = "mean_square"
    reads_weights = False

    def __init__(self, scale_free: bool = False) -> None:
        self._scale_free = scale_free

    def __call__(
        self, gradient: Tensor, weights: Tensor, memory: Memory, mean_square: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        return (gradient * _inverse_rms(gradient, mean_square, self._scale_free)).unsqueeze(-1), memory


class _Moments(Features):
    """Base of features with first and second moments: exponential averages from zero, corrected for that as in Adam."""

    def __init__(self, first_decays: Sequence[float], second_decay: float) -> None:
        self._decays = *first_decays, second_decay

    def init(self, weights: Tensor) -> Memory:
        """(mean of g for each decay, mean of g², steps of each weight), each [..., P]."""
        weights = weights.detach()
        return tuple(torch.zeros_like(weights) for _ in range(len(self._decays) + 1))

    def _observe(self, gradient: Tensor, memory: Memory) -> tuple[list[Tensor], Tensor, Memory]:
        """The corrected moments of the gradients up to this one, and the next memory."""
        *averages, steps = memory
        powers = [*[gradient] * (len(averages) - 1), gradient.square()]
        averages = [torch.lerp(g, m, d) for g, m, d in zip(powers, averages, self._decays, strict=True)]
        steps = steps + 1
        weight = {decay: 1 - decay**steps for decay in self._decays}
        *means, square = (m / weight[d] for m, d in zip(averages, self._decays, strict=True))
        return means, square, (*averages, steps)


class FullState(_Moments):
    """(θ, ∇, μ, ν) of section 3.1, in units in which they are of moderate size.

    θ as it is; the gradient divided by its root mean square over the network, as `GradientRMS` has it; the mean of
    gradients μ (decay 0.9) and the root of the mean of squared gradients √ν (decay 0.999), both corrected for their
    start at zero, divided by the same. The paper gives neither decays nor units; the decays are Adam's. A graph of the
    weights is kept: θ is the one column through which meta-gradients reach earlier steps.
    """

    size = 4
    needs = "mean_square"

    def __init__(self, first_decay: float = 0.9, second_decay: float = 0.999, scale_free: bool = False) -> None:
        super().__init__([first_decay], second_decay)
        self._scale_free = scale_free

    def __call__(
        self, gradient: Tensor, weights: Tensor, memory: Memory, mean_square: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        (mean,), square, memory = self._observe(gradient, memory)
        scale = _inverse_rms(gradient, mean_square, self._scale_free)
        return torch.stack([weights, gradient * scale, mean * scale, _root(square) * scale], dim=-1), memory


class NormalizedMoments(_Moments):
    """(g / √v, m / √v), m and v averages of gradients and their squares: the input of RNNprop (Lv et al. 2017).

    √v has 1e-8 added to it; scale-free, 1e-8 of the root mean square of the network's gradient.
    """

    size = 2
    reads_weights = False

    def __init__(self, decay: float = 0.95, scale_free: bool = False) -> None:
        super().__init__([decay], decay)
        self._scale_free = scale_free
        self.needs = "mean_square" if scale_free else "nothing"

    def __call__(
        self, gradient: Tensor, weights: Tensor, memory: Memory, mean_square: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        (mean,), square, memory = self._observe(gradient, memory)
        least = 1e-8 / _inverse_rms(gradient, mean_square, True) if self._scale_free else 1e-8
        return torch.stack([gradient, mean], dim=-1) / (_root(square) + least).unsqueeze(-1), memory


class NominalStep(_Moments):
    """mean over k of m_k / (√v + 1e-8): Adam's direction, averaged over several decays of its first moment.

    James Harrison, Luke Metz, Jascha Sohl-Dickstein, "A Closer Look at Learned Optimization: Stability, Robustness, and
    Inductive Biases", NeurIPS 2022; their averages are not corrected for their start at zero.
    """

    size = 1
    needs = "nothing"
    reads_weights = False

    def __call__(
        self, gradient: Tensor, weights: Tensor, memory: Memory, mean_square: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        means, square, memory = self._observe(gradient, memory)
        return (torch.stack(means).mean(dim=0) / (_root(square) + 1e-8)).unsqueeze(-1), memory


class LogSign(Features):
    """`log_sign` of the gradient: the input of DMOptimizer (Andrychowicz et al. 2016).

    Scale-free, of the gradient divided by its root mean square over the network.
    """

    size = 2
    reads_weights = False

    def __init__(self, p: float, scale_free: bool = False) -> None:
        self._p, self._scale_free = p, scale_free
        self.needs = "mean_square" if scale_free else "nothing"

    def __call__(
        self, gradient: Tensor, weights: Tensor, memory: Memory, mean_square: Tensor | None = None
    ) -> tuple[Tensor, Memory]:
        x = gradient * _inverse_rms(gradient, mean_square, True) if self._scale_free else gradient
        return log_sign(x, self._p), memory


def _inverse_rms(gradient: Tensor, mean_square: Tensor | None, scale_free: bool) -> Tensor:
    """1 / √(mean g² + 1e-5) over the last axis, kept; scale-free, 1 / √(mean g²), and finite where all g are zero."""
    if mean_square is None:
        mean_square = gradient.square().mean(dim=-1, keepdim=True)
    if scale_free:
        return mean_square.clamp_min(torch.finfo(mean_square.dtype).tiny).rsqrt()
    return (mean_square + 1e-5).rsqrt()


def log_sign(x: Tensor, p: float = 10.0) -> Tensor:
    """Two features of moderate size for a number of any magnitude.

    (log|x| / p, sign x) where |x| ≥ e^-p, else (-1, e^p x). Andrychowicz et al., "Learning to learn by gradient descent
    by gradient descent", 2016, appendix A; Ravi & Larochelle, 2017, section 3.3.

    Args:
        x: any shape.

    Returns:
        [*x.shape, 2]
    """
    large = x.abs() >= math.exp(-p)
    magnitude = torch.where(large, x.abs().clamp_min(math.exp(-p)).log() / p, -1.0)
    direction = torch.where(large, x.sign(), math.exp(p) * x)
    return torch.stack([magnitude, direction], dim=-1)


def _root(square: Tensor) -> Tensor:
    """√v, whose derivative is 0 where v is: a weight whose gradient is always zero has none."""
    if not square.requires_grad:
        return square.sqrt()
    positive = square > 0
    return square.where(positive, 1.0).sqrt().where(positive, 0.0)
