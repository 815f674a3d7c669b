"""Exact nearest rows of a bank, in blocks of queries, and averages over them."""

from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix

Weighting = Literal["uniform", "inverse_square"]

_BLOCK_BYTES = 64 * 2**20  # of distances held at a time


def nearest_rows(queries: np.ndarray, bank: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest rows of a bank, nearest first; ties are resolved by the order of the bank.

    Parameters
    ----------
    queries, bank
        Arrays ``(n_queries, n_columns)`` and ``(n_bank, n_columns)``. For cosine distance, scale all rows to unit
        length.
    k
        Number of rows to find; all if the bank has fewer.

    Returns
    -------
    Row numbers and squared distances, both ``(n_queries, k)``.

    Examples
    --------
    >>> numbers, squared = nearest_rows(np.array([[0.0]]), np.array([[3.0], [1.0], [-2.0]]), 2)
    >>> numbers.tolist(), squared.tolist()
    ([[1, 2]], [[1.0, 4.0]])
    """
    k = min(k, len(bank))
    numbers = np.empty((len(queries), k), dtype=np.int64)
    squared = np.empty((len(queries), k))
    lengths = np.einsum("ij,ij->i", bank, bank, dtype=np.float64)
    block = max(1, _BLOCK_BYTES // (8 * len(bank)))
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        some = queries[rows]
        own = np.einsum("ij,ij->i", some, some, dtype=np.float64)
        distances = np.maximum(own[:, None] + lengths - 2.0 * (some @ bank.T), 0)
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        numbers[rows], squared[rows] = order, np.take_along_axis(distances, order, axis=1)
    return numbers, squared


def averaging(numbers: np.ndarray, squared: np.ndarray, k: int, weighting: Weighting, n_bank: int) -> csr_matrix:
    """Return the matrix ``(n_queries, n_bank)`` that averages each query's ``k`` nearest rows; rows sum to 1.

    Parameters
    ----------
    numbers, squared
        Row numbers and squared distances returned by :func:`nearest_rows`.
    k
        Number of nearest rows to use; all if there are fewer.
    weighting
        Uniform weights, or weights of one over squared distance. A row at distance zero counts as one at a hundredth of
        the distance of the farthest row found, so that it dominates without being the only one.
    n_bank
        Number of rows of the bank.
    """
    k = min(k, numbers.shape[1])
    if weighting == "uniform":
        weights = np.full((len(numbers), k), 1.0 / k)
    else:
        floor = np.maximum(1e-4 * squared[:, -1:], np.finfo(np.float32).tiny)
        weights = 1.0 / np.maximum(squared[:, :k], floor)
        weights /= weights.sum(axis=1, keepdims=True)
    indptr = np.arange(0, k * len(numbers) + 1, k)
    return csr_matrix((weights.ravel(), numbers[:, :k].ravel(), indptr), shape=(len(numbers), n_bank))
