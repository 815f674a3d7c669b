"""Penalised Poisson regression of the counts of many genes, with a free level of every gene in every section.

``C_sg ~ Poisson(N_s exp(b_section,g + z_s B_g))``. Given ``B`` the best level of a section is known in closed form,
``exp(b) = sum C / sum N exp(z B)``, and what is left to maximise is the likelihood of how the counts of a gene are
distributed over the spots of each section. It is concave, and of the counts it needs only their totals by section and
their products with ``z``: no dense copy of them is made.

Genes do not depend on each other, so one L-BFGS with a step and a curvature for each runs for all of them at once, on
coefficients that were divided by ``1 / sqrt(n lambda_k w_g + tau^-2)``: the curvature of the problem if rates were
constant, of ``n`` spots, the variance ``lambda_k`` of an input and the mean count ``w_g`` of a gene.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_MEMORY = 6  # pairs of steps and changes of the gradient
_MAX_STEPS, _MAX_HALVINGS = 60, 12
_BLOCK_VALUES = 4_000_000  # of one array of spots and genes, 32 MB


@dataclass(frozen=True)
class Counts:
    """Counts of one section, as the regression needs them.

    Attributes
    ----------
    z
        Inputs of the spots with counts, ``(n_spots, n_inputs)`` float64.
    depth
        Their total counts, ``(n_spots,)``.
    total
        Total counts of each gene, ``(n_genes,)``.
    products
        ``z.T @ counts``, ``(n_inputs, n_genes)``.
    """

    z: np.ndarray
    depth: np.ndarray
    total: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, z: np.ndarray, y: np.ndarray, depth: np.ndarray) -> "Counts":
        """Take inputs, log1p of counts per 10,000 ``(n_spots, n_genes)`` and total counts of a section."""
        there = depth > 0
        z, depth = z[there].astype(np.float64), depth[there].astype(np.float64)
        width = max(1, _BLOCK_VALUES // max(len(z), 1))
        totals, products = [], []
        for start in range(0, y.shape[1], width):
            counts = counts_of(y[there, start : start + width], depth)
            totals.append(counts.sum(axis=0))
            products.append(z.T @ counts)
        return cls(z, depth, np.concatenate(totals), np.hstack(products))

    def log_sum(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``log sum N exp(z B)`` of each gene, and every spot's share of the sum ``(n_spots, n_genes)``."""
        shares = self.z @ coefficients
        highest = shares.max(axis=0)
        shares -= highest
        np.exp(shares, out=shares)
        shares *= self.depth[:, None]
        summed = shares.sum(axis=0)
        shares /= summed
        return np.log(summed) + highest, shares


def counts_of(y: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return counts, float64, of log1p counts per 10,000 ``(n_spots, n_genes)`` and total counts ``(n_spots,)``.

    Float32 ``y`` gives whole counts back to within a millionth of their size.
    """
    counts = np.expm1(y, dtype=np.float64)
    counts *= depth[:, None] / 1e4
    return counts


def reduced_ranks(
    sections: Sequence[Counts], coefficients: np.ndarray, ranks: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ranks and coefficients ``(n_inputs, n_genes)`` whose log rates have so few directions among the genes.

    Directions are those of most variance of the fitted log rates, where a gene weighs by the fourth root of its mean
    count: between equal weights, which let the noise of rare genes in, and the square root, which evens noise out and
    sees frequent genes only.
    """
    n_spots = sum(len(one.z) for one in sections)
    covariance = sum((one.z - one.z.mean(axis=0)).T @ (one.z - one.z.mean(axis=0)) for one in sections) / n_spots
    weights = np.maximum(sum(one.total for one in sections) / n_spots, 1e-6) ** 0.25
    values, vectors = np.linalg.eigh(covariance)
    weighted = coefficients * weights
    fitted = (np.sqrt(np.maximum(values, 0)) * vectors).T @ weighted  # has the Gram matrix of the fitted log rates
    directions = np.linalg.svd(fitted, full_matrices=False)[2]
    along = weighted @ directions.T
    for rank in ranks:
        if rank < len(directions):
            yield rank, along[:, :rank] @ directions[:rank] / weights


def levels(sections: Sequence[Counts], coefficients: np.ndarray) -> np.ndarray:
    """Return the mean over sections of the log rate of each gene at ``z = 0``, ``(n_genes,)``.

    A gene without a count in a section counts as half a one there.
    """
    width = max(1, _BLOCK_VALUES // max(len(one.z) for one in sections))
    found = np.empty(coefficients.shape[1])
    for start in range(0, len(found), width):
        genes = slice(start, start + width)
        logs = [np.log(np.maximum(one.total[genes], 0.5)) - one.log_sum(coefficients[:, genes])[0] for one in sections]
        found[genes] = np.mean(logs, axis=0)
    return found


class _Objective:
    """Penalised negative log likelihood of a block of genes, in preconditioned coefficients."""

    def __init__(self, sections: Sequence[Counts], genes: slice, spread: float) -> None:
        self.sections, self.precision = sections, spread**-2
        self.totals = [one.total[genes] for one in sections]
        self.products: np.ndarray = np.sum([one.products[:, genes] for one in sections], axis=0)
        total, n_spots = sum(self.totals), sum(len(one.z) for one in sections)
        variance = sum(((one.z - one.z.mean(axis=0)) ** 2).sum(axis=0) for one in sections) / n_spots
        self.scale = 1 / np.sqrt(np.outer(variance, total) + self.precision)

    def __call__(self, position: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return value ``(n_genes,)`` and gradient of some genes of the block, whose columns are ``genes``."""
        scale = self.scale[:, genes]
        coefficients = position * scale
        value = ((0.5 * self.precision * coefficients - self.products[:, genes]) * coefficients).sum(axis=0)
        gradient = self.precision * coefficients - self.products[:, genes]
        for one, total in zip(self.sections, self.totals, strict=True):
            log_sum, shares = one.log_sum(coefficients)
            value += total[genes] * log_sum
            shares *= total[genes]
            gradient += one.z.T @ shares
        return value, gradient * scale


def fit_poisson(
    sections: Sequence[Counts], spread: float, start: np.ndarray | None = None, tolerance: float = 0.1
) -> np.ndarray:
    """Return the coefficients ``(n_inputs, n_genes)`` of highest penalised likelihood.

    Parameters
    ----------
    sections
        Training sections.
    spread
        Prior standard deviation ``tau`` of a coefficient.
    start
        Coefficients to start from; 0 by default.
    tolerance
        Improvement of the penalised log likelihood of a gene by one step below which its fit is finished.
    """
    n_spots, (n_inputs, n_genes) = sum(len(one.z) for one in sections), sections[0].products.shape
    found = np.zeros((n_inputs, n_genes)) if start is None else start.copy()
    width = max(1, _BLOCK_VALUES // n_spots)
    for first in range(0, n_genes, width):
        genes = slice(first, first + width)
        objective = _Objective(sections, genes, spread)
        found[:, genes] = _minimise(objective, found[:, genes] / objective.scale, tolerance) * objective.scale
    return found


def _minimise(objective: _Objective, position: np.ndarray, tolerance: float) -> np.ndarray:
    """Minimise the value of every column by L-BFGS."""
    position = position.copy()
    going = np.arange(position.shape[1])
    value, gradient = objective(position, going)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(_MAX_STEPS):
        direction = _direction(gradient, pairs)
        slope = (direction * gradient).sum(axis=0)
        uphill = slope >= 0
        direction[:, uphill], slope[uphill] = -gradient[:, uphill], -((gradient[:, uphill] ** 2).sum(axis=0))
        step, new_value, new_gradient = _search(objective, position[:, going], going, value, direction, slope)
        moved = step * direction
        position[:, going] += moved
        improved = value - new_value
        pairs = [*pairs[-_MEMORY + 1 :], (moved, new_gradient - gradient)]
        value, gradient = new_value, new_gradient
        keep = improved > tolerance
        if not keep.any():
            break
        going, value, gradient = going[keep], value[keep], gradient[:, keep]
        pairs = [(moved[:, keep], change[:, keep]) for moved, change in pairs]
    return position


def _direction(gradient: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the L-BFGS direction of every column, by the two-loop recursion (Nocedal 1980)."""
    direction = -gradient
    weights = []
    for moved, change in reversed(pairs):
        curvature = (moved * change).sum(axis=0)
        inverse = np.divide(1, curvature, out=np.zeros_like(curvature), where=curvature > 1e-12)
        weight = inverse * (moved * direction).sum(axis=0)
        direction -= weight * change
        weights.append((inverse, weight))
    if pairs:
        moved, change = pairs[-1]
        curvature, size = (moved * change).sum(axis=0), (change**2).sum(axis=0)
        direction *= np.divide(curvature, size, out=np.ones_like(size), where=(curvature > 1e-12) & (size > 0))
    for (moved, change), (inverse, weight) in zip(pairs, reversed(weights), strict=True):
        direction += moved * (weight - inverse * (change * direction).sum(axis=0))
    return direction


def _search(
    objective: _Objective,
    position: np.ndarray,
    going: np.ndarray,
    value: np.ndarray,
    direction: np.ndarray,
    slope: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Halve the step of every column until its value falls enough; a column that does not fall stays where it is."""
    step = np.ones(len(going))
    new_value, gradient = objective(position + direction, going)
    for _ in range(_MAX_HALVINGS):
        failed = np.flatnonzero(~(new_value <= value + 1e-4 * step * slope))
        if not len(failed):
            return step, new_value, gradient
        step[failed] /= 2
        there = position[:, failed] + step[failed] * direction[:, failed]
        new_value[failed], gradient[:, failed] = objective(there, going[failed])
    failed = np.flatnonzero(~(new_value <= value))
    step[failed] = 0
    new_value[failed], gradient[:, failed] = objective(position[:, failed], going[failed])
    return step, new_value, gradient
