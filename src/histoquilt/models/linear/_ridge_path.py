"""Weighted ridge regression at every penalty and rank, from one eigendecomposition."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from histoquilt.models.expression._inputs import ImageSection

ALPHAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # in hundredths of the inputs' total variance
RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
_SHALLOW = 0.3  # of the median depth: a spot of so many counts weighs half


def spot_weights(section: ImageSection) -> np.ndarray:
    """Return how much each spot's measurement counts, ``(n_spots,)``; all alike where depth is not known."""
    if section.depth is None:
        return np.ones(len(section.x))
    return section.depth / (section.depth + _SHALLOW * np.median(section.depth))


@dataclass(frozen=True)
class RidgePath:
    """Weighted ridge regression for all penalties and ranks, from one eigendecomposition.

    Attributes
    ----------
    mean, intercept
        Weighted means of scores and of expression.
    values, vectors
        Eigenvalues ``(n_components,)`` and eigenvectors ``(n_components, n_components)`` of the weighted covariance of
        the scores.
    products
        Product ``vectors.T @ x.T @ y``, ``(n_components, n_genes)``.
    unit
        Unit of the penalty.
    """

    mean: np.ndarray
    intercept: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    products: np.ndarray
    unit: float

    @classmethod
    def fit(
        cls, train: list[ImageSection], members: Sequence[int], scores: list[np.ndarray], weighted: bool
    ) -> "RidgePath":
        x = np.concatenate([scores[i] for i in members]).astype(np.float64)
        y = np.concatenate([train[i].measured for i in members]).astype(np.float64)
        weights = np.concatenate([spot_weights(train[i]) if weighted else np.ones(len(train[i].x)) for i in members])
        weights /= weights.sum()
        mean, intercept = weights @ x, weights @ y
        x -= mean
        root = np.sqrt(weights)[:, None]
        values, vectors = np.linalg.eigh((root * x).T @ (root * x))
        products = vectors.T @ ((weights[:, None] * x).T @ (y - intercept))
        values = np.maximum(values, 0)
        return cls(mean, intercept, values, vectors, products, 1e-2 * float(values.sum()) or 1.0)

    def _slopes(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients in the eigenbasis, and directions among the genes by falling fitted variance."""
        slope = self.products / (self.values + alpha * self.unit)[:, None]
        fitted = np.sqrt(self.values)[:, None] * slope  # has the Gram matrix of the fitted values
        n_rows, n_genes = fitted.shape
        if n_rows < n_genes:
            values, left = np.linalg.eigh(fitted @ fitted.T)
            size = np.sqrt(np.maximum(values, values[-1] * 1e-12 + 1e-300))
            directions = (left / size).T[::-1][: RANKS[-1]] @ fitted
        else:
            directions = np.linalg.eigh(fitted.T @ fitted)[1].T[::-1][: RANKS[-1]]
        return slope, directions

    def predictions(self, scores: np.ndarray) -> Iterator[tuple[float, int | None, np.ndarray]]:
        """Yield penalty, rank and prediction ``(n_spots, n_genes)`` for every setting of the path."""
        inside = (scores - self.mean) @ self.vectors
        for alpha in ALPHAS:
            slope, directions = self._slopes(alpha)
            full = inside @ slope
            yield alpha, None, full + self.intercept
            along = full @ directions.T
            for rank in RANKS:
                if rank < len(directions):
                    yield alpha, rank, along[:, :rank] @ directions[:rank] + self.intercept

    def coefficients(self, alpha: float, rank: int | None) -> np.ndarray:
        """Return ``(n_components, n_genes)``."""
        slope, directions = self._slopes(alpha)
        slope = self.vectors @ slope
        return slope if rank is None else slope @ directions[:rank].T @ directions[:rank]
