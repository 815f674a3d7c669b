"""Weights of links by the similarity of what they join."""

from dataclasses import replace

import numpy as np

from histoquilt.gr._neighbors import SpatialGraph

_LEAST = 1e-3  # a link stays a link
_VALUES_PER_CHUNK = 2**24  # 64 MB of float32


def weigh_links(graph: SpatialGraph, vectors: np.ndarray, *, name: str) -> SpatialGraph:
    """Weigh the links of a graph by the cosine of the vectors of the spots they join.

    The weight is the square of ``(1 + cosine) / 2``: 1 for the same direction, 1/4 for perpendicular ones, and next to
    nothing for opposite ones. Weights are divided by their mean, so that an average link weighs as much as in the
    graph of equal weights. A vector of length 0 has cosine 0 with all others.

    Parameters
    ----------
    graph
        Links of ``n_spots``; not changed.
    vectors
        Descriptions of the spots, ``(n_spots, n_features)``, centred.
    name
        Name of the vectors, for ``params["weights"]``.

    Returns
    -------
    The graph with ``weights``.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.gr import SpatialGraph, knn_adjacency
    >>> line = knn_adjacency(np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]), 1)
    >>> graph = SpatialGraph(line, np.zeros(3, int), {})
    >>> weigh_links(graph, np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), name="toy").connectivities.toarray().round(2)
    array([[0. , 1.6, 0. ],
           [1.6, 0. , 0.4],
           [0. , 0.4, 0. ]], dtype=float32)
    """
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros(vectors.shape, np.float32), where=length > 0)
    links = graph.distances
    row = np.repeat(np.arange(links.shape[0]), np.diff(links.indptr))
    cosine = np.empty(links.nnz, np.float32)
    step = max(1, _VALUES_PER_CHUNK // max(1, vectors.shape[1]))
    for start in range(0, links.nnz, step):
        part = slice(start, start + step)
        cosine[part] = np.einsum("ij,ij->i", unit[row[part]], unit[links.indices[part]])
    weights = np.maximum(((1 + cosine) / 2) ** 2, _LEAST)
    return replace(graph, weights=weights / (weights.mean() or 1), params={**graph.params, "weights": name})
