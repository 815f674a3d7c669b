"""What one training step on tiles draws at random: a function of seed, step and spot, and of nothing else."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from histoquilt.nn.tiles._hashed import happens, random_bits_for
from histoquilt.nn.tiles._tile_graph import TileGraph
from histoquilt.runtime import torch_generator

_SPOT, _EDGE, _NEGATIVE, _DROPOUT = range(4)  # what numbers are drawn for
_ATTEMPTS = 64  # at a negative; a spot that is no neighbour to nearly all of its part needs one or two


@dataclass(frozen=True)
class ScoredPairs:
    """Hidden edges of one part and as many pairs that are none, for the edge scorer.

    Attributes
    ----------
    positive, negative
        ``(n_pairs, 2)`` int64, rows of the tile.
    generator
        For the scorer's dropout.
    """

    positive: Tensor
    negative: Tensor
    generator: torch.Generator


@dataclass(frozen=True)
class TileDraws:
    """The masks, negatives and dropout of one step.

    A process that computes some parts of a batch draws for them what one process draws that computes all.

    Attributes
    ----------
    seed, step
        Every step draws anew.
    first_part
        Number in the batch of the first part that is computed here.
    """

    seed: int
    step: int
    first_part: int = 0

    def masked(self, graph: TileGraph, rate: float) -> np.ndarray:
        """Choose spots to mask, each with this probability, ``(n_spots,)`` bool; of the halo, too."""
        return happens(rate, self.seed, self.step, _SPOT, graph.places)

    def hidden(self, graph: TileGraph, rate: float) -> np.ndarray:
        """Choose edges to hide, each with this probability, ``(n_edges,)`` bool; of the halo, too."""
        places = graph.places[graph.edges]
        return happens(rate, self.seed, self.step, _EDGE, places.min(axis=1), places.max(axis=1))

    def pairs(self, graph: TileGraph, hidden: np.ndarray) -> list[ScoredPairs]:
        """Return what the edge scorer is to tell apart, part by part.

        A hidden edge is scored beside a pair of its owner with another core spot of the part that is no neighbour;
        where the part has no such spot, it is not scored.
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
        """Return a pair for every hidden edge, ``(n_pairs, 2)``, and whether it was found."""
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
