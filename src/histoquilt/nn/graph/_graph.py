"""The undirected graph that a GCN runs on, whose edges can be hidden for one training step."""

from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from histoquilt.nn.graph._sparse import Propagation, csr_tensor


class UndirectedGraph:
    """An undirected graph with self loops, ready for GCN propagation and for hiding edges.

    Parameters
    ----------
    adjacency
        ``(n_spots, n_spots)`` CSR, symmetric in its pattern, no self loops; stored values are ignored, every stored
        entry is an edge (also one at distance 0).
    device
        Where the tensors live.

    Raises
    ------
    ValueError
        The adjacency is not square, not symmetric, or stores self loops.
    """

    def __init__(self, adjacency: csr_matrix, *, device: torch.device | str = "cpu") -> None:
        _check_undirected(adjacency)
        n_spots = adjacency.shape[0]
        pattern = csr_matrix((np.ones(adjacency.nnz, np.int8), adjacency.indices, adjacency.indptr), adjacency.shape)
        with_loops = (pattern + csr_matrix((np.ones(n_spots, np.int8), (range(n_spots), range(n_spots))))).tocsr()
        with_loops.sort_indices()
        rows = np.repeat(np.arange(n_spots), np.diff(with_loops.indptr))
        columns = with_loops.indices
        upper = rows < columns
        # every stored entry knows its undirected edge, so that both directions are hidden together; loops have none
        keys = np.minimum(rows, columns).astype(np.int64) * n_spots + np.maximum(rows, columns)
        edge_keys = keys[upper]  # sorted, since rows are
        edge_of_entry = np.where(rows == columns, len(edge_keys), np.searchsorted(edge_keys, keys))

        self.n_spots = n_spots
        self.n_edges = int(upper.sum())
        self.edges = torch.from_numpy(np.stack([rows[upper], columns[upper]], axis=1).astype(np.int64)).to(device)
        self._edge_keys = torch.from_numpy(edge_keys).to(device)
        self._rows = torch.from_numpy(rows.astype(np.int64)).to(device)
        self._columns = torch.from_numpy(columns.astype(np.int32)).to(device)
        self._edge_of_entry = torch.from_numpy(edge_of_entry.astype(np.int64)).to(device)
        self.propagation = self.without(torch.zeros(self.n_edges, dtype=torch.bool, device=device))

    @property
    def n_read(self) -> int:
        """Number of spots that the network reads: all."""
        return self.n_spots

    def n_within(self, n_hops: int) -> int:
        """Return the number of spots that some averagings read: all."""
        return self.n_spots

    @property
    def n_core(self) -> None:
        """Number of spots whose output is wanted, where others are there for their sake: all are wanted."""
        return None

    @property
    def is_complete(self) -> bool:
        """Whether all pairs of spots are edges, so that there is no true negative."""
        return self.n_edges == self.n_spots * (self.n_spots - 1) // 2

    def encoding(self, hidden: Tensor | None = None) -> Propagation:
        """Return the propagation of the encoder's layers, less the hidden edges."""
        return self.propagation if hidden is None else self.without(hidden)

    @property
    def decoding(self) -> Propagation:
        """The propagation of the decoder."""
        return self.propagation

    def averagings(self, n_hops: int) -> Propagation:
        """Return :attr:`averaging`, the same for any number of them."""
        return self.averaging

    def without(self, hidden: Tensor) -> Propagation:
        """Return the GCN propagation ``D^-1/2 (A + I) D^-1/2`` of the graph less the hidden edges.

        Parameters
        ----------
        hidden
            ``(n_edges,)`` bool, one entry per undirected edge of :attr:`edges`. Self loops are never hidden.
        """
        shown = torch.cat([~hidden, hidden.new_ones(1)])[self._edge_of_entry]  # the added last entry stands for loops
        rows, columns = self._rows[shown], self._columns[shown]
        degree = torch.bincount(rows, minlength=self.n_spots)
        scale = degree.to(torch.float32).rsqrt()
        indptr = torch.zeros(self.n_spots + 1, dtype=torch.int32, device=rows.device)
        indptr[1:] = torch.cumsum(degree, 0)
        matrix = csr_tensor(indptr, columns, scale[rows] * scale[columns.long()], (self.n_spots, self.n_spots))
        return Propagation(matrix, matrix)

    @cached_property
    def averaging(self) -> Propagation:
        """The mean over a spot and its neighbours, ``D^-1 (A + I)``; not symmetric, so the transpose is stored too."""
        symmetric = self.propagation.matrix
        degree = symmetric.crow_indices().diff().to(torch.float32)
        shape = (self.n_spots, self.n_spots)
        of_row, of_column = (1 / degree[index] for index in (self._rows, self._columns.long()))
        parts = symmetric.crow_indices(), symmetric.col_indices()
        return Propagation(csr_tensor(*parts, of_row, shape), csr_tensor(*parts, of_column, shape))

    def sample_non_edges(self, n_pairs: int, generator: torch.Generator) -> Tensor:
        """Draw pairs of different spots that are no edge of the whole graph, ``(n_pairs, 2)`` int64.

        Raises
        ------
        ValueError
            The graph is complete: there is no such pair.
        """
        if self.is_complete and n_pairs > 0:
            raise ValueError(f"All {self.n_spots} spots are neighbours of each other, so no pair is a true negative.")
        found: list[Tensor] = [torch.zeros((0, 2), dtype=torch.int64, device=self._edge_keys.device)]
        missing = n_pairs
        while missing > 0:  # rejection: sparse graphs accept almost every pair, so this ends after one or two rounds
            pairs = torch.randint(self.n_spots, (missing + missing // 8 + 8, 2), generator=generator)
            pairs = pairs.to(self._edge_keys.device)
            low, high = pairs.min(dim=1).values, pairs.max(dim=1).values
            pairs = pairs[(low != high) & ~self._is_edge(low * self.n_spots + high)][:missing]
            found.append(pairs)
            missing -= len(pairs)
        return torch.cat(found)

    def _is_edge(self, keys: Tensor) -> Tensor:
        if self.n_edges == 0:
            return torch.zeros_like(keys, dtype=torch.bool)
        position = torch.searchsorted(self._edge_keys, keys).clamp_(max=self.n_edges - 1)
        return self._edge_keys[position] == keys


def _check_undirected(adjacency: csr_matrix) -> None:
    if adjacency.shape[0] != adjacency.shape[1]:
        raise ValueError(f"An undirected graph needs a square adjacency, got shape {adjacency.shape}.")
    pattern = csr_matrix((np.ones(adjacency.nnz, np.int8), adjacency.indices, adjacency.indptr), adjacency.shape)
    if pattern.diagonal().any():
        raise ValueError("The adjacency stores self loops; remove them, the network adds its own.")
    if (pattern != pattern.T).nnz:
        raise ValueError("The adjacency is directed; symmetrise it first, e.g. adjacency.maximum(adjacency.T).")
