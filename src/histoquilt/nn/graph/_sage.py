"""GraphSAGE with mean aggregation."""

import numpy as np
import torch
from scipy.sparse import csr_matrix, identity
from torch import Tensor, nn

from histoquilt.nn.graph._sparse import Propagation


def neighbour_means(adjacency: csr_matrix, *, itself: bool) -> csr_matrix:
    """Return the matrix whose product with values is their mean over each row's neighbours, CSR float32.

    Parameters
    ----------
    adjacency
        ``(n_out, n_in)``, may be directed; every stored entry is an edge, stored values are ignored.
    itself
        If true, a node is one of its own neighbours. If false, a row without neighbours gets zero.

    Examples
    --------
    >>> line = csr_matrix([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> (neighbour_means(line, itself=True) @ [0.0, 3.0, 6.0]).round(3)
    array([1.5, 3. , 4.5])
    """
    means = csr_matrix(adjacency, dtype=np.float32, copy=True)
    if itself:
        means = csr_matrix(means + identity(means.shape[0], dtype=np.float32, format="csr"))
    means.sum_duplicates()
    degree = np.diff(means.indptr)
    means.data = np.repeat(1.0 / np.maximum(degree, 1), degree).astype(np.float32)
    return means


def mean_propagation(adjacency: csr_matrix, *, device: torch.device | str = "cpu") -> Propagation:
    """Return :func:`neighbour_means` of ``(n_out, n_in)`` as a propagation; a row without neighbours gets zero.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> means = hq.nn.mean_propagation(csr_matrix(np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]])))
    >>> means(torch.tensor([[1.0], [2], [4]])).tolist()
    [[3.0], [1.0], [0.0]]
    """
    return Propagation.from_scipy(neighbour_means(adjacency, itself=False), symmetric=False, device=device)


class SAGELayer(nn.Module):
    """``W_self x + W_mean mean(x of neighbours) + b`` (Hamilton, Ying, Leskovec. NeurIPS 2017).

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> means = hq.nn.mean_propagation(csr_matrix(np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]])))
    >>> hq.nn.SAGELayer(n_in=4, n_out=2)(torch.ones(3, 4), means).shape
    torch.Size([3, 2])
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.own = nn.Linear(n_in, n_out)
        self.neighbours = nn.Linear(n_in, n_out, bias=False)

    def forward(self, x: Tensor, averaging: Propagation) -> Tensor:
        """x: (n_nodes, n_in) -> (n_nodes, n_out); averaging: as from :func:`mean_propagation`."""
        return self.own(x) + self.neighbours(averaging(x))
