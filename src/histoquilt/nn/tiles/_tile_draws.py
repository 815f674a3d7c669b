"""Random masks, negatives and dropout of a training step on tiles, as functions of seed, step and spot."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from histoquilt.nn.tiles._hashed import happens, random_bits_for
from histoquilt.nn.tiles._tile_graph import TileGraph
from histoquilt.runtime import torch_generator

_SPOT, _EDGE, _NEGATIVE, _DROPOUT = range(4)  # purposes of random numbers
_ATTEMPTS = 64  # at drawing a negative; one or two suffice unless a spot neighbours most of its part


@dataclass(frozen=True)
class ScoredPairs:
    """Hidden edges of one part and as many pairs without an edge, for the edge scorer."""

    positive: Tensor  # (n_pairs, 2) int64, rows of the tile
    negative: Tensor  # (n_pairs, 2)
    generator: torch.Generator  # for the scorer's dropout


@dataclass(frozen=True)
class TileDraws:
    """Masks, negatives and dropout of one step, the same however the parts of a batch are divided among processes.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> graph = hq.nn.TileGraph.whole(hq.gr.knn_adjacency(np.random.default_rng(0).random((1000, 2)), 4))
    >>> masked = hq.nn.TileDraws(seed=0, step=1).masked(graph, rate=0.3)
    >>> masked.shape, round(float(masked.mean()), 1)
    ((1000,), 0.3)
    """

    seed: int
    step: int
    first_part: int = 0  # number in the batch of this process's first part

    def masked(self, graph: TileGraph, rate: float) -> np.ndarray:
        """Choose spots to mask, core and halo, each with probability ``rate``, ``(n_spots,)`` bool."""
        return happens(rate, self.seed, self.step, _SPOT, graph.places)

    def hidden(self, graph: TileGraph, rate: float) -> np.ndarray:
        """Choose edges to hide, core and halo, each with probability ``rate``, ``(n_edges,)`` bool."""
        places = graph.places[graph.edges]
        return happens(rate, self.seed, self.step, _EDGE, places.min(axis=1), places.max(axis=1))

    def pairs(self, graph: TileGraph, hidden: np.ndarray) -> list[ScoredPairs]:
        """Return the pairs of each part for the edge scorer.

        The negative of a hidden edge joins its owner with a random core spot of the part that is not a neighbour;
        hidden edges for which none is found are not scored.
        """
        numbers, ends = graph.owned_edges
        positive = ends[hidden[numbers]]
        part = np.searchsorted(graph.part_ends, positive[:, 0], side="right")
        negative, found = self._negatives(graph, positive, part)
        positive, negative, part = positive[found], negative[found], part[found]
        stops = np.searchsorted(part, np.arange(len(graph.part_ends) + 1))
        return [
            ScoredPairs(
                torch.from_numpy(positive[start:stop]),
                torch.from_numpy(negative[start:stop]),
                torch_generator(int(random_bits_for(self.seed, self.step, _DROPOUT, self.first_part + number)[0] >> 1)),
            )
            for number, (start, stop) in enumerate(pairwise(stops))
        ]

    def _negatives(self, graph: TileGraph, positive: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Draw a negative for every hidden edge, ``(n_pairs, 2)``; return also which were found."""
        starts = np.concatenate([[0], graph.part_ends[:-1]])[part]
        sizes = (graph.part_ends[part] - starts).astype(np.uint64)
        negative, found = positive.copy(), np.zeros(len(positive), bool)
        owner, other = graph.places[positive].T
        for attempt in range(_ATTEMPTS):
            left = np.flatnonzero(~found)
            if len(left) == 0:
                break
            bits = random_bits_for(self.seed, self.step, _NEGATIVE, attempt, owner[left], other[left])
            negative[left, 1] = starts[left] + (bits % sizes[left]).astype(np.int64)
            pairs = negative[left]
            found[left] = (pairs[:, 0] != pairs[:, 1]) & ~graph.are_edges(pairs)
        return negative, found
