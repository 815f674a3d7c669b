"""Attention between the spots of a section and their references (SpaHGC: CNDA in the layers, CNAP at the end)."""

import torch
from torch import Tensor, nn

from histoquilt.nn.graph._edge_softmax import MultiHeadEdgeAttention
from histoquilt.nn.graph._edges import Edges

LOGIT_SLOPE = 0.2


class CrossNodeAttention(nn.Module):
    """CNDA: targets attend to their references, references to the targets that use them.

    What a reference says is its state beside its measured expression; what a target says is its state alone.

    Parameters
    ----------
    n_hidden
        Width of states and of the expression embedding, divisible by ``n_heads``.
    n_heads, dropout_rate
        Heads, and the share of attention weights dropped in training.

    Raises
    ------
    ValueError
        ``n_hidden`` cannot be divided among the heads.
    """

    def __init__(self, n_hidden: int, *, n_heads: int = 4, dropout_rate: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_hidden)
        self.to_target = _attention(n_hidden, 2 * n_hidden, n_hidden, n_heads, dropout_rate)
        self.to_reference = _attention(2 * n_hidden, n_hidden, n_hidden, n_heads, dropout_rate)

    def forward(
        self, target: Tensor, reference: Tensor, expression: Tensor, edges: Edges, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return what targets and what references hear, (n_targets, n_hidden) and (n_references, n_hidden).

        target: (n_targets, n_hidden); reference, expression: (n_references, n_hidden); edges: (n_targets,
        n_references).
        """
        known = torch.cat([reference, self.norm(expression)], dim=1)  # (n_references, 2 * n_hidden)
        heard_by_target = self.to_target(target, known, edges, generator)
        heard_by_reference = self.to_reference(known, target, edges.reversed, generator)
        return heard_by_target, heard_by_reference


class CrossNodeReadout(nn.Module):
    """CNAP: every target attends to its references once more, added to its own linear state.

    Parameters and errors as in :class:`CrossNodeAttention`.
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
        known = torch.cat([reference, self.norm(expression)], dim=1)  # (n_references, 2 * n_hidden)
        return self.own(target) + self.attention(target, known, edges, generator)


def _attention(n_query: int, n_source: int, n_hidden: int, n_heads: int, rate: float) -> MultiHeadEdgeAttention:
    if n_hidden % n_heads:
        raise ValueError(f"n_hidden is {n_hidden}, which {n_heads} heads cannot share; take a multiple of n_heads.")
    sizes = {"n_heads": n_heads, "n_head": n_hidden // n_heads}
    return MultiHeadEdgeAttention(n_query, n_source, n_hidden, **sizes, slope=LOGIT_SLOPE, dropout_rate=rate)
