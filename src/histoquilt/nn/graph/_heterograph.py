"""SpaHGC's heterogeneous graph (targets and references) and its message-passing layer."""

from dataclasses import dataclass

import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional

from histoquilt.nn._cross_attention import CrossNodeAttention
from histoquilt.nn._dropout import dropout
from histoquilt.nn.graph._edges import Edges
from histoquilt.nn.graph._sage import SAGELayer, mean_propagation
from histoquilt.nn.graph._sparse import Propagation

SLOPE = 0.2  # of LeakyReLU


@dataclass(frozen=True)
class HeteroGraph:
    """Edges among the spots of a section (targets), among their references in other sections, and between them.

    All three kinds are required; an ablation passes an empty matrix.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> line, none = csr_matrix(np.array([[0, 1], [1, 0]])), csr_matrix((3, 3))
    >>> to_target = csr_matrix(np.array([[1, 1, 0], [0, 0, 1]]))  # two targets, three references
    >>> graph = hq.nn.HeteroGraph.from_scipy(line, none, to_target)
    >>> graph.to_target.rows.tolist(), tuple(graph.among_references.matrix.shape)
    ([0, 0, 1], (3, 3))
    """

    among_targets: Propagation  # mean over spatial neighbours
    among_references: Propagation  # mean over similar references
    to_target: Edges  # (n_targets, n_references)

    @classmethod
    def from_scipy(
        cls,
        targets: csr_matrix,
        references: csr_matrix,
        reference_to_target: csr_matrix,
        *,
        device: torch.device | str = "cpu",
    ) -> "HeteroGraph":
        """Build from adjacencies whose row ``i`` lists the nodes that ``i`` receives from; values are ignored.

        Raises
        ------
        ValueError
            The shapes do not fit together.
        """
        n_targets, n_references = reference_to_target.shape
        for name, matrix, n in (("targets", targets, n_targets), ("references", references, n_references)):
            if matrix.shape != (n, n):
                raise ValueError(
                    f"The edges among {name} have shape {matrix.shape}, but the {n_targets} x {n_references} edges "
                    f"from references to targets ask for {(n, n)}."
                )
        return cls(
            mean_propagation(targets, device=device),
            mean_propagation(references, device=device),
            Edges(reference_to_target, device=device),
        )


class InputBlock(nn.Module):
    """Linear, LeakyReLU, dropout, linear, LayerNorm: node features to a common width.

    Examples
    --------
    >>> import torch, histoquilt as hq
    >>> block = hq.nn.InputBlock(n_in=5, n_hidden=16).eval()
    >>> block(torch.ones(3, 5), None).shape
    torch.Size([3, 16])
    """

    def __init__(self, n_in: int, n_hidden: int = 256, *, dropout_rate: float = 0.2) -> None:
        super().__init__()
        self.dropout_rate = dropout_rate
        self.widen = nn.Linear(n_in, n_hidden)
        self.mix = nn.Linear(n_hidden, n_hidden)
        self.norm = nn.LayerNorm(n_hidden)

    def forward(self, x: Tensor, generator: torch.Generator | None) -> Tensor:
        """x: (n_nodes, n_in) -> (n_nodes, n_hidden)."""
        hidden = functional.leaky_relu(self.widen(x), SLOPE)  # (n_nodes, n_hidden)
        hidden = dropout(hidden, self.dropout_rate if self.training else 0.0, generator)
        return self.norm(self.mix(hidden))


class HeteroLayer(nn.Module):
    """GraphSAGE among targets and among references, averaged with CNDA between them, then LeakyReLU.

    Nodes without edges to the other kind average with zero.

    Examples
    --------
    >>> import numpy as np, torch, histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> line, none = csr_matrix(np.array([[0, 1], [1, 0]])), csr_matrix((3, 3))
    >>> graph = hq.nn.HeteroGraph.from_scipy(line, none, csr_matrix(np.array([[1, 1, 0], [0, 0, 1]])))
    >>> layer = hq.nn.HeteroLayer(8, n_heads=2).eval()
    >>> target, reference = layer(torch.ones(2, 8), torch.ones(3, 8), torch.ones(3, 8), graph, None)
    >>> target.shape, reference.shape
    (torch.Size([2, 8]), torch.Size([3, 8]))
    """

    def __init__(self, n_hidden: int = 256, *, n_heads: int = 4, dropout_rate: float = 0.1) -> None:
        super().__init__()
        self.targets = SAGELayer(n_hidden, n_hidden)
        self.references = SAGELayer(n_hidden, n_hidden)
        self.between = CrossNodeAttention(n_hidden, n_heads=n_heads, dropout_rate=dropout_rate)

    def forward(
        self,
        target: Tensor,
        reference: Tensor,
        expression: Tensor,
        graph: HeteroGraph,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Return the new states of targets and references.

        target: (n_targets, n_hidden); reference, expression (embedded): (n_references, n_hidden).
        """
        to_target, to_reference = self.between(target, reference, expression, graph.to_target, generator)
        target = (self.targets(target, graph.among_targets) + to_target) / 2
        reference = (self.references(reference, graph.among_references) + to_reference) / 2
        return functional.leaky_relu(target, SLOPE), functional.leaky_relu(reference, SLOPE)
