"""Graph convolution layers."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from histoquilt.nn._precision import linear
from histoquilt.nn._prelu import SharedPReLU
from histoquilt.nn.graph._sparse import Propagation
from histoquilt.nn.tiles._batch_norm import CoreBatchNorm


class GCNLayer(nn.Module):
    """Graph convolution ``P X W + b`` (Kipf & Welling 2017), with the cheaper product first.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> step = hq.nn.Propagation.from_scipy(csr_matrix([[0.5, 0.5], [0.5, 0.5]]), symmetric=True)
    >>> hq.nn.GCNLayer(n_in=3, n_out=2)(torch.ones(2, 3), step).shape
    torch.Size([2, 2])
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=False)
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor, propagation: Propagation, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """x: (n_spots, n_in) -> (n_spots, n_out); dtype: data type of the dense product."""
        if self.linear.in_features <= self.linear.out_features:
            return linear(propagation(x), self.linear.weight, dtype).add_(self.bias)
        return propagation(linear(x, self.linear.weight, dtype)).add_(self.bias)


class GCNEncoder(nn.Module):
    """Two GCN layers, each followed by BatchNorm and a shared PReLU.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> from scipy.sparse import identity
    >>> step = hq.nn.Propagation.from_scipy(identity(4, dtype="float32", format="csr"), symmetric=True)
    >>> hq.nn.GCNEncoder(n_in=5, n_hidden=8, n_latent=3)(torch.ones(4, 5), [step, step], n_core=4).shape
    torch.Size([4, 3])
    """

    def __init__(self, n_in: int, n_hidden: int, n_latent: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([GCNLayer(n_in, n_hidden), GCNLayer(n_hidden, n_latent)])
        self.norms = nn.ModuleList([CoreBatchNorm(n_hidden), CoreBatchNorm(n_latent)])
        self.activation = SharedPReLU()

    def forward(
        self, x: Tensor, propagation: Sequence[Propagation], *, n_core: int, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """x: (n_spots, n_in) -> (n_read, n_latent); batch statistics are those of the first ``n_core`` spots."""
        for layer, norm, step in zip(self.layers, self.norms, propagation, strict=True):
            x = self.activation(norm(layer(x, step, dtype=dtype), n_core))
        return x
