"""A sample of a large graph in which neighbours stay together: whole patches of tissue, scattered over all of it."""

import numpy as np
from scipy.sparse import csr_matrix

_PATCHES = 32  # of about 1,500 spots each: wide enough for an inside, and enough of them to meet every structure
_LEAST_INNER = 1000  # spots


def scattered_patches(adjacency: csr_matrix, n_most: int, *, seed: int = 0) -> np.ndarray:
    """Choose patches of neighbouring spots, all over the graph.

    One spot is drawn from each of 32 equal stretches of rows, so that every section and, where spots are stored in an
    order that has to do with the tissue, every part of it is met. Patches grow around these by one hop at a time, all
    at once, until the next hop would exceed ``n_most``. Where the graph falls into small pieces, more are begun.
    Work is proportional to the sample.

    Parameters
    ----------
    adjacency
        ``(n_spots, n_spots)`` CSR, symmetric.
    n_most
        Upper bound on the number of spots; all are taken where it exceeds them.
    seed
        For the spots that patches start from.

    Returns
    -------
    Row numbers, ascending.
    """
    rng = np.random.default_rng(seed)
    taken = np.zeros(adjacency.shape[0], bool)
    n_most = min(n_most, adjacency.shape[0])
    n_taken, n_starts = 0, min(_PATCHES, n_most)
    while n_taken < n_most:
        front = _starts(np.flatnonzero(~taken), min(n_starts, n_most - n_taken), rng)
        while len(front) and n_taken + len(front) <= n_most:
            taken[front] = True
            n_taken += len(front)
            reached = np.unique(adjacency[front].indices)
            front = reached[~taken[reached]]
        if len(front):
            break
        n_starts *= 2  # every patch has reached the end of its piece
    return np.flatnonzero(taken)


def _starts(free: np.ndarray, n_starts: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one of each of ``n_starts`` equal stretches."""
    edges = np.linspace(0, len(free), n_starts + 1)
    return free[(edges[:-1] + rng.uniform(size=n_starts) * np.diff(edges)).astype(int)]


def inner_spots(adjacency: csr_matrix, sample: np.ndarray, n_hops: int) -> np.ndarray:
    """Tell which spots of a sample lie more than ``n_hops - 1`` hops inside it, ``(n_sampled,)`` bool.

    So many averagings over the neighbours are there as they are in the whole graph. Where fewer than 1,000 spots would
    be left, as many hops count as leave them.
    """
    links = adjacency[sample][:, sample]
    outer = np.diff(links.indptr) < np.diff(adjacency.indptr)[sample]
    for _ in range(n_hops - 1):
        wider = outer | (links @ outer.astype(np.float32) > 0)
        if len(outer) - wider.sum() < _LEAST_INNER:
            break
        outer = wider
    return ~outer
