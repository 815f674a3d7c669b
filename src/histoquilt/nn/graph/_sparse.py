"""Message passing over a sparse graph: one CSR product with its own backward pass."""

import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.sparse import csr_matrix, issparse
from torch import Tensor
from torch.autograd.function import FunctionCtx


@dataclass(frozen=True)
class Propagation:
    """A fixed sparse matrix that spreads rows along edges, kept with its transpose for the backward pass.

    Only where a matrix equals its transpose (GCN normalisation of an undirected graph) may one serve for both; mean
    aggregation, directed k-NN and rectangular matrices store the two.

    Attributes
    ----------
    matrix
        ``(n_out, n_in)`` torch sparse CSR.
    transpose
        ``(n_in, n_out)`` torch sparse CSR; the same object as ``matrix`` where the matrix is symmetric.
    """

    matrix: Tensor
    transpose: Tensor

    @classmethod
    def from_scipy(
        cls,
        matrix: csr_matrix,
        *,
        symmetric: bool,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Propagation":
        """Copy a scipy matrix. ``symmetric`` is the caller's word that it equals its transpose.

        The word is not checked, since that costs as much as a product; where it is wrong, results are right and
        gradients are those of the transpose.

        Raises
        ------
        TypeError
            The matrix is not sparse.
        ValueError
            It is called symmetric but has another number of rows than columns.
        """
        if not issparse(matrix):
            raise TypeError(f"Expected a scipy sparse matrix, got {type(matrix).__name__}.")
        if symmetric and matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"A matrix of shape {matrix.shape} cannot equal its transpose; pass symmetric=False.")
        forward = _to_torch(matrix.tocsr(), device, dtype)
        return cls(forward, forward if symmetric else _to_torch(matrix.T.tocsr(), device, dtype))

    def __call__(self, dense: Tensor) -> Tensor:
        """Return ``matrix @ dense``, ``(n_out, n_features)``; gradients flow to ``dense``, the matrix is fixed."""
        return _SparseProduct.apply(dense, self.matrix, self.transpose)


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, dense: Tensor, matrix: Tensor, transpose: Tensor) -> Tensor:
        ctx.transpose = transpose  # type: ignore[attr-defined]
        return _multiply(matrix, dense)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        return _multiply(ctx.transpose, grad), None, None  # type: ignore[attr-defined]


def _multiply(matrix: Tensor, dense: Tensor) -> Tensor:
    """Multiply in the precision of the matrix: sparse CSR products have no bf16 kernel."""
    with torch.autocast(device_type=dense.device.type, enabled=False):
        return (matrix @ dense.to(matrix.dtype).contiguous()).to(dense.dtype)


def _to_torch(matrix: csr_matrix, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    matrix = matrix.copy()  # neither sorted under the caller's hands nor changed by them later
    matrix.sum_duplicates()  # sorts, too
    return csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int32)),
        torch.from_numpy(matrix.indices.astype(np.int32)),
        torch.from_numpy(matrix.data).to(dtype),
        matrix.shape,
    ).to(device)


def csr_tensor(indptr: Tensor, indices: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Build a CSR tensor from trusted parts, without the invariant checks that cost as much as a product."""
    _hear_beta_warning()
    return torch.sparse_csr_tensor(indptr, indices, values, size=shape, check_invariants=False)


@cache
def _hear_beta_warning() -> None:
    """Take the warning that torch gives at the first CSR tensor of a process; users can do nothing about it.

    Once, beforehand: entering ``catch_warnings`` at every product would make Python forget which warnings it has shown.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        start, nothing = torch.zeros(2, dtype=torch.int32), torch.zeros(0, dtype=torch.int32)
        torch.sparse_csr_tensor(start, nothing, torch.zeros(0), size=(1, 1), check_invariants=False)
