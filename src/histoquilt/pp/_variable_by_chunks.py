"""The variance-stabilised choice of genes (Seurat 3) on large sections, from sums over chunks of spots.

Stuart et al., Cell 177(7): 1888-1902, 2019: counts beyond ``sqrt(n)`` expected standard deviations are cut, and genes
ranked by the variance of what is left over the variance that genes of that mean have.
"""

import numpy as np

from histoquilt.pp._chunks import row_chunks
from histoquilt.pp._source import Expression


def stabilised_variance(source: Expression, kept: np.ndarray) -> np.ndarray:
    """Return the variance of counts over what the mean explains, of the genes in columns ``kept``, ``(n_kept,)``.

    Two passes over the counts, as scanpy's ``seurat_v3`` on the whole matrix; three copies of it are saved.

    Raises
    ------
    ValueError
        The fit of variance on mean is singular.
    """
    from skmisc.loess import loess

    n_spots, n_genes = source.matrix.shape
    total, squares = np.zeros(n_genes), np.zeros(n_genes)
    for rows in row_chunks(n_spots, n_genes):
        part = source.matrix[rows]
        counts = part.data.astype(np.float64)
        total += np.bincount(part.indices, counts, n_genes)
        squares += np.bincount(part.indices, counts**2, n_genes)
    mean = total / n_spots
    variance = (squares - n_spots * mean**2) / (n_spots - 1)
    varies = np.zeros(n_genes, bool)
    varies[kept] = variance[kept] > 0
    fit = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=0.3, degree=2)
    fit.fit()
    expected = np.ones(n_genes)
    expected[varies] = 10**fit.outputs.fitted_values
    limit = mean + np.sqrt(expected * n_spots)
    total[:], squares[:] = 0, 0
    for rows in row_chunks(n_spots, n_genes):
        part = source.matrix[rows]
        counts = np.minimum(part.data, limit[part.indices])
        total += np.bincount(part.indices, counts, n_genes)
        squares += np.bincount(part.indices, counts**2, n_genes)
    left = (n_spots * mean**2 + squares - 2 * total * mean) / ((n_spots - 1) * expected)
    return left[kept]
