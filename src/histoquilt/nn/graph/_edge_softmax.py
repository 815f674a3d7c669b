"""Attention along the edges of a graph: softmax over the incoming edges of each node."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from histoquilt.nn._dropout import dropout
from histoquilt.nn.graph._edges import Edges


def edge_softmax(logits: Tensor, edges: Edges) -> Tensor:
    """Softmax over the incoming edges of each node. logits: (n_heads, n_edges) -> (n_heads, n_edges).

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> edges = hq.nn.Edges(csr_matrix(np.array([[1, 1, 0], [0, 0, 1]])))
    >>> hq.nn.edge_softmax(torch.tensor([[0.0, 0.0, 7.0]]), edges).tolist()
    [[0.5, 0.5, 1.0]]
    """
    return _EdgeSoftmax.apply(logits, edges)


def edge_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    edges: Edges,
    *,
    slope: float | None = None,
    dropout_rate: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Scaled dot-product attention of receiving nodes to their senders.

    Parameters
    ----------
    queries, keys, values
        Arrays (n_heads, n_out, n_features), (n_heads, n_in, n_features), (n_heads, n_in, n_values).
    edges
        Edges ``(n_out, n_in)``. A node without edges gets zeros.
    slope
        Negative slope of a LeakyReLU on the logits; ``None`` for no activation.
    dropout_rate, generator
        Dropout rate of the weights after the softmax, and its generator.

    Returns
    -------
    (n_out, n_heads * n_values), heads side by side.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> edges = hq.nn.Edges(csr_matrix(np.array([[1, 1, 0], [0, 0, 1]])))
    >>> queries, keys = torch.zeros(1, 2, 4), torch.zeros(1, 3, 4)  # one head; equal logits
    >>> values = torch.tensor([[[1.0], [3], [5]]])
    >>> hq.nn.edge_attention(queries, keys, values, edges).tolist()
    [[2.0], [5.0]]
    """
    logits = edges.dot(queries / queries.shape[-1] ** 0.5, keys)  # (n_heads, n_edges)
    if slope is not None:
        logits = functional.leaky_relu(logits, slope)
    weights = dropout(edge_softmax(logits, edges), dropout_rate, generator)
    return edges.gather_sum(weights, values).transpose(0, 1).flatten(1)


class MultiHeadEdgeAttention(nn.Module):
    """Multi-head attention over edges: queries from receivers, keys and values from senders, then a linear layer.

    Values and output layer have no bias, so a node without edges gets exactly zero.

    Parameters
    ----------
    n_query, n_source, n_out
        Widths of receiver features, sender features, and the result.
    n_heads, n_head
        Number of heads, and width of one head.
    slope, dropout_rate
        As in :func:`edge_attention`; dropout in training only.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> edges = hq.nn.Edges(csr_matrix(np.array([[1, 1, 0], [0, 0, 0]])))
    >>> attention = hq.nn.MultiHeadEdgeAttention(4, 5, 6, n_heads=2, n_head=3).eval()
    >>> found = attention(torch.ones(2, 4), torch.ones(3, 5), edges, None)
    >>> found.shape, found[1].tolist()  # the second node has no edge
    (torch.Size([2, 6]), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        n_query: int,
        n_source: int,
        n_out: int,
        *,
        n_heads: int,
        n_head: int,
        slope: float | None = None,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.n_heads, self.slope, self.dropout_rate = n_heads, slope, dropout_rate
        self.query = nn.Linear(n_query, n_heads * n_head)
        self.key = nn.Linear(n_source, n_heads * n_head)
        self.value = nn.Linear(n_source, n_heads * n_head, bias=False)
        self.out = nn.Linear(n_heads * n_head, n_out, bias=False)

    def forward(self, receivers: Tensor, senders: Tensor, edges: Edges, generator: torch.Generator | None) -> Tensor:
        """Return (n_out, n_result) for receivers (n_out, n_query) and senders (n_in, n_source)."""
        queries, keys, values = (
            x.unflatten(1, (self.n_heads, -1)).transpose(0, 1)  # (n_heads, n_nodes, n_head)
            for x in (self.query(receivers), self.key(senders), self.value(senders))
        )
        rate = self.dropout_rate if self.training else 0.0
        attended = edge_attention(
            queries, keys, values, edges, slope=self.slope, dropout_rate=rate, generator=generator
        )
        return self.out(attended)


class _EdgeSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, edges: Edges) -> Tensor:
        rows = edges.rows.expand_as(logits)
        highest = logits.new_full((len(logits), edges.n_out), -torch.inf).scatter_reduce_(1, rows, logits, "amax")
        weights = (logits - highest.gather(1, rows)).exp_()
        weights /= _row_sums(weights, edges)
        ctx.save_for_backward(weights)
        ctx.edges = edges  # type: ignore[attr-defined]
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors  # type: ignore[attr-defined]
        weighted = weights * grad
        return weighted - weights * _row_sums(weighted, ctx.edges), None  # type: ignore[attr-defined]


def _row_sums(values: Tensor, edges: Edges) -> Tensor:
    """Sum over all edges of the same receiver, for every edge, (n_heads, n_edges)."""
    sums = edges.gather_sum(values, values.new_ones(len(values), edges.n_in, 1))  # (n_heads, n_out, 1)
    return sums[:, edges.rows, 0]
