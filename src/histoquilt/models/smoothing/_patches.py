"""Samples of a large graph that keep neighbours together: patches scattered over the tissue."""

import numpy as np
from scipy.sparse import csr_matrix

_PATCHES = 32  # of about 1,500 spots each: wide enough for inner spots, and many enough to cover every structure
_LEAST_INNER = 1000  # spots


def scattered_patches(adjacency: csr_matrix, n_most: int, *, seed: int = 0) -> np.ndarray:
    """Choose at most ``n_most`` spots in patches all over the graph; return ascending row numbers.

    One spot is drawn from each of 32 equal stretches of rows, which covers all sections and most of the tissue. All
    patches grow around these by one hop at a time until the next hop would exceed ``n_most``. More are started if the
    graph consists of small components. adjacency: ``(n_spots, n_spots)`` CSR, symmetric.
    """
    rng = np.random.default_rng(seed)
    taken = np.zeros(adjacency.shape[0], bool)
    n_most = min(n_most, adjacency.shape[0])
    n_taken, n_starts = 0, min(_PATCHES, n_most)
    while n_taken < n_most:
        free = np.flatnonzero(~taken)
        edges = np.linspace(0, len(free), min(n_starts, n_most - n_taken) + 1)
        front = free[(edges[:-1] + rng.uniform(size=len(edges) - 1) * np.diff(edges)).astype(int)]
        while len(front) and n_taken + len(front) <= n_most:
            taken[front] = True
            n_taken += len(front)
            reached = np.unique(adjacency[front].indices)
            front = reached[~taken[reached]]
        if len(front):
            break
        n_starts *= 2  # every patch fills its component
    return np.flatnonzero(taken)


def inner_spots(adjacency: csr_matrix, sample: np.ndarray, n_hops: int) -> np.ndarray:
    """Return which spots of a sample lie more than ``n_hops - 1`` hops inside it, ``(n_sampled,)`` bool.

    For these, ``n_hops`` averagings over neighbours give the same as in the whole graph. Fewer hops are used if fewer
    than 1,000 spots would remain.
    """
    links = adjacency[sample][:, sample]
    outer = np.diff(links.indptr) < np.diff(adjacency.indptr)[sample]
    for _ in range(n_hops - 1):
        wider = outer | (links @ outer.astype(np.float32) > 0)
        if len(outer) - wider.sum() < _LEAST_INNER:
            break
        outer = wider
    return ~outer
