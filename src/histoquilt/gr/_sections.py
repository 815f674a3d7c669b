"""Links between sections: to the adjacent ones of a stack by position, or across any pair by expression."""

from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree
from sklearn.neighbors import NearestNeighbors

from histoquilt._base import listed


def stack_links(coordinates: np.ndarray, section: Any, order: Sequence[str], n_links: int) -> csr_matrix:
    """Link every spot to its nearest spots in each adjacent section of a stack, whatever their distance in z.

    Unlike in a k-NN graph in three dimensions, the number of links does not depend on the gaps between sections.

    Parameters
    ----------
    coordinates
        ``(n_spots, 2)``, one frame for all sections, e.g. ``obsm["spatial_aligned"]`` in microns.
    section
        Name of the section of every spot, ``(n_spots,)``.
    order
        All section names, from one end of the stack to the other.
    n_links
        Links from each spot into each adjacent section; at least 1. A link is kept if either side has it.

    Returns
    -------
    ``(n_spots, n_spots)`` CSR float32 of ones with int32 indices, symmetric; no link inside a section, nor between
    sections that are not adjacent in ``order``. Join it to the graph inside sections with :func:`union_links`.

    Raises
    ------
    ValueError
        ``order`` does not name every section exactly once, lengths differ, a spot has no section, there is a single
        section, or ``n_links`` is less than 1.

    Examples
    --------
    Three sections of one spot each: the first and the last are not adjacent.

    >>> import numpy as np
    >>> stack_links(np.zeros((3, 2)), ["a", "b", "c"], order=["a", "b", "c"], n_links=1).toarray()
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]], dtype=float32)
    """
    rows_of = _rows_by_section(section, len(coordinates), n_links)
    names = [str(name) for name in order]
    if sorted(names) != sorted(rows_of):
        raise ValueError(
            f"order must name every section exactly once: it holds {listed(names)}, the sections are {listed(rows_of)}."
        )
    links = []
    for above, below in pairwise(names):
        for one, other in ((rows_of[above], rows_of[below]), (rows_of[below], rows_of[above])):
            k = min(n_links, len(other))
            nearest = cKDTree(coordinates[other]).query(coordinates[one], k=[*range(1, k + 1)], workers=-1)[1]
            links.append((np.repeat(one, k), other[nearest.ravel()]))
    return _symmetric_ones(links, len(coordinates))


def mutual_nearest_links(
    embedding: np.ndarray,
    section: Any,
    n_links: int,
    *,
    metric: Literal["cosine", "euclidean"] = "cosine",
) -> csr_matrix:
    """Link mutual nearest neighbours in expression across sections; needs no coordinates.

    Two spots are linked if each is among the ``n_links`` nearest of the other. Tissue that only one of the sections
    holds is therefore mostly left without links.

    Parameters
    ----------
    embedding
        Embedding ``(n_spots, n_dims)`` in one space for all sections, e.g. joint principal components.
    section
        Name of the section of every spot, ``(n_spots,)``.
    n_links
        Number of nearest neighbours considered in each other section; at least 1, and the maximum number of links of a
        spot into one section.
    metric
        ``"cosine"`` compares directions, independent of depth; ``"euclidean"`` compares positions. A spot at the origin
        has no direction and gets no link.

    Returns
    -------
    ``(n_spots, n_spots)`` CSR float32 of ones with int32 indices, symmetric, no link inside a section. The search is
    exact; time grows with the product of the sizes of two sections (less in at most 15 dimensions, by a tree).

    Raises
    ------
    ValueError
        ``metric`` is unknown, the embedding is not finite, lengths differ, a spot has no section, there is a single
        section, or ``n_links`` is less than 1.

    References
    ----------
    Haghverdi et al., Nature Biotechnology 36, 2018.

    Examples
    --------
    >>> import numpy as np
    >>> embedding = np.array([[1.0, 0.0], [0.0, 1.0], [5.0, 0.1], [0.1, 7.0]])
    >>> rows, columns = mutual_nearest_links(embedding, ["a", "a", "b", "b"], 1).nonzero()
    >>> [(int(row), int(column)) for row, column in zip(rows, columns)]
    [(0, 2), (1, 3), (2, 0), (3, 1)]
    """
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"Unknown metric {metric!r}; known are 'cosine', 'euclidean'.")
    rows_of = _rows_by_section(section, len(embedding), n_links)
    points = np.asarray(embedding, dtype=np.float64)
    if not np.isfinite(points).all():
        raise ValueError("embedding holds NaN or infinite values. Drop those spots, or embed them again.")
    if metric == "cosine":
        length = np.linalg.norm(points, axis=1)
        rows_of = {name: rows[length[rows] > 0] for name, rows in rows_of.items()}
        points = points / np.where(length > 0, length, 1)[:, None]  # nearest in angle is nearest on the unit sphere
    search = {name: NearestNeighbors().fit(points[rows]) for name, rows in rows_of.items() if len(rows)}
    links = []
    for one, other in combinations(search, 2):
        a, b = rows_of[one], rows_of[other]
        forth = search[other].kneighbors_graph(points[a], min(n_links, len(b)))  # (len(a), len(b))
        back = search[one].kneighbors_graph(points[b], min(n_links, len(a)))
        both = forth.multiply(back.T).tocoo()
        links.append((a[both.row], b[both.col]))
    return _symmetric_ones(links, len(points))


def union_links(*graphs: csr_matrix) -> csr_matrix:
    """Return a graph that links what any of the graphs links.

    Parameters
    ----------
    graphs
        Sparse ``(n_spots, n_spots)``, at least one. Stored values count as links, also 0: a distance of spots at one
        place.

    Returns
    -------
    CSR float32 of ones with int32 indices; symmetric if the graphs are.

    Raises
    ------
    ValueError
        There is no graph, or their shapes differ.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> union_links(csr_matrix([[0, 1], [0, 0]]), csr_matrix([[0, 5], [2, 0]])).toarray()
    array([[0., 1.],
           [1., 0.]], dtype=float32)
    """
    shapes = {graph.shape for graph in graphs}
    if len(shapes) != 1:
        raise ValueError(f"The graphs to join must be of one shape, got {listed(sorted(shapes)) or 'no graph'}.")
    [shape] = shapes
    pairs = [graph.tocoo() for graph in graphs]
    return _ones([pair.row for pair in pairs], [pair.col for pair in pairs], shape)


def _rows_by_section(section: Any, n_spots: int, n_links: int) -> dict[str, np.ndarray]:
    """Return section name -> row numbers, in order of appearance."""
    if n_links < 1 or n_links != int(n_links):
        raise ValueError(f"n_links must be a whole number of at least 1, got {n_links}.")
    codes, names = pd.factorize(pd.Series(section))
    if len(codes) != n_spots:
        raise ValueError(f"section must name one section per spot: {n_spots:,} spots, {len(codes):,} names.")
    if (codes < 0).any():
        raise ValueError(f"{(codes < 0).sum():,} of {n_spots:,} spots have no section. Name their section.")
    if len(names) < 2:
        raise ValueError(f"Links between sections need at least two of them, found {listed(names)}.")
    return {str(name): np.flatnonzero(codes == code) for code, name in enumerate(names)}


def _symmetric_ones(links: list[tuple[np.ndarray, np.ndarray]], n_spots: int) -> csr_matrix:
    rows, columns = [row for row, _ in links], [column for _, column in links]
    return _ones([*rows, *columns], [*columns, *rows], (n_spots, n_spots))


def _ones(rows: list[np.ndarray], columns: list[np.ndarray], shape: tuple[int, int]) -> csr_matrix:
    """Build a CSR matrix of ones from pairs that may repeat, with sorted int32 indices."""
    row = np.concatenate(rows).astype(np.int32) if rows else np.zeros(0, np.int32)
    column = np.concatenate(columns).astype(np.int32) if columns else np.zeros(0, np.int32)
    graph = csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape)
    graph.sum_duplicates()
    graph.data[:] = 1.0
    graph.indices, graph.indptr = graph.indices.astype(np.int32), graph.indptr.astype(np.int32)
    return graph
