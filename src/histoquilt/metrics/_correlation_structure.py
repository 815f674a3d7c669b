"""Gene-gene correlations of a prediction, compared with those of the measurement."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from histoquilt.metrics._expression import checked_pair, paired_blocks, varying

BLOCK_GENES = 1024  # rows of the two gene-by-gene matrices held at a time


@dataclass(frozen=True)
class CorrelationStructure:
    """Similarity of the gene-gene correlations of a prediction and of the measurement.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> truth = np.array([[0.0, 0, 1, 5], [1, 1, 0, 5], [2, 3, 4, 5], [3, 2, 2, 5]])  # the last gene is constant
    >>> predicted = truth.copy()
    >>> predicted[:, 2] = 1
    >>> found = hq.metrics.correlation_structure(truth, truth)
    >>> round(found.correlation, 6), found.n_genes, found.n_unmeasured
    (1.0, 3, 1)
    >>> hq.metrics.correlation_structure(truth, predicted).n_constant
    1
    """

    correlation: float  # Pearson, over all pairs of genes; 0 where undefined
    n_genes: int  # genes compared
    n_unmeasured: int  # genes left out: constant in the measurement
    n_constant: int  # genes compared that are constant in the prediction, with correlations of 0


def correlation_structure(truth: Any, predicted: Any) -> CorrelationStructure:
    """Correlate the measured gene-gene correlations with the predicted ones, over all pairs of genes.

    A method may score well gene by gene and still lose the programmes of genes that rise and fall together.
    Predictions are smoother than measurements, so their correlations are stronger; this measure only asks whether the
    same pairs stand out.

    Parameters
    ----------
    truth, predicted
        Expression ``(n_spots, n_genes)`` on one scale, dense or sparse, same spots and genes in the same order.

    Returns
    -------
    :class:`CorrelationStructure`. 1: the same structure; 0: none of it. A gene that is constant in the prediction
    counts with correlations of 0, because dropping it would reward predicting constants. Memory is that of both inputs
    in float64; the matrices of genes by genes are made by blocks.

    Raises
    ------
    ValueError
        Shapes differ, a value is NaN or infinite, or fewer than three genes vary in the measurement.

    Examples
    --------
    >>> measured = np.random.default_rng(0).normal(size=(50, 6)) + np.arange(50)[:, None] * [0, 0, 0, 1, 1, -1] / 20
    >>> round(correlation_structure(measured, 3 * measured + 1).correlation, 6)
    1.0
    """
    truth, predicted = checked_pair(truth, predicted, np.shape(truth)[1])
    names = [f"gene {i}" for i in range(truth.shape[1])]
    parts = [
        (_unit_columns(one, truth.dtype), _unit_columns(two, predicted.dtype))
        for one, two, _ in paired_blocks(truth, predicted, names)
    ]
    measured, guess = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    kept = measured.any(axis=0)
    n_genes = int(kept.sum())
    if n_genes < 3:
        raise ValueError(f"Only {n_genes} gene(s) vary in truth. Correlations between genes need at least 3 of them.")
    measured, guess = measured[:, kept], guess[:, kept]
    sums = np.zeros(5)
    n_pairs = n_genes * (n_genes - 1) // 2
    for a, b in _upper_triangles(measured, guess):
        sums += a.sum(), b.sum(), a @ a, b @ b, a @ b
    a, b, aa, bb, ab = sums / n_pairs
    spread = np.sqrt(max(aa - a * a, 0.0) * max(bb - b * b, 0.0))
    value = float(np.clip((ab - a * b) / spread, -1.0, 1.0)) if spread > 1e-14 else 0.0
    return CorrelationStructure(value, n_genes, int((~kept).sum()), int((~guess.any(axis=0)).sum()))


def _unit_columns(dense: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Centre columns and scale them to length 1, so that products are correlations; constant ones become 0."""
    centred = np.where(varying(dense, dtype), dense - dense.mean(axis=0), 0.0)
    length = np.linalg.norm(centred, axis=0)
    return centred / np.where(length > 0, length, 1.0)


def _upper_triangles(measured: np.ndarray, guess: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the correlations of all pairs of genes once, by blocks of rows of the two matrices."""
    n_genes = measured.shape[1]
    for start in range(0, n_genes, BLOCK_GENES):
        rows = slice(start, min(start + BLOCK_GENES, n_genes))
        # columns from `start` on only: those left of the block were paired before
        above = np.triu(np.ones((rows.stop - start, n_genes - start), dtype=bool), k=1)
        yield (measured[:, rows].T @ measured[:, start:])[above], (guess[:, rows].T @ guess[:, start:])[above]
