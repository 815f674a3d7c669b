"""GraphSAGE with mean aggregation."""

import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from histoquilt.nn.graph._neighbour_means import neighbour_means
from histoquilt.nn.graph._sparse import Propagation


def mean_propagation(adjacency: csr_matrix, *, device: torch.device | str = "cpu") -> Propagation:
    """Return :func:`neighbour_means` of ``(n_out, n_in)`` as a propagation; a row without neighbours gets zero."""
    return Propagation.from_scipy(neighbour_means(adjacency, itself=False), symmetric=False, device=device)


class SAGELayer(nn.Module):
    """``W_self x + W_mean mean(x of neighbours) + b`` (Hamilton, Ying, Leskovec. NeurIPS 2017)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.own = nn.Linear(n_in, n_out)
        self.neighbours = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: Tensor, averaging: Propagation) -> Tensor:
        """x: (n_nodes, n_in) -> (n_nodes, n_out); averaging: of :func:`mean_propagation`."""
        return self.own(x) + self.neighbours(averaging(x))
