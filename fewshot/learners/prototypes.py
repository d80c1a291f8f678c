"""Classification of feature vectors by cosine similarity to one weight vector a class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def class_means(features: Tensor, labels: Tensor, way: int) -> Tensor:
    """Mean of the L2-normalized features of each class.

    Args:
        features: [..., n, D].
        labels: [..., n], 0 to way - 1.

    Returns:
        [..., way, D].
    """
    member = (labels[..., None, :] == torch.arange(way, device=labels.device)[:, None]).to(features)
    return member @ F.normalize(features, dim=-1) / member.sum(dim=-1, keepdim=True)


class CosineScores(nn.Module):
    """z = s (b + cos(x, θ)) with a learned scale s and bias b, as in Hu et al. 2020."""

    def __init__(self, scale: float = 10.0) -> None:
        """Start from `scale` and no bias."""
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(0.0))

    def forward(self, directions: Tensor, weights: Tensor) -> Tensor:
        """Scores [..., Q, N] of normalized features [..., Q, D] for class weights θ [..., N, D]."""
        return self.scale * (self.bias + directions @ F.normalize(weights, dim=-1).mT)

    def pull(self, directions: Tensor, weights: Tensor, cotangent: Tensor) -> Tensor:
        """(∂z/∂θ)ᵀ u of scores' gradients u [..., Q, N], in closed form and differentiable: [..., N, D].

        With θ̂ = θ/‖θ‖ the derivative of cos(x, θ) is (x - θ̂ θ̂ᵀx) / ‖θ‖: what lies along θ is projected away.
        """
        length = torch.linalg.vector_norm(weights, dim=-1, keepdim=True)
        unit = weights / length
        pulled = cotangent.mT @ directions
        return self.scale / length * (pulled - unit * (unit * pulled).sum(dim=-1, keepdim=True))
