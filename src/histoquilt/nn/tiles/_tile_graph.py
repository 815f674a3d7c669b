"""Part of an undirected graph: core spots, whose output is computed, and the halo that it depends on."""

from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix, eye
from torch import Tensor

from histoquilt.nn.graph._sparse import Propagation

N_LAYERS = 3  # graph layers up to the reconstruction; the encoder's output comes after the second


class TileGraph:
    """A tile with its halo; outputs for the core equal those of the whole graph.

    Each layer is computed only for the spots that later layers read, with the degrees of the whole graph.

    Parameters
    ----------
    adjacency
        ``(n_inner, n_all)`` CSR: spots sorted by ring, the core first; the last ring has columns only. Every stored
        entry is an edge.
    ends
        Number of spots within 0, 1, ... hops of the core, ``(n_rings + 1,)``.
    degree
        Number of neighbours in the whole graph, ``(n_all,)``.
    places
        Number of each spot, the same in every tile, ``(n_all,)``; random draws depend on it.
    part_ends
        End of each part of the core, ``(n_parts,)``; the last is the number of core spots.
    device
        Device of the tensors.

    Raises
    ------
    ValueError
        There are fewer rings than graph layers.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> line = hq.gr.radius_adjacency(np.array([[x, 0] for x in range(5)]), radius=1)
    >>> graph = hq.nn.TileGraph.whole(line)
    >>> graph.n_core, graph.edges.tolist()
    (5, [[0, 1], [1, 2], [2, 3], [3, 4]])
    >>> graph.are_edges(np.array([[0, 1], [0, 2]])).tolist()
    [True, False]
    """

    def __init__(
        self,
        adjacency: csr_matrix,
        ends: np.ndarray,
        degree: np.ndarray,
        places: np.ndarray,
        part_ends: np.ndarray,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(ends) <= N_LAYERS:
            raise ValueError(f"{N_LAYERS} graph layers need as many rings around the core, got {len(ends) - 1}.")
        n_inner, n_all = adjacency.shape
        pattern = csr_matrix((np.ones(adjacency.nnz, np.int8), adjacency.indices, adjacency.indptr), adjacency.shape)
        with_loops = (pattern + eye(n_inner, n_all, dtype=np.int8, format="csr")).tocsr()
        with_loops.sort_indices()
        self._indptr, self._columns = with_loops.indptr, with_loops.indices
        self._rows = np.repeat(np.arange(n_inner), np.diff(self._indptr))
        self._ends, self._degree, self._device = ends, degree, device
        self._unhidden: dict[tuple[int, int], Propagation] = {}
        upper = self._rows < self._columns  # every edge with an inner end once
        keys = np.minimum(self._rows, self._columns).astype(np.int64) * n_all + np.maximum(self._rows, self._columns)
        edge_keys = keys[upper]
        self._edge_of_entry = np.where(self._rows == self._columns, len(edge_keys), np.searchsorted(edge_keys, keys))
        self._edge_keys = edge_keys
        self.edges = np.stack([self._rows[upper], self._columns[upper]], axis=1).astype(np.int64)
        self.n_edges = len(self.edges)
        self.n_spots = n_all
        self.places, self.part_ends = places, part_ends
        self.n_core = int(ends[0])
        self.n_read = int(ends[N_LAYERS])

    @classmethod
    def whole(cls, adjacency: csr_matrix, *, device: torch.device | str = "cpu") -> "TileGraph":
        """Return all spots as one part without a halo."""
        n_spots = adjacency.shape[0]
        ends, degree = np.full(5, n_spots), np.diff(adjacency.indptr)
        return cls(adjacency, ends, degree, np.arange(n_spots), np.array([n_spots]), device=device)

    @cached_property
    def owned_edges(self) -> tuple[np.ndarray, np.ndarray]:
        """Edges owned by core spots: numbers ``(n_owned,)``, and ends ``(n_owned, 2)`` with the owner first.

        The owner is the end with the lower place. Edges are sorted by owner and place of the other end, so order and
        ownership do not depend on how the tissue is divided into tiles.
        """
        swapped = self.places[self.edges[:, 0]] > self.places[self.edges[:, 1]]
        ends = np.where(swapped[:, None], self.edges[:, ::-1], self.edges)
        owned = np.flatnonzero(ends[:, 0] < self.n_core)
        owned = owned[np.lexsort((self.places[ends[owned, 1]], ends[owned, 0]))]
        return owned, ends[owned]

    def are_edges(self, pairs: np.ndarray) -> np.ndarray:
        """Return which pairs are edges, ``(n_pairs,)`` bool; pairs: ``(n_pairs, 2)``, one end in the core."""
        if self.n_edges == 0:
            return np.zeros(len(pairs), bool)
        keys = pairs.min(axis=1) * self.n_spots + pairs.max(axis=1)
        return self._edge_keys[np.searchsorted(self._edge_keys, keys).clip(max=self.n_edges - 1)] == keys

    def encoding(self, hidden: Tensor | None = None) -> list[Propagation]:
        """Return the GCN propagation of each encoder layer, without the hidden edges, ``(n_edges,)`` bool.

        With hidden edges, degrees are exact if there is one ring more than layers.
        """
        made: dict[tuple[int, int], Propagation] = {} if hidden is not None else self._unhidden
        return [self._layer(ring, hidden, made) for ring in (N_LAYERS, N_LAYERS - 1)]

    @property
    def decoding(self) -> Propagation:
        """The GCN propagation of the decoder, from the first ring to the core."""
        return self._layer(1, None, self._unhidden)

    def _layer(self, ring: int, hidden: Tensor | None, made: dict[tuple[int, int], Propagation]) -> Propagation:
        """Propagation from spots within ``ring`` hops to those within ``ring - 1``; ``made`` caches it by shape."""
        n_out, n_in = shape = int(self._ends[ring - 1]), int(self._ends[ring])
        if shape in made:
            return made[shape]
        n_entries = int(self._indptr[n_out])
        rows, columns = self._rows[:n_entries], self._columns[:n_entries]
        degree = self._degree + 1
        if hidden is not None:
            gone = hidden.cpu().numpy()
            ends_of_gone = self.edges[gone].ravel()
            degree = degree - np.bincount(ends_of_gone, minlength=self.n_spots)
            shown = ~np.append(gone, False)[self._edge_of_entry[:n_entries]]  # the last entry stands for self loops
            rows, columns = rows[shown], columns[shown]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n_out))])
        scale = 1 / np.sqrt(degree.astype(np.float32))
        matrix = csr_matrix((scale[rows] * scale[columns], columns, indptr), shape)
        made[shape] = Propagation.from_scipy(matrix, symmetric=n_out == n_in, device=self._device)
        return made[shape]
