"""Losses shared by the methods."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def scaled_cosine_error(x: Tensor, x_hat: Tensor, alpha: float = 2.0) -> Tensor:
    """Return ``mean((1 - cos(x, x_hat)) ** alpha)`` over rows, a scalar (GraphMAE, Hou et al. 2022, eq. 4).

    ``alpha`` > 1 lets rows that are already well reconstructed weigh less. x, x_hat: ``(n_rows, n_features)``.
    """
    return (1 - F.cosine_similarity(x, x_hat, dim=1)).clamp_min(0).pow(alpha).mean()


def edge_contrast(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy that scores hidden edges as 1 and non-edges as 0; both are logits, ``(n_pairs,)``."""
    logits = torch.cat([positive, negative])
    target = torch.cat([torch.ones_like(positive), torch.zeros_like(negative)])
    return F.binary_cross_entropy_with_logits(logits, target)
