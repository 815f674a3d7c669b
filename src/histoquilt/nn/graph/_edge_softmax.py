"""Attention along the edges of a graph: a softmax over the edges of every receiving node, and what it weighs."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional

from histoquilt.nn._dropout import dropout
from histoquilt.nn.graph._edges import Edges


def edge_softmax(logits: Tensor, edges: Edges) -> Tensor:
    """Return weights that sum to 1 over the edges that a node receives, in every head.

    logits: (n_heads, n_edges) -> (n_heads, n_edges). Large logits do not overflow.
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
    """Let every receiving node average the values of its senders, by scaled dot products.

    Parameters
    ----------
    queries, keys, values
        (n_heads, n_out, n_features), (n_heads, n_in, n_features), (n_heads, n_in, n_values).
    edges
        ``(n_out, n_in)``. A node without edges gets zeros.
    slope
        Where given, of a LeakyReLU on the logits.
    dropout_rate, generator
        Share of weights dropped after the softmax.

    Returns
    -------
    (n_out, n_heads * n_values), heads side by side.
    """
    logits = edges.dot(queries / queries.shape[-1] ** 0.5, keys)  # (n_heads, n_edges)
    if slope is not None:
        logits = functional.leaky_relu(logits, slope)
    weights = dropout(edge_softmax(logits, edges), dropout_rate, generator)
    return edges.gather_sum(weights, values).transpose(0, 1).flatten(1)


class MultiHeadEdgeAttention(nn.Module):
    """Multi-head attention over edges: queries from receivers, keys and values from senders, then a linear layer.

    Values and output layer have no bias, so that a node without edges gets exactly zero.

    Parameters
    ----------
    n_query, n_source, n_out
        Widths of receiver features, sender features, and the result.
    n_heads, n_head
        Number of heads, and width of one head.
    slope
        Negative slope of a LeakyReLU on the logits; ``None`` for no activation.
    dropout_rate
        Dropout rate of the attention weights, in training.
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
        """Receivers: (n_out, n_query); senders: (n_in, n_source) -> (n_out, width of the result)."""
        attended = edge_attention(
            self._split(self.query(receivers)),
            self._split(self.key(senders)),
            self._split(self.value(senders)),
            edges,
            slope=self.slope,
            dropout_rate=self.dropout_rate if self.training else 0.0,
            generator=generator,
        )
        return self.out(attended)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.n_heads, -1)).transpose(0, 1)  # (n_heads, n_nodes, n_head)


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
    """Return for every edge the sum over all edges of its receiver, (n_heads, n_edges); in a fixed order."""
    sums = edges.gather_sum(values, values.new_ones(len(values), edges.n_in, 1))  # (n_heads, n_out, 1)
    return sums[:, edges.rows, 0]
