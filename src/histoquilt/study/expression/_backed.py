"""Expression that stays in its file and is read a few spots at a time."""

from typing import Any

import numpy as np
from anndata import AnnData
from anndata.abc import CSCDataset
from scipy.sparse import csr_matrix


class BackedRows:
    """A matrix ``(n_spots, n_genes)`` in an open ``.h5ad``, whose rows are read on demand as CSR without stored zeros.

    Not for matrices stored by columns (CSC), which can only be read as a whole.
    """

    def __init__(self, stored: Any) -> None:
        self._stored = stored
        self.shape: tuple[int, int] = tuple(stored.shape)

    def __getitem__(self, rows: slice | np.ndarray) -> csr_matrix:
        """Return the rows of a slice, or of ascending row numbers."""
        return clean_csr(self._stored[rows])


def stored_matrix(adata: AnnData, name: str, *, in_memory: bool) -> csr_matrix | BackedRows:
    """Return ``X`` or a layer as CSR; for a backed section, unless ``in_memory``, as rows to be read."""
    values = adata.X if name == "X" else adata.layers[name]
    if name != "X" or not adata.isbacked or adata.is_view:  # layers, and X of a view, come in memory
        return clean_csr(values)
    if isinstance(values, CSCDataset):
        return clean_csr(values.to_memory())
    rows = BackedRows(values)
    return rows[:] if in_memory else rows


def clean_csr(values: Any) -> csr_matrix:
    """Return CSR float32 without duplicates or zeros; the user's matrix is not changed."""
    matrix = csr_matrix(values, dtype=np.float32)
    if not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    return matrix
