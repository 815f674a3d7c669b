"""How alike two embeddings of the same spots are."""

import torch
from torch import Tensor


def linear_cka(a: Tensor, b: Tensor) -> float:
    """Return the linear centred kernel alignment of two embeddings, 0 (unrelated) to 1 (equal up to rotation and scale).

    Kornblith et al., ICML 2019, eq. 2 of section 3; computed from feature covariances, so the cost is
    ``n_spots * n_features ** 2`` and no ``n_spots x n_spots`` array exists. a, b: ``(n_spots, n_features)``.
    """
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    shared = torch.linalg.matrix_norm(a.T @ b) ** 2
    own = torch.linalg.matrix_norm(a.T @ a) * torch.linalg.matrix_norm(b.T @ b)
    return float(shared / own) if own > 0 else 1.0
