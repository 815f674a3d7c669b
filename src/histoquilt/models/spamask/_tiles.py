"""Tiles of a tissue, and batches of tiles."""

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

BATCH_SPOTS = 4096  # spots per batch


@dataclass(frozen=True)
class Tile:
    """One or several tiles with their halo."""

    rows: np.ndarray  # (n_all,) spots, the core first, then ring by ring
    graph: TileGraph

    @property
    def core(self) -> np.ndarray:
        """Spots whose output is computed."""
        return self.rows[: self.graph.n_core]


@dataclass(frozen=True)
class Tiles:
    """Tiles of one or several sections."""

    order: np.ndarray  # (n_spots,) spots sorted by tile
    starts: np.ndarray  # (n_tiles + 1,) tile t holds order[starts[t]:starts[t + 1]]
    adjacency: csr_matrix  # (n_spots, n_spots) of the spots in that order, so that a tile is contiguous in memory
    _last: list[Any] = field(default_factory=list, repr=False)  # arguments and result of the last cut

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
        """Number of tiles in a batch."""
        return int(np.clip(round(BATCH_SPOTS * len(self) / len(self.order)), 1, len(self)))

    def per_part(self, n_parts: int) -> int:
        """Return the number of tiles per part of a batch; ``ValueError`` if there are fewer tiles than parts."""
        if n_parts > len(self):
            raise ValueError(
                f"A batch of {n_parts} parts (n_parts of the config, or the processes that torchrun started) needs as "
                f"many tiles, and there are {len(self)}. Use fewer processes or parts, or smaller tiles (tile_spots)."
            )
        return min(self.per_batch, len(self) // n_parts)

    def cut(self, parts: Sequence[Sequence[int]], n_rings: int, device: torch.device) -> Tile:
        """Join tiles, part after part, with ``n_rings`` rings of spots around them; the last result is cached."""
        arguments = ([list(part) for part in parts], n_rings, device)
        if self._last and self._last[0] == arguments:
            return self._last[1]
        core = np.concatenate([np.arange(*self.starts[number : number + 2]) for part in parts for number in part])
        part_ends = np.cumsum([sum(np.diff(self.starts)[list(part)]) for part in parts])
        rows, ends = halo(self.adjacency, core, n_rings)
        local = among(self.adjacency, rows, int(ends[-2]))
        degree = self.adjacency.indptr[rows + 1] - self.adjacency.indptr[rows]
        tile = Tile(self.order[rows], TileGraph(local, ends, degree, rows, part_ends, device=device))
        self._last[:] = [arguments, tile]  # all batches of a small section are the same
        return tile

    def in_batches(self) -> Iterator[range]:
        """Yield all tiles in batches of neighbouring tiles, which have the smallest halos."""
        for first in range(0, len(self), self.per_batch):
            yield range(first, min(first + self.per_batch, len(self)))

    def scattered(self, rng: np.random.Generator, n_parts: int) -> Iterator[list[list[int]]]:
        """Draw an endless sequence of batches; each part has tiles from all over the tissue.

        Tiles are divided into as many stretches as a part has tiles, and each part takes one tile from each stretch,
        without replacement until a stretch is used up. No tile occurs twice in a batch.
        """
        stretches = np.array_split(np.arange(len(self)), self.per_part(n_parts))
        decks: list[list[int]] = [[] for _ in stretches]
        while True:
            for number, stretch in enumerate(stretches):
                rest = decks[number]
                if len(rest) < n_parts:
                    fresh = rng.permutation(stretch)
                    again = np.isin(
                        fresh, rest
                    )  # tiles left over are drawn first, and not again before the end of the next round
                    decks[number] = [*fresh[again].tolist(), *fresh[~again].tolist(), *rest]
            yield [[deck.pop() for deck in decks] for _ in range(n_parts)]


def parts_of_batch(n_parts: int) -> int:
    """Return the number of parts of a batch: ``n_parts``, rounded up to a multiple of the number of processes."""
    return -(-n_parts // n_processes()) * n_processes()
