"""Message passing over a sparse graph: a CSR product with its own backward pass."""

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
    """A fixed sparse matrix with its transpose, which the backward pass needs.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> means = csr_matrix([[0.0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]])
    >>> hq.nn.Propagation.from_scipy(means, symmetric=False)(torch.tensor([[1.0], [2], [4]])).tolist()
    [[3.0], [1.0], [1.0]]
    """

    matrix: Tensor  # (n_out, n_in) torch sparse CSR
    transpose: Tensor  # (n_in, n_out) torch sparse CSR; the same object as matrix if that is symmetric

    @classmethod
    def from_scipy(
        cls,
        matrix: csr_matrix,
        *,
        symmetric: bool,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "Propagation":
        """Copy a scipy matrix; ``symmetric`` states that it equals its transpose.

        This is not checked, since that costs as much as a product; if it is wrong, gradients are wrong.

        Raises
        ------
        TypeError
            The matrix is not sparse.
        ValueError
            ``symmetric`` is true and the matrix is not square.
        """
        if not issparse(matrix):
            raise TypeError(f"Expected a scipy sparse matrix, got {type(matrix).__name__}.")
        if symmetric and matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"A matrix of shape {matrix.shape} cannot equal its transpose; pass symmetric=False.")
        forward = _to_torch(matrix.tocsr(), device, dtype)
        return cls(forward, forward if symmetric else _to_torch(matrix.T.tocsr(), device, dtype))

    def __call__(self, dense: Tensor) -> Tensor:
        """Return ``matrix @ dense``, ``(n_out, n_features)``, with gradients for ``dense``."""
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
    """Multiply in the precision of the matrix: sparse CSR products have no bfloat16 kernel."""
    with torch.autocast(device_type=dense.device.type, enabled=False):
        return (matrix @ dense.to(matrix.dtype).contiguous()).to(dense.dtype)


def _to_torch(matrix: csr_matrix, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    matrix = matrix.copy()
    matrix.sum_duplicates()  # also sorts
    return csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int32)),
        torch.from_numpy(matrix.indices.astype(np.int32)),
        torch.from_numpy(matrix.data).to(dtype),
        matrix.shape,
    ).to(device)


def csr_tensor(indptr: Tensor, indices: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Build a CSR tensor without checking its invariants, which costs as much as a product."""
    _silence_beta_warning()
    return torch.sparse_csr_tensor(indptr, indices, values, size=shape, check_invariants=False)


@cache
def _silence_beta_warning() -> None:
    """Trigger torch's warning about the first CSR tensor of a process, unseen.

    Done once: ``catch_warnings`` at every product would make Python forget which warnings it has shown.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        start, nothing = torch.zeros(2, dtype=torch.int32), torch.zeros(0, dtype=torch.int32)
        torch.sparse_csr_tensor(start, nothing, torch.zeros(0), size=(1, 1), check_invariants=False)
