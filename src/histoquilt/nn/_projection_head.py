"""Projection head of mclSTExp."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from histoquilt.nn._dropout import dropout


class ProjectionHead(nn.Module):
    """Projection to ``n_out`` features: linear, GELU, linear, dropout, residual connection, LayerNorm.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> head = hq.nn.ProjectionHead(n_in=5, n_out=16).eval()
    >>> head(torch.ones(3, 5), None).shape
    torch.Size([3, 16])
    """

    def __init__(self, n_in: int, n_out: int = 256, *, dropout_rate: float = 0.1) -> None:
        super().__init__()
        self.dropout_rate = dropout_rate
        self.project = nn.Linear(n_in, n_out)
        self.mix = nn.Linear(n_out, n_out)
        self.norm = nn.LayerNorm(n_out)

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """x: (n_spots, n_in) -> (n_spots, n_out)."""
        projected = self.project(x)  # (n_spots, n_out)
        mixed = self.mix(functional.gelu(projected))
        mixed = dropout(mixed, self.dropout_rate if self.training else 0.0, generator)
        return self.norm(projected + mixed)
