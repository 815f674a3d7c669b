"""Tiles of a tissue: which spots are read together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from histoquilt.gr import among, halo, spatial_tiles
from histoquilt.models.domains._feature_model import Tissue
from histoquilt.nn import TileGraph
from histoquilt.runtime import n_processes

BATCH_SPOTS = 4096  # spots whose loss makes one step, and whose output is computed at a time


@dataclass(frozen=True)
class Tile:
    """One tile, or several together, with their halo.

    Attributes
    ----------
    rows
        Spots ``(n_all,)``, the core first, then ring by ring.
    graph
        Graph of these spots.
    """

    rows: np.ndarray
    graph: TileGraph

    @property
    def core(self) -> np.ndarray:
        """The spots whose output is wanted."""
        return self.rows[: self.graph.n_core]


@dataclass(frozen=True)
class Tiles:
    """The tiles of one or several sections.

    Attributes
    ----------
    order
        ``(n_spots,)`` spots sorted by tile.
    starts
        ``(n_tiles + 1,)``, tile ``t`` holds ``order[starts[t]:starts[t + 1]]``.
    adjacency
        ``(n_spots, n_spots)`` CSR of the spots in that order, so that a tile reads memory in one piece.
    """

    order: np.ndarray
    starts: np.ndarray
    adjacency: csr_matrix
    _last: list[Any] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, tissue: Tissue, tile_spots: int) -> "Tiles":
        """Divide the spots into tiles of at most ``tile_spots``."""
        tile = spatial_tiles(tissue.centres, tile_spots, sections=tissue.sections)
        order = np.argsort(tile, kind="stable")
        graph = tissue.adjacency
        pattern = csr_matrix((np.ones(graph.nnz, np.int8), graph.indices, graph.indptr), graph.shape)
        return cls(order, np.concatenate([[0], np.cumsum(np.bincount(tile))]), pattern[order][:, order])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def per_batch(self) -> int:
        """Number of tiles that are computed at a time."""
        return int(np.clip(round(BATCH_SPOTS * len(self) / len(self.order)), 1, len(self)))

    def per_part(self, n_parts: int) -> int:
        """Return the number of tiles that make up a part of a batch, fewer where there are not enough for all parts.

        Raises
        ------
        ValueError
            There are fewer tiles than parts.
        """
        if n_parts > len(self):
            raise ValueError(
                f"A batch of {n_parts} parts (n_parts of the config, or the processes that torchrun started) needs as "
                f"many tiles, and there are {len(self)}. Use fewer processes or parts, or smaller tiles (tile_spots)."
            )
        return min(self.per_batch, len(self) // n_parts)

    def cut(self, parts: Sequence[Sequence[int]], n_rings: int, device: torch.device) -> Tile:
        """Return tiles together, part after part, with as many rings of spots around them; the last one is kept."""
        asked = ([list(part) for part in parts], n_rings, device)
        if self._last and self._last[0] == asked:
            return self._last[1]
        cores = [np.arange(self.starts[number], self.starts[number + 1]) for part in parts for number in part]
        core = np.concatenate(cores)
        part_ends = np.cumsum([sum(self.starts[number + 1] - self.starts[number] for number in part) for part in parts])
        rows, ends = halo(self.adjacency, core, n_rings)
        local = among(self.adjacency, rows, int(ends[-2]))
        degree = self.adjacency.indptr[rows + 1] - self.adjacency.indptr[rows]
        tile = Tile(self.order[rows], TileGraph(local, ends, degree, rows, part_ends, device=device))
        self._last[:] = [asked, tile]  # in a small section every batch is the same
        return tile

    def in_batches(self) -> Iterator[range]:
        """Go once through all tiles, neighbouring ones together: their halos overlap least."""
        for first in range(0, len(self), self.per_batch):
            yield range(first, min(first + self.per_batch, len(self)))

    def scattered(self, rng: np.random.Generator, n_parts: int) -> Iterator[list[list[int]]]:
        """Draw batches of parts without end, each part of tiles from all over the tissue.

        Neighbouring tiles may lie in one domain, and then nothing in a part could be told apart. So tiles are divided
        into as many stretches as a part has tiles, and each part takes one from each, without return until a stretch
        is used up. No tile is twice in a batch.
        """
        stretches = np.array_split(np.arange(len(self)), self.per_part(n_parts))
        decks: list[list[int]] = [[] for _ in stretches]
        while True:
            for number, stretch in enumerate(stretches):
                rest = decks[number]
                if len(rest) < n_parts:
                    fresh = rng.permutation(stretch)
                    again = np.isin(fresh, rest)  # what is left goes first, and so again at the end of the next round
                    decks[number] = [*fresh[again].tolist(), *fresh[~again].tolist(), *rest]
            yield [[deck.pop() for deck in decks] for _ in range(n_parts)]


def parts_of_batch(n_parts: int) -> int:
    """Return how many parts a batch gets: those asked for, and more where each process is to have as many."""
    each = -(-n_parts // n_processes())
    return each * n_processes()
