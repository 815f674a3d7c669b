"""Choice of genes for models."""

import math
import warnings
from dataclasses import replace

import numpy as np
from anndata import AnnData

from histoquilt.runtime import warn_user
from histoquilt.study import Expression, row_chunks


def variable_genes(
    source: Expression, n_genes: int = 3000, *, min_spots: int = 50, min_counts: float = 10
) -> np.ndarray:
    """Choose highly variable genes.

    Genes in too few spots or with too few counts are removed first. The most variable of the rest are chosen as in
    scanpy: by variance-stabilised counts (``seurat_v3``; Stuart et al., Cell 177(7): 1888-1902, 2019), or by dispersion
    (``seurat``) if values are log-normalised or the section is too small.

    Parameters
    ----------
    source, n_genes
        Expression ``(n_spots, n_genes)``, see :func:`histoquilt.pp.expression`; number of genes to choose.
    min_spots, min_counts
        Minimum number of spots with the gene (at most a tenth of the spots), and minimum total count (not applied to
        log-normalised values).

    Returns
    -------
    Column numbers, in ascending order.

    Raises
    ------
    ValueError
        No gene passes the filters.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> len(hq.pp.variable_genes(hq.pp.expression(adata), 20))
    20
    """
    matrix = source.matrix
    n_spots_with, totals = _detected(source)
    needed = max(1, min(min_spots, matrix.shape[0] // 10))
    keep = n_spots_with >= needed
    if source.scale == "counts":
        keep &= totals >= min_counts
    kept = np.flatnonzero(keep)
    if len(kept) == 0:
        counts = f" with at least {min_counts:g} counts" if source.scale == "counts" else ""
        raise ValueError(
            f"No gene is found in at least {needed} spots{counts} (of {matrix.shape[1]:,} genes). Lower min_spots or "
            "min_counts in the config, or check the matrix."
        )
    if len(kept) <= n_genes:
        return kept
    return kept[_most_variable(source, kept, n_genes)]


def shared_variable_genes(
    source: Expression, sections: np.ndarray, n_genes: int = 3000, *, min_spots: int = 50, min_counts: float = 10
) -> np.ndarray:
    """Choose genes section by section (:func:`variable_genes`), and keep those of most sections.

    Kept are the genes chosen in more than half of the sections (both of two). If these are fewer than a tenth of
    ``n_genes``, as among different tissues, the genes chosen most often fill up to that number (of ties the first).

    Parameters
    ----------
    source, sections
        Expression of all sections; ``(n_spots,)`` name or number of the section of every spot.
    n_genes, min_spots, min_counts
        As in :func:`variable_genes`.

    Returns
    -------
    Column numbers, in ascending order.

    Raises
    ------
    ValueError
        In a section no gene passes the filters.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, n_sections=2, seed=0)
    >>> genes = hq.pp.shared_variable_genes(
    ...     hq.pp.expression(adata), adata.obs["section"].to_numpy(), 20, min_spots=5
    ... )
    >>> len(genes) <= 20, genes[:3].tolist()
    (True, [4, 6, 9])
    """
    votes = np.zeros(source.matrix.shape[1], int)
    names = np.unique(sections)
    for name in names:
        one = replace(source, matrix=source.matrix[np.flatnonzero(sections == name)])
        try:
            votes[variable_genes(one, n_genes, min_spots=min_spots, min_counts=min_counts)] += 1
        except ValueError as error:
            raise ValueError(f"Section {str(name)!r}: {error}") from error
    needed = min(math.ceil(n_genes / 10), int((votes > 0).sum()))
    by_votes = np.argsort(-votes, kind="stable")
    n_kept = max(int((2 * votes > len(names)).sum()), needed)
    return np.sort(by_votes[:n_kept])


def _detected(source: Expression) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of spots with each gene, and the sum of its values, ``(n_genes,)`` each."""
    matrix = source.matrix
    n_spots_with, totals = np.zeros(matrix.shape[1], int), np.zeros(matrix.shape[1])
    for rows in row_chunks(*matrix.shape):
        part = matrix[rows]
        n_spots_with += part.getnnz(axis=0)
        totals += np.asarray(part.sum(axis=0, dtype=np.float64)).ravel()
    return n_spots_with, totals


def _most_variable(source: Expression, kept: np.ndarray, n_genes: int) -> np.ndarray:
    if source.scale == "counts":
        try:
            variance = _stabilised_variance(source, kept)
            return np.sort(np.argsort(-variance, kind="stable")[:n_genes])
        except ValueError as error:  # the loess fit is singular where many genes share one mean, as in tiny sections
            reason = str(error).strip().splitlines()[0].removeprefix("b'").rstrip("'")  # R's loess says it in bytes
            warn_user(f"The mean-variance fit failed ({reason}); variable genes are chosen by dispersion.")
    from scanpy.preprocessing import highly_variable_genes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # future defaults of scanpy
        logged = AnnData(source.normalised()[:, kept])
        table = highly_variable_genes(logged, n_top_genes=n_genes, flavor="seurat", inplace=False)
    return np.flatnonzero(table["highly_variable"].to_numpy())


def _stabilised_variance(source: Expression, kept: np.ndarray) -> np.ndarray:
    """Return the variance of counts over that expected from the mean, for columns ``kept``, ``(n_kept,)``.

    Counts are clipped at ``sqrt(n)`` expected standard deviations. Two passes over the counts give the result of
    scanpy's ``seurat_v3`` without its three copies of the matrix. A singular fit raises ``ValueError``.
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
