"""The few-shot learner whose weights are the cell state of a Meta-LSTM.

Sachin Ravi, Hugo Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017, section 3 and Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.data.preprocess import to_unit
from fewshot.errors import InputError
from fewshot.learners.base import Prediction
from fewshot.nets.conv4 import Conv4, RunningStatistics
from fewshot.optimizers.core import NeuralOptimizer
from fewshot.optimizers.meta_lstm import MetaLSTM
from fewshot.optimizers.observe import log_sign
from fewshot.regularizers.base import Regularizer
from fewshot.regularizers.penalty import episode_penalty, inner_step

if TYPE_CHECKING:
    from fewshot.data.episodes import Episode


@dataclass(frozen=True)
class MetaLSTMOptions:
    """Options of the Meta-LSTM learner; the defaults are Ravi & Larochelle's for 1 shot."""

    inner_epochs: int = 12
    """Passes over the support set."""
    batch_size: int = 5
    """Support images of an inner step."""
    gradient: Literal["mean", "mean_over_batch"] = "mean_over_batch"
    """What the optimizer sees: the gradient of the mean loss, or that divided by the batch size again (Ravi's code)."""
    query_norm: Literal["auto", "running", "batch"] = "auto"
    """Batch norm of queries: running statistics of the support (inductive) or the query batch's own (transductive);
    auto: batch in meta-training, running in evaluation."""
    filters: int = 32
    """Filters of each convolution of the learner."""
    norm_momentum: float = 0.9
    """Share of the newest batch in the running statistics of batch norm."""
    hidden_size: int = 20
    """Units of the LSTM over features."""
    init_scale: float = 0.01
    """The LSTM's initial weights are uniform in ± this."""
    forget_bias: tuple[float, float] = (4.0, 5.0)
    """Range of the forget gate's initial bias."""
    input_bias: tuple[float, float] = (-5.0, -4.0)
    """Range of the input gate's initial bias."""

    def __post_init__(self) -> None:
        for name in ("inner_epochs", "batch_size", "filters", "hidden_size"):
            if getattr(self, name) < 1:
                raise InputError(f"learner.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.norm_momentum <= 1:
            raise InputError(f"learner.norm_momentum is {self.norm_momentum}; it must lie in (0, 1]")


class MetaLSTMLearner(nn.Module):
    """Trains `net` on the support with `core`, starting from learned initial weights, and classifies the queries."""

    def __init__(
        self, net: Conv4, start: Tensor, core: NeuralOptimizer, regularizer: Regularizer, options: MetaLSTMOptions
    ) -> None:
        """Put the parts together.

        Args:
            net: the learner's network.
            start: its initial weights [P]; they become a meta-parameter (c₀ of the cell, section 3.3).
            core: the neural optimizer.
            regularizer: attached to `core` here.
            options: see `MetaLSTMOptions`.
        """
        super().__init__()
        self.net, self.options, self.regularizer = net, options, regularizer
        self.start = nn.Parameter(start)
        self.core = regularizer.attach(core)

    @property
    def transductive(self) -> bool:
        return self.options.query_norm == "batch"

    def forward(self, episode: Episode) -> Prediction:
        with self.core.unroll():
            return self._unroll(episode)

    def _unroll(self, episode: Episode) -> Prediction:
        images, labels = to_unit(episode.support_x), episode.support_y
        statistics = self.net.init_statistics(self.start)
        weights, hidden = self.start, self.core.init_hidden(len(self.start))
        penalties, diagnostics = [], []
        for batch in self._batches(len(labels)):
            state = self._observe(weights, images[batch], labels[batch], statistics)
            step, penalty = inner_step(self.core, self.regularizer, state, hidden)
            weights, hidden = weights + step.update[:, 0], step.next_hidden
            penalties.append(penalty)
            diagnostics.append(self.core.diagnostics(step))
        logits = self.net(weights, to_unit(episode.query_x), statistics if self._running() else None)
        stacked = {name: torch.stack([d[name] for d in diagnostics]) for name in diagnostics[0]}
        return Prediction(logits, episode_penalty(self.core, self.regularizer, penalties), stacked)

    def _observe(self, weights: Tensor, images: Tensor, labels: Tensor, statistics: RunningStatistics) -> Tensor:
        """State rows [P, 6]. Loss and gradient enter as constants: first order, as in all published code."""
        with torch.enable_grad():
            leaf = weights.detach().requires_grad_()
            loss = F.cross_entropy(self.net(leaf, images, statistics, update=True), labels)
            (gradient,) = torch.autograd.grad(loss, leaf)
        if self.options.gradient == "mean_over_batch":
            gradient = gradient / len(labels)
        loss_features = log_sign(loss.detach())[:, None].expand(2, len(weights))
        return torch.cat([loss_features, log_sign(gradient).T, gradient[None], weights[None]]).T

    def _batches(self, support: int) -> list[slice]:
        size = self.options.batch_size
        return [slice(i, i + size) for _ in range(self.options.inner_epochs) for i in range(0, support, size)]

    def _running(self) -> bool:
        return self.options.query_norm == "running" or (self.options.query_norm == "auto" and not self.training)


def build(
    channels: int,
    image_size: int,
    way: int,
    options: MetaLSTMOptions,
    regularizer: Regularizer,
    generator: torch.Generator,
) -> MetaLSTMLearner:
    """A fresh Meta-LSTM learner for images of `image_size` pixels."""
    net = Conv4(channels, image_size, way, options.filters, options.norm_momentum)
    core = MetaLSTM(generator, options.hidden_size, options.init_scale, options.forget_bias, options.input_bias)
    return MetaLSTMLearner(net, net.init(generator), core, regularizer, options)
