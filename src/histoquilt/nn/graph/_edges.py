"""Directed edges between two sets of nodes, and the two sparse products of attention along them."""

from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix, issparse
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from histoquilt.nn.graph._sparse import csr_tensor


class Edges:
    """Edges from ``n_in`` sending to ``n_out`` receiving nodes: rectangular or directed, in CSR order.

    All heads are computed in one product with a block-diagonal matrix of one graph per head.

    Parameters
    ----------
    adjacency
        ``(n_out, n_in)`` scipy CSR: row ``i`` lists the nodes that ``i`` receives from. Every stored entry is an edge;
        values are ignored, duplicates merged.
    device
        Device of the tensors.

    Attributes
    ----------
    rows, columns
        (n_edges,) int64: receiving and sending end of every edge, sorted by row, then column.

    Raises
    ------
    TypeError
        The adjacency is not sparse.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> edges = hq.nn.Edges(csr_matrix(np.array([[0, 1, 1], [1, 0, 0]])))
    >>> edges.rows.tolist(), edges.columns.tolist()
    ([0, 0, 1], [1, 2, 0])
    """

    def __init__(self, adjacency: csr_matrix, *, device: torch.device | str = "cpu") -> None:
        if not issparse(adjacency):
            raise TypeError(f"Expected a scipy sparse matrix, got {type(adjacency).__name__}.")
        pattern = csr_matrix(adjacency, copy=True)
        pattern.sum_duplicates()  # also sorts
        indptr = torch.from_numpy(pattern.indptr.astype(np.int64))
        columns = torch.from_numpy(pattern.indices.astype(np.int64))
        self._set(indptr.to(device), columns.to(device), pattern.shape[1])
        order = torch.argsort(self.columns, stable=True)
        backward = object.__new__(Edges)  # the same edges by sending end
        counts = torch.bincount(self.columns, minlength=self.n_in)
        backward._set(torch.cat([counts.new_zeros(1), counts.cumsum(0)]), self.rows[order], self.n_out)
        self._order, self._reversed = order, backward
        backward._order, backward._reversed = torch.argsort(order), self

    def _set(self, indptr: Tensor, columns: Tensor, n_in: int) -> None:
        self.n_out, self.n_in, self.n_edges = len(indptr) - 1, n_in, len(columns)
        self.columns = columns
        self.rows = torch.repeat_interleave(indptr.diff())
        self._indptr = indptr
        self._blocks: dict[int, tuple[Tensor, Tensor]] = {}

    @property
    def reversed(self) -> "Edges":
        """The same edges with sender and receiver exchanged, sorted by the new receivers."""
        return self._reversed

    @property
    def device(self) -> torch.device:
        """Device of the tensors."""
        return self.columns.device

    @cached_property
    def degree(self) -> Tensor:
        """Number of incoming edges of each node, (n_out,) int64."""
        return self._indptr.diff()

    def matrix(self, values: Tensor) -> Tensor:
        """Block-diagonal CSR tensor ``(n_heads * n_out, n_heads * n_in)`` of values (n_heads, n_edges)."""
        n_heads = len(values)
        if n_heads not in self._blocks:
            heads = torch.arange(n_heads, device=self.device)[:, None]
            ends = (self._indptr[1:] + heads * self.n_edges).flatten()
            self._blocks[n_heads] = (
                torch.cat([ends.new_zeros(1), ends]).to(torch.int32),
                (self.columns + heads * self.n_in).flatten().to(torch.int32),
            )
        shape = n_heads * self.n_out, n_heads * self.n_in
        return csr_tensor(*self._blocks[n_heads], values.flatten(), shape)

    def gather_sum(self, weights: Tensor, values: Tensor) -> Tensor:
        """Weighted sum over the senders of each receiver, (n_heads, n_out, n_features); zero without edges.

        weights: (n_heads, n_edges); values: (n_heads, n_in, n_features).
        """
        return _GatherSum.apply(_wide(weights), _wide(values), self)

    def dot(self, left: Tensor, right: Tensor) -> Tensor:
        """Scalar product of the two ends of every edge, (n_heads, n_edges).

        left: (n_heads, n_out, n_features); right: (n_heads, n_in, n_features).
        """
        return _Dot.apply(_wide(left), _wide(right), self)


class _GatherSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weights: Tensor, values: Tensor, edges: Edges) -> Tensor:
        ctx.save_for_backward(weights, values)
        ctx.edges = edges  # type: ignore[attr-defined]
        return _gather_sum(weights, values, edges)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, values = ctx.saved_tensors  # type: ignore[attr-defined]
        edges = ctx.edges  # type: ignore[attr-defined]
        d_values = _gather_sum(weights[:, edges._order], grad, edges.reversed)
        return _dot(grad, values, edges), d_values, None


class _Dot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, left: Tensor, right: Tensor, edges: Edges) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.edges = edges  # type: ignore[attr-defined]
        return _dot(left, right, edges)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        left, right = ctx.saved_tensors  # type: ignore[attr-defined]
        edges = ctx.edges  # type: ignore[attr-defined]
        d_right = _gather_sum(grad[:, edges._order], left, edges.reversed)
        return _gather_sum(grad, right, edges), d_right, None


def _wide(x: Tensor) -> Tensor:
    """Convert half precision, for which sparse products have no kernel, to float32."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _gather_sum(weights: Tensor, values: Tensor, edges: Edges) -> Tensor:
    n_heads, _, n_features = values.shape
    if edges.n_edges == 0:
        return values.new_zeros(n_heads, edges.n_out, n_features)
    with torch.autocast(device_type=values.device.type, enabled=False):
        product = edges.matrix(weights) @ values.reshape(-1, n_features)
    return product.view(n_heads, edges.n_out, n_features)


def _dot(left: Tensor, right: Tensor, edges: Edges) -> Tensor:
    n_heads, _, n_features = left.shape
    if edges.n_edges == 0:
        return left.new_zeros(n_heads, 0)
    pattern = edges.matrix(left.new_zeros(n_heads, edges.n_edges))
    # ten times faster than gathering both ends, and holds no array (n_edges, n_features)
    with torch.autocast(device_type=left.device.type, enabled=False):
        products = torch.sparse.sampled_addmm(pattern, left.reshape(-1, n_features), right.reshape(-1, n_features).T)
    return products.values().view(n_heads, edges.n_edges)
