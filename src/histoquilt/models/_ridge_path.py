"""Weighted ridge regression at every penalty and rank, from one eigendecomposition.

Inner validation tries eight to ten penalties, and at each up to ten ranks, on every fold. The eigendecomposition of
the smaller Gram matrix, ``O(min(n, p)^2 max(n, p))`` for ``n`` spots and ``p`` inputs, serves them all; a penalty then
costs one product. scikit-learn's Ridge solves each penalty anew: for 540 spots, 512 inputs, 340 genes and eight
penalties 0.30 s against 0.09 s here on one core, for 2,000 spots 0.56 against 0.12 s, with the same predictions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from histoquilt.models.expression._inputs import ImageSection

_BLOCK = 8192  # spots in double precision at a time
_SHALLOW = 0.3  # of the median depth: a spot of so many counts weighs half


def spot_weights(section: ImageSection) -> np.ndarray:
    """Return the weight of each spot's measurement, ``(n_spots,)``: 0 without counts, all alike if depth is unknown."""
    if section.depth is None:
        return np.full(len(section.x), 1 / (1 + _SHALLOW))  # that of a spot of median depth
    counted = section.depth > 0
    if not counted.any():
        return np.zeros(len(section.x))
    return section.depth / (section.depth + _SHALLOW * np.median(section.depth[counted]))


@dataclass(frozen=True)
class RidgePath:
    """Ridge regression for all penalties and ranks.

    Centred inputs times ``way_in``, divided by ``values`` plus penalty, times ``products`` are predictions less their
    mean.

    Attributes
    ----------
    mean, intercept
        Weighted means of inputs ``(n_inputs,)`` and of expression ``(n_genes,)``.
    values
        Eigenvalues ``(n_values,)`` of the weighted Gram matrix.
    way_in
        Inputs to eigenbasis, ``(n_inputs, n_values)``.
    products
        Products of the eigenbasis with expression, ``(n_values, n_genes)``.
    lengths
        Lengths of the training inputs along the eigenbasis, ``(n_values,)``.
    unit
        Unit of the penalty: the mean squared length of a centred row of inputs.
    """

    mean: np.ndarray
    intercept: np.ndarray
    values: np.ndarray
    way_in: np.ndarray
    products: np.ndarray
    lengths: np.ndarray
    unit: float

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> "RidgePath":
        """Decompose.

        Parameters
        ----------
        x, y
            Inputs ``(n_spots, n_inputs)`` and expression ``(n_spots, n_genes)``.
        weights
            Weight of every spot, ``(n_spots,)``; equal by default.
        """
        share = np.full(len(x), 1 / len(x)) if weights is None else weights / weights.sum()
        wide = x.shape[1] > len(x)
        blocks = [slice(None)] if wide else [slice(first, first + _BLOCK) for first in range(0, len(x), _BLOCK)]
        mean = np.sum([share[rows] @ x[rows].astype(np.float64) for rows in blocks], axis=0)
        intercept = np.sum([share[rows] @ y[rows].astype(np.float64) for rows in blocks], axis=0)
        root = np.sqrt(share)[:, None]
        centred = ((root[rows] * (x[rows] - mean), root[rows] * (y[rows] - intercept)) for rows in blocks)
        if wide:
            ((x, y),) = centred
            values, vectors = np.linalg.eigh(x @ x.T)
            way_in, products = x.T @ vectors, vectors.T @ y
            lengths = values = np.maximum(values, 0)
        else:
            gram, with_y = np.zeros((x.shape[1],) * 2), np.zeros((x.shape[1], y.shape[1]))
            for of_x, of_y in centred:
                gram += of_x.T @ of_x
                with_y += of_x.T @ of_y
            values, way_in = np.linalg.eigh(gram)
            products = way_in.T @ with_y
            values = np.maximum(values, 0)
            lengths = np.sqrt(values)
        return cls(mean, intercept, values, way_in, products, lengths, float(values.sum()) or 1.0)

    def predictions(
        self, x: np.ndarray, alphas: Sequence[float], ranks: Sequence[int] = ()
    ) -> Iterator[tuple[float, int | None, np.ndarray]]:
        """Yield penalty, rank (``None`` for the full one) and prediction ``(n_spots, n_genes)`` for every setting."""
        inside = (x - self.mean) @ self.way_in
        for alpha in alphas:
            slope = self._slope(alpha)
            full = inside @ slope
            yield alpha, None, full + self.intercept
            if not ranks:
                continue
            directions = self._directions(slope, max(ranks))
            along = full @ directions.T
            for rank in ranks:
                if rank < min(slope.shape):  # else it reduces nothing
                    yield alpha, rank, along[:, :rank] @ directions[:rank] + self.intercept

    def coefficients(self, alpha: float, rank: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients ``(n_inputs, n_genes)`` and intercept ``(n_genes,)``."""
        slope = self._slope(alpha)
        found = self.way_in @ slope
        if rank is not None:
            directions = self._directions(slope, rank)
            found = found @ directions.T @ directions
        return found, self.intercept - self.mean @ found

    def leading_directions(self, alpha: float, n: int) -> np.ndarray:
        """Return coefficients ``(n_inputs, n)`` of the ``n`` leading programmes of genes, by falling fitted variance.

        Distances between inputs times these are distances between their predictions of rank ``n``.
        """
        slope = self._slope(alpha)
        return self.way_in @ (slope @ self._directions(slope, n).T)

    def _slope(self, alpha: float) -> np.ndarray:
        return self.products / (self.values + alpha * self.unit)[:, None]

    def _directions(self, slope: np.ndarray, n: int) -> np.ndarray:
        """Return orthonormal directions among the genes, ``(n, n_genes)``, by decreasing fitted variance."""
        fitted = self.lengths[:, None] * slope  # has the Gram matrix of the fitted values
        n_rows, n_genes = fitted.shape
        if n_rows >= n_genes:
            return np.linalg.eigh(fitted.T @ fitted)[1].T[::-1][:n]
        values, left = np.linalg.eigh(fitted @ fitted.T)
        sizes = np.sqrt(np.maximum(values, values[-1] * 1e-12 + 1e-300))
        return (left / sizes).T[::-1][:n] @ fitted
