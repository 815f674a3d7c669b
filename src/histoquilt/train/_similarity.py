"""Similarity of two embeddings of the same spots."""

import torch
from torch import Tensor


def linear_cka(a: Tensor, b: Tensor) -> float:
    """Return the linear centred kernel alignment of two embeddings: 0 unrelated, 1 equal up to rotation and scale.

    Kornblith et al., ICML 2019, section 3, eq. 2, computed from feature covariances. a, b: ``(n_spots, n_features)``
    with any number of features. Embeddings in which all spots are equal have alignment 1 to each other, else 0.
    """
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    own_a, own_b = torch.linalg.matrix_norm(a.T @ a), torch.linalg.matrix_norm(b.T @ b)
    if own_a == 0 or own_b == 0:
        return float(own_a == own_b)
    shared = torch.linalg.matrix_norm(a.T @ b) ** 2
    return float((shared / (own_a * own_b)).clamp(max=1.0))  # rounding may exceed 1; NaN stays NaN
