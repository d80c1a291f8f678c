"""How well a backbone's features tell new classes apart: nearest centroids on fixed episodes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.backbones.view import View, read_images
from fewshot.data.episodes import EpisodeSampler
from fewshot.nets.blocks import FeatureNet

_BATCH = 128


@torch.inference_mode()
def centroid_accuracy(net: FeatureNet, view: View, sampler: EpisodeSampler, count: int) -> np.ndarray:
    """Accuracy on episodes 0 to `count` - 1 when each query takes the class whose centroid points its way.

    A centroid is the mean of the normalized support features (Hu et al. 2020, their validation of backbones). Every
    image that the episodes use goes through the network once.

    Args:
        net: evaluated in eval mode, and left in the mode it was in.
        view: what it must be fed.
        sampler: of images.
        count: number of episodes.

    Returns:
        float64 [count].
    """
    was_training = net.training
    net.eval()
    try:
        episodes = np.stack([sampler.indices(index)[1] for index in range(count)])
        rows, place = np.unique(episodes, return_inverse=True)
        features = F.normalize(_embed(net, view, sampler, rows), dim=1)
    finally:
        net.train(was_training)
    return np.array(
        [_accuracy(features[index], sampler.shot) for index in torch.from_numpy(place).view(episodes.shape)]
    )


def _embed(net: FeatureNet, view: View, sampler: EpisodeSampler, rows: np.ndarray) -> Tensor:
    device = next(net.parameters()).device
    batches = np.split(rows, range(_BATCH, len(rows), _BATCH))
    return torch.cat([net(view(read_images(sampler.split, batch, device))).float().cpu() for batch in batches])


def _accuracy(features: Tensor, shot: int) -> float:
    """Of one episode: normalized features [N, K + Q, D], the support first."""
    centroids = F.normalize(features[:, :shot].mean(dim=1), dim=1)
    scores = features[:, shot:] @ centroids.T
    return float((scores.argmax(dim=2) == torch.arange(len(features))[:, None]).double().mean())
