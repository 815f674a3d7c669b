"""Scores without sequencing depth: correlation at equal depth, and deviance explained of raw counts.

log1p of counts per 10,000 depends on how many counts a spot has, most of all where counts are sparse, so that a
prediction of nothing but depth correlates with most genes. Both scores here ask for what is specific to a gene.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from scipy.special import xlogy

from histoquilt.metrics._expression import BLOCK_VALUES, checked_pair, correlate, paired_blocks, varying


def depth_adjusted_correlation(
    truth: Any, predicted: Any, log_depth: ArrayLike, *, sections: ArrayLike | None = None
) -> np.ndarray:
    """Correlate the residuals of measurement and prediction after regression of both on the log depth.

    A partial correlation, gene by gene over the spots of one section: the part of both that is linear in the log of the
    measured total counts is removed. A prediction that only tells where counts are many scores about 0.

    Parameters
    ----------
    truth, predicted
        Expression ``(n_spots, n_genes)`` on one scale (``log1p_cp10k``), dense or scipy sparse.
    log_depth
        Natural log of the measured total counts of each spot, over all genes, ``(n_spots,)``. Spots of zero depth
        (``-inf``) are left out.
    sections
        Section of each spot, ``(n_spots,)``, if there are several. Each has its own regression, level included, so that
        differences between sections count for nothing, and the residuals of all are correlated together.

    Returns
    -------
    float64 ``(n_genes,)``. 0 where there is no correlation, as in :func:`score_genes`: measurement or prediction is
    constant or follows the log depth exactly (up to rounding), or fewer than three spots have counts.

    Raises
    ------
    ValueError
        Shapes do not match, a value is NaN or infinite, or ``log_depth`` is NaN or ``+inf``.

    Examples
    --------
    >>> depth = np.log([10.0, 20.0, 40.0, 80.0])
    >>> gene = np.array([1.0, -1.0, -1.0, 1.0])
    >>> truth = np.column_stack([depth + gene, depth])
    >>> depth_adjusted_correlation(truth, np.column_stack([3 * depth + gene, depth + gene]), depth).round(6).tolist()
    [1.0, 0.0]
    """
    n_genes = np.shape(truth)[-1]
    truth, predicted = checked_pair(truth, predicted, n_genes)
    regression = DepthRegression.of(log_depth, truth.shape[0], sections)
    found = np.zeros(n_genes)
    if regression.counted.sum() < 3:
        return found
    start = 0
    for measured, guess, _ in paired_blocks(truth, predicted, [str(i) for i in range(n_genes)]):
        residuals = regression.residuals(measured, truth.dtype), regression.residuals(guess, predicted.dtype)
        defined = np.asarray(residuals[0].any(axis=0) & residuals[1].any(axis=0))
        part = found[start : start + len(defined)]
        part[defined] = correlate(residuals[0][:, defined], residuals[1][:, defined])
        start += len(defined)
    return found


@dataclass(frozen=True)
class DepthRegression:
    """Linear regression of expression on the log depth, within each section.

    Attributes
    ----------
    counted
        Spots with counts, ``(n_spots,)`` bool; others are left out.
    log_depth
        Log depth of spots with counts.
    sections
        Numbers of the spots of each section, among those with counts.
    """

    counted: np.ndarray
    log_depth: np.ndarray
    sections: list[np.ndarray]

    @classmethod
    def of(cls, log_depth: ArrayLike, n_spots: int, sections: ArrayLike | None = None) -> "DepthRegression":
        """Check the depths and sort spots by section."""
        x = np.asarray(log_depth, dtype=np.float64)
        if x.shape != (n_spots,) or np.isnan(x).any() or (x == np.inf).any():
            raise ValueError(
                f"log_depth must be one number per spot, ({n_spots},), -inf for a spot without counts and otherwise "
                f"finite; got shape {x.shape}. Take the natural log of the total counts."
            )
        names = np.zeros(n_spots, dtype=int) if sections is None else np.asarray(sections)
        if names.shape != (n_spots,):
            raise ValueError(f"sections must be one name per spot, ({n_spots},), got shape {names.shape}.")
        counted = np.isfinite(x)
        x, names = x[counted], names[counted]
        return cls(counted, x, [np.flatnonzero(names == name) for name in np.unique(names)])

    def residuals(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return the residuals of genes, ``(n_counted, n_genes)``, all 0 where they are no more than rounding.

        ``values`` are float64 ``(n_spots, n_genes)``, computed from ``dtype``.
        """
        values = values[self.counted]
        found = np.empty_like(values)
        for rows in self.sections:
            x = self.log_depth[rows] - self.log_depth[rows].mean()
            # a constant depth explains nothing
            slope_of = x / (x @ x) if np.ptp(x) > 1e-12 else 0 * x
            centred = values[rows] - values[rows].mean(axis=0)
            found[rows] = centred - np.outer(x, slope_of @ centred)
        precision = dtype if np.issubdtype(dtype, np.floating) else np.dtype(float)
        found[:, ~varying(found, precision, size=abs(values).max(axis=0))] = 0
        return found


def gene_deviance_explained(counts: Any, depth: ArrayLike, log_rate: Any) -> np.ndarray:
    """Compute the share of each gene's Poisson deviance that a predicted map of its rate explains in one section.

    ``1 - D(C | N r_predicted) / D(C | N r_constant)``: the raw counts ``C`` with the measured depth ``N`` as offset,
    and one free factor per gene on either side, so that the level of a gene in the section is no merit. 0 is a
    constant rate, 1 is perfect, and below 0 a constant rate is the better prediction.

    Parameters
    ----------
    counts
        Raw counts ``(n_spots, n_genes)``, dense or scipy sparse.
    depth
        Total counts of each spot over all genes measured, ``(n_spots,)``. Spots of zero depth say nothing and are left
        out.
    log_rate
        Natural log of the predicted rate up to a constant per gene, ``(n_spots, n_genes)``: the layer
        ``relative_<method>`` of a prediction.

    Returns
    -------
    float64 ``(n_genes,)``. 0 for genes without counts, and where a constant rate fits exactly.

    Raises
    ------
    ValueError
        Shapes do not match, counts or depths are negative or not finite, a spot has counts but no depth, or
        ``log_rate`` is not finite.

    Examples
    --------
    >>> counts, depth = np.array([[4.0, 0.0], [1.0, 0.0]]), np.array([100.0, 100.0])
    >>> gene_deviance_explained(counts, depth, np.log([[4.0, 1.0], [1.0, 2.0]])).round(6).tolist()
    [1.0, 0.0]
    """
    counts, log_rate = checked_pair(counts, log_rate, np.shape(counts)[-1])
    n = np.asarray(depth, dtype=np.float64)
    _check_counts(counts, n)
    width = max(1, BLOCK_VALUES // len(n))
    parts = [_explained(counts[:, i : i + width], n, log_rate[:, i : i + width])
             for i in range(0, counts.shape[1], width)]  # fmt: skip
    return np.concatenate(parts) if parts else np.zeros(0)


def _check_counts(counts: Any, depth: np.ndarray) -> None:
    stored = counts.data if issparse(counts) else counts
    if depth.shape != (counts.shape[0],) or not np.isfinite(depth).all() or (depth < 0).any():
        raise ValueError(f"depth must be one finite count of at least 0 per spot, ({counts.shape[0]},), got {depth!r}.")
    if not np.isfinite(stored).all() or (stored < 0).any():
        raise ValueError("counts must be raw counts: found negative, NaN or infinite values.")
    alone = np.asarray(counts.sum(axis=1)).ravel()[depth == 0]
    if alone.any():
        raise ValueError("A spot has counts but a depth of 0. Pass the total counts of each spot over all genes.")


def _explained(counts: Any, depth: np.ndarray, log_rate: Any) -> np.ndarray:
    """Return the deviance explained of a block of genes."""
    own, rate = (np.asarray(m.toarray() if issparse(m) else m, dtype=np.float64) for m in (counts, log_rate))
    if not np.isfinite(rate).all():
        raise ValueError("log_rate holds NaN or infinite values. Predict a rate above 0 for every spot and gene.")
    counted = depth > 0
    own, rate, depth = own[counted], rate[counted], depth[counted, None]
    total = own.sum(axis=0)
    if not total.any():
        return np.zeros(len(total))
    rate = rate - rate.max(axis=0)
    # with the factor fitted, expected counts sum to the counts: what is left of both deviances is 2 sum C log(C / mu)
    fit = np.log(depth.sum()) - np.log((depth * np.exp(rate)).sum(axis=0))  # log factor relative to the constant rate
    constant = xlogy(own, own).sum(axis=0) - (own * np.log(depth)).sum(axis=0) - xlogy(total, total / depth.sum())
    gained = (own * rate).sum(axis=0) + total * fit
    varies = constant > 1e-9 * np.maximum(total, 1)
    return np.divide(gained, constant, out=np.zeros(len(total)), where=varies)
