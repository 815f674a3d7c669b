"""The spot branch of mclSTExp: a transformer with attention among spatial neighbours."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from histoquilt.nn._dropout import dropout
from histoquilt.nn.graph._edge_softmax import MultiHeadEdgeAttention
from histoquilt.nn.graph._edges import Edges


class SpotTransformer(nn.Module):
    """Pre-norm transformer blocks over a section, with attention along the edges of its spatial graph.

    In the published code the sequence is a random batch of mixed sections, so a spot's embedding depends on its batch.
    Here it depends only on spots within ``n_blocks`` steps along the edges.

    Parameters
    ----------
    n_features
        Number of features per spot, in and out.
    n_mlp
        Width of the hidden layer; by default ``n_features``.
    n_blocks, n_heads, n_head
        Number of blocks, number of heads, and width of one head.
    dropout_rate
        Dropout rate of attention weights and hidden layer in training.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> edges = hq.nn.Edges(csr_matrix(np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]])))  # a line, with self loops
    >>> transformer = hq.nn.SpotTransformer(8, n_blocks=1, n_heads=2, n_head=4).eval()
    >>> transformer(torch.ones(3, 8), edges, None).shape
    torch.Size([3, 8])
    """

    def __init__(
        self,
        n_features: int,
        n_mlp: int | None = None,
        *,
        n_blocks: int = 2,
        n_heads: int = 8,
        n_head: int = 64,
        dropout_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(n_features, n_mlp or n_features, n_heads, n_head, dropout_rate) for _ in range(n_blocks)
        )

    def forward(self, x: Tensor, edges: Edges, generator: torch.Generator | None) -> Tensor:
        """x: (n_spots, n_features) -> same shape; edges: (n_spots, n_spots), neighbours of each spot and itself."""
        for block in self.blocks:
            x = block(x, edges, generator)
        return x


class _Block(nn.Module):
    def __init__(self, n_features: int, n_mlp: int, n_heads: int, n_head: int, dropout_rate: float) -> None:
        super().__init__()
        self.dropout_rate = dropout_rate
        self.norm = nn.LayerNorm(n_features)
        self.attention = MultiHeadEdgeAttention(
            n_features, n_features, n_features, n_heads=n_heads, n_head=n_head, dropout_rate=dropout_rate
        )
        self.mlp_norm = nn.LayerNorm(n_features)
        self.widen = nn.Linear(n_features, n_mlp)
        self.narrow = nn.Linear(n_mlp, n_features)

    def forward(self, x: Tensor, edges: Edges, generator: torch.Generator | None) -> Tensor:
        normed = self.norm(x)  # (n_spots, n_features)
        x = x + self.attention(normed, normed, edges, generator)
        hidden = functional.gelu(self.widen(self.mlp_norm(x)))  # (n_spots, n_mlp)
        return x + self.narrow(dropout(hidden, self.dropout_rate if self.training else 0.0, generator))
