"""From coordinates to a symmetric sparse distance matrix; no AnnData, no n x n array."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix, csr_matrix
from scipy.spatial import cKDTree


def knn_adjacency(coordinates: np.ndarray, n_neighbors: int) -> csr_matrix:
    """Link every spot to its nearest spots, in either direction.

    A link is kept if either side has it, so every spot has at least ``n_neighbors`` links (if there are that many other
    spots). Among equally distant spots, as at the borders of a perfect lattice, the choice is arbitrary but
    reproducible.

    Parameters
    ----------
    coordinates
        ``(n_spots, 2 or 3)``, any unit.
    n_neighbors
        Links from each spot; at least 1.

    Returns
    -------
    Distances, ``(n_spots, n_spots)`` CSR float64 with int32 indices, symmetric, no self loops. Spots with equal
    coordinates are linked at distance 0, stored explicitly.

    Raises
    ------
    ValueError
        ``n_neighbors`` is less than 1.

    Examples
    --------
    >>> import numpy as np
    >>> knn_adjacency(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), 1).toarray()
    array([[0., 1., 0.],
           [1., 0., 2.],
           [0., 2., 0.]])
    """
    if n_neighbors < 1 or n_neighbors != int(n_neighbors):
        raise ValueError(f"n_neighbors must be a whole number of at least 1, got {n_neighbors}.")
    n_spots = len(coordinates)
    k = min(n_neighbors, n_spots - 1)
    if k < 1:
        return csr_matrix((n_spots, n_spots))
    # one more: a spot finds itself, but not always first if coordinates repeat
    distances, indices = cKDTree(coordinates).query(coordinates, k=k + 1, workers=-1)
    others = indices != np.arange(n_spots)[:, None]
    others[others.all(axis=1), -1] = False  # itself was not found among its doubles: drop the farthest
    columns, distances = indices[others].astype(np.int32), distances[others]
    del indices, others  # as large as the graph
    return _symmetric(np.repeat(np.arange(n_spots, dtype=np.int32), k), columns, distances, n_spots)


def radius_adjacency(coordinates: np.ndarray, radius: float) -> csr_matrix:
    """Link all pairs of spots that are at most ``radius`` apart.

    Coordinates are ``(n_spots, 2 or 3)``, the result is as of :func:`knn_adjacency`; a spot without neighbours has an
    empty row. Raises ``ValueError`` unless ``radius`` is positive.

    Examples
    --------
    >>> import numpy as np
    >>> radius_adjacency(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), radius=1.5).toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    if not np.isfinite(radius) or radius <= 0:
        raise ValueError(f"radius must be positive, got {radius}.")
    pairs = cKDTree(coordinates).query_pairs(radius, output_type="ndarray")
    distances = np.linalg.norm(coordinates[pairs[:, 0]] - coordinates[pairs[:, 1]], axis=1)
    return _symmetric(pairs[:, 0], pairs[:, 1], distances, len(coordinates))


def grid_adjacency(coordinates: np.ndarray, n_neighbors: int) -> csr_matrix:
    """Link the spots of a regular lattice to their direct neighbours: 6 on Visium's hexagons, 4 on legacy ST's squares.

    Unlike in a k-NN graph, no link is longer than 1.3 times the pitch (the second ring is at 1.41 on squares, 1.73 on
    hexagons), so that spots at borders and holes have fewer.

    Coordinates are ``(n_spots, 2)``, ``n_neighbors`` is 6 or 4; result and errors are those of :func:`knn_adjacency`.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[x, y] for x in range(3) for y in range(3)], dtype=float)
    >>> np.diff(grid_adjacency(square, 4).indptr).tolist()
    [2, 3, 2, 3, 4, 3, 2, 3, 2]
    """
    return direct_links(knn_adjacency(coordinates, n_neighbors), np.zeros(len(coordinates), dtype=int))


def direct_links(distances: csr_matrix, section: np.ndarray) -> csr_matrix:
    """Return the links of at most 1.3 times the pitch, the median distance of a spot to its nearest in its section.

    ``section`` is the number of the section of every spot, ``(n_spots,)``.
    """
    coo = distances.tocoo()
    apart = coo.data > 0  # spots that share their place say nothing about the pitch
    nearest = np.full(len(section), np.inf)
    np.minimum.at(nearest, coo.row[apart], coo.data[apart])
    linked = np.isfinite(nearest)
    pitch = pd.Series(nearest[linked]).groupby(section[linked]).median()
    limit = 1.3 * pitch.reindex(range(section.max(initial=0) + 1), fill_value=np.inf).to_numpy()
    near = coo.data <= limit[section[coo.row]]
    return csr_matrix((coo.data[near], (coo.row[near], coo.col[near])), distances.shape)


def _symmetric(rows: np.ndarray, columns: np.ndarray, distances: np.ndarray, n_spots: int) -> csr_matrix:
    """Store every pair once in each direction, including pairs at distance 0.

    Duplicates are removed with the smaller row first, which takes half the memory of sorting both directions.
    """
    keys = np.minimum(rows, columns).astype(np.int64)
    keys *= n_spots
    keys += np.maximum(rows, columns)
    keys, first = np.unique(keys, return_index=True)
    low, high = (part.astype(np.int32) for part in np.divmod(keys, max(n_spots, 1)))
    values = distances[first]
    del keys, first
    both = np.concatenate([low, high]), np.concatenate([high, low])
    graph = coo_matrix((np.concatenate([values, values]), both), shape=(n_spots, n_spots)).tocsr()
    graph.sort_indices()
    graph.indices, graph.indptr = graph.indices.astype(np.int32), graph.indptr.astype(np.int32)
    return graph
