"""Means over neighbours."""

import numpy as np
from scipy.sparse import csr_matrix, identity


def neighbour_means(adjacency: csr_matrix, *, itself: bool) -> csr_matrix:
    """Return the matrix whose product with values is their mean over each row's neighbours, CSR float32.

    Parameters
    ----------
    adjacency
        ``(n_out, n_in)``, may be directed; every stored entry is an edge, stored values are ignored.
    itself
        If true, a node is one of its own neighbours. If false, a row without neighbours gets zero.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from scipy.sparse import csr_matrix
    >>> line = csr_matrix([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
    >>> (hq.gr.neighbour_means(line, itself=True) @ [0.0, 3.0, 6.0]).round(3)
    array([1.5, 3. , 4.5])
    """
    means = csr_matrix(adjacency, dtype=np.float32, copy=True)
    if itself:
        means = csr_matrix(means + identity(means.shape[0], dtype=np.float32, format="csr"))
    means.sum_duplicates()
    degree = np.diff(means.indptr)
    means.data = np.repeat(1.0 / np.maximum(degree, 1), degree).astype(np.float32)
    return means
