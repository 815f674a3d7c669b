"""GraphSAGE with mean aggregation."""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.preprocessing import normalize
from torch import Tensor, nn

from histoquilt.nn.graph._sparse import Propagation


def mean_propagation(adjacency: csr_matrix, *, device: torch.device | str = "cpu") -> Propagation:
    """Return the propagation to the mean over each row's neighbours; a row without neighbours gets zero.

    adjacency: ``(n_out, n_in)``, may be directed; every stored entry is an edge, stored values are ignored.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> means = hq.nn.mean_propagation(csr_matrix(np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]])))
    >>> means(torch.tensor([[1.0], [2], [4]])).tolist()
    [[3.0], [1.0], [0.0]]
    """
    means = csr_matrix(adjacency, dtype=np.float32, copy=True)
    means.sum_duplicates()
    means.data[:] = 1
    return Propagation.from_scipy(normalize(means, norm="l1", copy=False), symmetric=False, device=device)


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
