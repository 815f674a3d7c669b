"""SpaHGC's graph of one section: its spots, their references in other sections, and all edges."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from histoquilt.models._ridge_path import RidgePath
from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.nn import HeteroGraph, nearest_references
from histoquilt.study import nearest_distance

_NEAR = 1.5  # pitches
_ALPHA, _N_DIRECTIONS = 0.001, 8  # penalty and width of the space in which references are searched


@dataclass(frozen=True)
class NetworkSection:
    """Inputs of the network for one section."""

    group: str  # sections of the same group are not references of each other
    x: np.ndarray  # (n_spots, n_inputs) float32 image features
    centres_um: np.ndarray  # (n_spots, 2)
    y: np.ndarray | None = None  # (n_spots, n_genes) float32 measured expression; None in prediction
    weights: np.ndarray | None = None  # (n_spots,) of the squared error

    @property
    def measured(self) -> np.ndarray:
        """Measured expression of a training section."""
        assert self.y is not None, "training sections have measured expression"
        return self.y


@dataclass(frozen=True)
class ReferenceBank:
    """Spots of all training sections, candidates for references."""

    x: np.ndarray  # (n_spots, n_inputs) float32 image features
    expression: np.ndarray  # (n_spots, n_genes) float32 measured expression, standardised gene by gene
    group: np.ndarray  # (n_spots,) index into groups
    groups: tuple[str, ...]

    @classmethod
    def of(cls, sections: Sequence[NetworkSection]) -> "ReferenceBank":
        """Join training sections."""
        groups = tuple(dict.fromkeys(section.group for section in sections))
        measured = np.concatenate([section.measured for section in sections])
        spread = measured.std(axis=0)
        return cls(
            np.concatenate([section.x for section in sections]),
            (measured - measured.mean(axis=0)) / np.where(spread > 0, spread, 1).astype(np.float32),
            np.concatenate([np.full(len(section.x), groups.index(section.group)) for section in sections]),
            groups,
        )

    def without(self, group: str) -> np.ndarray:
        """Return the rows of all spots outside a group."""
        if group not in self.groups:
            return np.arange(len(self.x))
        return np.flatnonzero(self.group != self.groups.index(group))


@dataclass(frozen=True)
class SectionGraph:
    """Inputs of a forward pass."""

    target: torch.Tensor  # (n_targets, n_inputs)
    reference: torch.Tensor  # (n_references, n_inputs + n_genes) image features and expression
    graph: HeteroGraph


def search_directions(
    sections: Sequence[NetworkSection], config: SpaHGCConfig, *, without: str | None = None
) -> np.ndarray | None:
    """Learn the directions in which references are searched, from training sections outside a group.

    Returns ``(n_inputs, n_directions)`` float64; ``None`` if the inputs themselves are compared, or no section is left.
    """
    others = [section for section in sections if section.group != without]
    if config.retrieval == "cosine" or not others:
        return None
    x, y, weights = (
        np.concatenate(parts)
        for parts in zip(*((one.x, one.measured, np.ones(len(one.x)) if one.weights is None else one.weights)
                           for one in others), strict=True)
    )  # fmt: skip
    return RidgePath.fit(x, y, weights).leading_directions(_ALPHA, _N_DIRECTIONS)


def build_graph(
    section: NetworkSection,
    bank: ReferenceBank,
    directions: np.ndarray | None,
    config: SpaHGCConfig,
    device: torch.device,
) -> SectionGraph:
    """Find the references of a section's spots and build all edges; the section's own expression is not used.

    ``directions`` are those of :func:`search_directions`. A reference of several targets is one node. Raises
    ``ValueError`` if the bank has no spot of another group.
    """
    allowed = bank.without(section.group)
    if len(allowed) == 0:
        raise ValueError("SpaHGC takes references from other training sections (or patients), and there are none.")
    query, candidates = section.x, bank.x[allowed]
    if directions is not None:
        query, candidates = query @ directions, candidates @ directions
    nearest = nearest_references(
        torch.from_numpy(query).to(device),
        torch.from_numpy(candidates).to(device),
        min(config.n_references, len(allowed)),
        metric="cosine" if directions is None else "euclidean",
    )
    spots = allowed[nearest.index.cpu().numpy()]  # (n_targets, k) rows of the bank
    used, columns = np.unique(spots, return_inverse=True)
    columns = columns.reshape(spots.shape)
    to_target = _rows_to_adjacency(columns, (len(section.x), len(used)))
    if not config.use_references:
        to_target = csr_matrix(to_target.shape, dtype=np.float32)
    reference = torch.from_numpy(np.hstack([bank.x[used], bank.expression[used]])).to(device)
    graph = HeteroGraph.from_scipy(
        near_targets(section.centres_um, config.n_target_neighbours),
        _similar(reference, config.n_reference_neighbours),
        to_target,
        device=device,
    )
    return SectionGraph(torch.from_numpy(section.x).to(device), reference, graph)


def near_targets(centres_um: np.ndarray, n_neighbours: int) -> csr_matrix:
    """Return the directed adjacency to the nearest spots, at most ``n_neighbours``, within 1.5 pitches."""
    n_spots = len(centres_um)
    k = min(n_neighbours, n_spots - 1)
    if k < 1:
        return csr_matrix((n_spots, n_spots), dtype=np.float32)
    reach = _NEAR * nearest_distance(centres_um)
    distances, numbers = cKDTree(centres_um).query(centres_um, k=k + 1, distance_upper_bound=reach)
    is_near = np.isfinite(distances) & (numbers != np.arange(n_spots)[:, None])
    rows = np.repeat(np.arange(n_spots), is_near.sum(axis=1))
    return csr_matrix((np.ones(len(rows), np.float32), (rows, numbers[is_near])), shape=(n_spots, n_spots))


def _similar(reference: torch.Tensor, k: int) -> csr_matrix:
    """Return the directed adjacency from every reference to its ``k`` most similar others."""
    n = len(reference)
    k = min(k, n - 1)
    if k < 1:
        return csr_matrix((n, n), dtype=np.float32)
    numbers = nearest_references(reference, reference, k + 1).index.cpu().numpy()
    itself = numbers == np.arange(n)[:, None]
    itself[~itself.any(axis=1), -1] = True  # duplicates of a reference may displace it from its own list
    return _rows_to_adjacency(numbers[~itself].reshape(n, k), (n, n))


def _rows_to_adjacency(columns: np.ndarray, shape: tuple[int, int]) -> csr_matrix:
    rows = np.repeat(np.arange(len(columns)), columns.shape[1])
    return csr_matrix((np.ones(columns.size, np.float32), (rows, columns.ravel())), shape=shape)
