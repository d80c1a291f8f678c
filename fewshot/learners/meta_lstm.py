"""The few-shot learner whose weights are the cell state of a Meta-LSTM.

Sachin Ravi, Hugo Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017, section 3 and Algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.data.preprocess import to_unit
from fewshot.errors import InputError
from fewshot.learners.base import TOGETHER, Prediction
from fewshot.nets.conv4 import Conv4, RunningStatistics
from fewshot.nets.precision import Precision, autocast
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


GROUPED = 32
"""Pixels up to which the networks of several episodes are computed as one with groups: on an AVX2 core, evaluation
of 8 episodes at once takes 0.83 of the time of one by one at 28 pixels, and 1.28 at 84."""


class MetaLSTMLearner(nn.Module):
    """Trains `net` on the support with `core`, starting from learned initial weights, and classifies the queries.

    Tensors of an episode may have a leading axis: a batch of episodes, of which each has its own network.
    """

    batched = True
    precision: Precision = "fp32"

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

    @property
    def at_once(self) -> int:
        """Episodes that evaluation had best give at once."""
        return TOGETHER if self.net.image_size <= GROUPED else 1

    def forward(self, episode: Episode) -> Prediction:
        with self.core.unroll():
            if episode.support_y.ndim == 2:
                return self._unroll(episode)
            prediction = self._unroll(_alone(episode))
            return replace(prediction, logits=prediction.logits[0])

    def _unroll(self, episode: Episode) -> Prediction:
        """Of stacked episodes; rows of states are the weights of one network after another."""
        images, labels = to_unit(episode.support_x), episode.support_y
        count = len(labels)
        weights = self.start.expand(count, -1)
        statistics, hidden = self.net.init_statistics(weights), self.core.init_hidden(weights.numel())
        penalties, diagnostics = [], []
        for batch in self._batches(labels.shape[1]):
            state = self._observe(weights, images[:, batch], labels[:, batch], statistics)
            step, penalty = inner_step(self.core, self.regularizer, state, hidden, networks=count)
            weights, hidden = weights + step.update.view_as(weights), step.next_hidden
            penalties.append(penalty)
            diagnostics.append(self.core.diagnostics(step))
        logits = self._scores(weights, to_unit(episode.query_x), statistics if self._running() else None)
        stacked = {name: torch.stack([d[name] for d in diagnostics]) for name in diagnostics[0]}
        return Prediction(logits, episode_penalty(self.core, self.regularizer, penalties), stacked)

    def _observe(self, weights: Tensor, images: Tensor, labels: Tensor, statistics: RunningStatistics) -> Tensor:
        """State rows [N · P, 6]. Loss and gradient enter as constants: first order, as in all published code."""
        with torch.enable_grad():
            leaf = weights.detach().requires_grad_()
            scores = self._scores(leaf, images, statistics, update=True)
            losses = F.cross_entropy(scores.mT, labels, reduction="none").mean(dim=1)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        if self.options.gradient == "mean_over_batch":
            gradient = gradient / labels.shape[1]
        loss_features = log_sign(losses.detach()).T[:, :, None].expand(-1, -1, weights.shape[1])
        gradient = gradient.flatten()
        return torch.cat([loss_features.flatten(1), log_sign(gradient).T, gradient[None], weights.reshape(1, -1)]).T

    def _scores(
        self, weights: Tensor, images: Tensor, statistics: RunningStatistics | None, update: bool = False
    ) -> Tensor:
        """Of networks [N, P] on images [N, B, C, H, W]: [N, B, way], by one network with groups or one by one."""
        with autocast(self.precision, images.device):
            if len(weights) > 1 and self.net.image_size <= GROUPED:
                return self.net(weights, images, statistics, update).to(weights.dtype)
            size = self.net.filters
            scores = []
            for i, (own, seen) in enumerate(zip(weights, images, strict=True)):
                part = slice(i * size, (i + 1) * size)  # views: what is updated in place is updated in `statistics`
                of_own = None if statistics is None else [(mean[part], var[part]) for mean, var in statistics]
                scores.append(self.net(own, seen, of_own, update))
            return torch.stack(scores).to(weights.dtype)

    def _batches(self, support: int) -> list[slice]:
        size = self.options.batch_size
        return [slice(i, i + size) for _ in range(self.options.inner_epochs) for i in range(0, support, size)]

    def _running(self) -> bool:
        return self.options.query_norm == "running" or (self.options.query_norm == "auto" and not self.training)


def _alone(episode: Episode) -> Episode:
    """One episode as a batch of it, without moving its images."""
    names = ("support_x", "support_y", "query_x", "query_y")
    return replace(episode, **{name: getattr(episode, name)[None] for name in names})


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
