"""Attention between the spots of a section and their references: SpaHGC's CNDA and CNAP."""

import torch
from torch import Tensor, nn

from histoquilt.nn.graph._edge_softmax import MultiHeadEdgeAttention
from histoquilt.nn.graph._edges import Edges


class CrossNodeAttention(nn.Module):
    """CNDA: targets attend to their references, and references to the targets that use them.

    The message of a reference is its state and its measured expression; that of a target is its state.

    Parameters
    ----------
    n_hidden
        Width of states and expression embedding, a multiple of ``n_heads``.
    n_heads, dropout_rate
        Number of heads, and dropout rate of the attention weights in training.

    Raises
    ------
    ValueError
        ``n_hidden`` is not a multiple of ``n_heads``.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> edges = hq.nn.Edges(csr_matrix(np.array([[1, 1, 0], [0, 0, 0]])))  # the second target has no reference
    >>> attention = hq.nn.CrossNodeAttention(8, n_heads=2).eval()
    >>> to_target, to_reference = attention(torch.ones(2, 8), torch.ones(3, 8), torch.ones(3, 8), edges, None)
    >>> to_target.shape, to_reference.shape, bool(to_target[1].any())
    (torch.Size([2, 8]), torch.Size([3, 8]), False)
    """

    def __init__(self, n_hidden: int, *, n_heads: int = 4, dropout_rate: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_hidden)
        self.to_target = _attention(n_hidden, 2 * n_hidden, n_hidden, n_heads, dropout_rate)
        self.to_reference = _attention(2 * n_hidden, n_hidden, n_hidden, n_heads, dropout_rate)

    def forward(
        self, target: Tensor, reference: Tensor, expression: Tensor, edges: Edges, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return the messages to targets (n_targets, n_hidden) and to references (n_references, n_hidden).

        target: (n_targets, n_hidden); reference, expression: (n_references, n_hidden); edges: (n_targets,
        n_references).
        """
        senders = torch.cat([reference, self.norm(expression)], dim=1)  # (n_references, 2 * n_hidden)
        to_target = self.to_target(target, senders, edges, generator)
        return to_target, self.to_reference(senders, target, edges.reversed, generator)


class CrossNodeReadout(nn.Module):
    """CNAP: attention of every target to its references, added to a linear function of its own state.

    Parameters and errors as in :class:`CrossNodeAttention`.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> edges = hq.nn.Edges(csr_matrix(np.array([[1, 1, 0], [0, 0, 1]])))
    >>> readout = hq.nn.CrossNodeReadout(8, n_heads=2).eval()
    >>> readout(torch.ones(2, 8), torch.ones(3, 8), torch.ones(3, 8), edges, None).shape
    torch.Size([2, 8])
    """

    def __init__(self, n_hidden: int, *, n_heads: int = 4, dropout_rate: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_hidden)
        self.own = nn.Linear(n_hidden, n_hidden)
        self.attention = _attention(n_hidden, 2 * n_hidden, n_hidden, n_heads, dropout_rate)

    def forward(
        self, target: Tensor, reference: Tensor, expression: Tensor, edges: Edges, generator: torch.Generator | None
    ) -> Tensor:
        """Return (n_targets, n_hidden); shapes as in :class:`CrossNodeAttention`."""
        senders = torch.cat([reference, self.norm(expression)], dim=1)  # (n_references, 2 * n_hidden)
        return self.own(target) + self.attention(target, senders, edges, generator)


def _attention(n_query: int, n_source: int, n_hidden: int, n_heads: int, rate: float) -> MultiHeadEdgeAttention:
    if n_hidden % n_heads:
        raise ValueError(f"n_hidden is {n_hidden}, which {n_heads} heads cannot share; take a multiple of n_heads.")
    sizes = {"n_heads": n_heads, "n_head": n_hidden // n_heads}
    return MultiHeadEdgeAttention(n_query, n_source, n_hidden, **sizes, slope=0.2, dropout_rate=rate)
