"""GraphSAGE with mean aggregation."""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from histoquilt.nn.graph._sparse import Propagation


def mean_propagation(adjacency: csr_matrix, *, device: torch.device | str = "cpu") -> Propagation:
    """Return the mean over the nodes that each row lists; a row that lists none gets zero.

    adjacency: ``(n_out, n_in)``, may be directed; stored values are ignored, every stored entry is an edge.
    """
    pattern = csr_matrix(adjacency, copy=True)
    pattern.sum_duplicates()
    degree = np.diff(pattern.indptr)
    pattern.data = np.repeat(1.0 / np.maximum(degree, 1), degree)
    return Propagation.from_scipy(pattern, symmetric=False, device=device)


class SAGELayer(nn.Module):
    """``W_self x + W_mean mean(x of neighbours) + b`` (Hamilton, Ying, Leskovec. NeurIPS 2017)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.own = nn.Linear(n_in, n_out)
        self.neighbours = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: Tensor, averaging: Propagation) -> Tensor:
        """x: (n_nodes, n_in) -> (n_nodes, n_out); averaging: of :func:`mean_propagation`."""
        return self.own(x) + self.neighbours(averaging(x))
