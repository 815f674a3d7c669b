"""Spatial factors: the directions of feature space in which neighbours agree, and how much to trust each spot in each.

Principal components are ordered by variance, and variance counts noise: in some sections all but one or two of 200
components carry nothing that a neighbour shares. Spatial factors are ordered by agreement between neighbours instead
(min/max autocorrelation factors, Switzer & Green 1984; MULTISPATI, Dray, Said & Debias 2008). For each factor the
covariance at two distances tells signal from noise (the nugget of its variogram), and the number of averagings over the
graph is the one with the smallest unbiased estimate of the squared error (Mallows' Cp). No label enters.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class SpatialFactors:
    """A fitted projection from features to spatial factors of unit variance.

    Attributes
    ----------
    center
        ``(n_features,)`` median of every feature.
    limit
        ``(n_features,)`` largest distance from the median that is believed; what lies beyond is cut.
    projection
        ``(n_features, n_factors)`` from centred features to factors.
    loadings
        ``(n_factors, n_features)`` from factors back to centred features.
    autocorrelation
        ``(n_factors,)`` Moran's I of every factor, falling.
    """

    center: np.ndarray
    limit: np.ndarray
    projection: np.ndarray
    loadings: np.ndarray
    autocorrelation: np.ndarray

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        adjacency: csr_matrix,
        *,
        outlier_sd: float = 3.0,
        max_factors: int = 30,
        seed: int = 0,
    ) -> "SpatialFactors":
        """Find the factors that agree between neighbours more than chance allows.

        Chance is the largest Moran's I of any direction after the spots were shuffled (mean of three shuffles).

        Parameters
        ----------
        features
            ``(n_spots, n_features)``, best first; no more than a tenth as many as there are spots are used.
        adjacency
            ``(n_spots, n_spots)`` CSR, symmetric.
        outlier_sd
            Features are cut at this many robust standard deviations (1.4826 MAD) from their median: a few spots with
            one rare gene otherwise own whole components.
        max_factors
            Upper bound on the number of factors.
        seed
            For the shuffles.
        """
        n_spots = len(features)
        features = np.asarray(features, dtype=np.float64)
        center = np.median(features, axis=0)
        spread = 1.4826 * np.median(np.abs(features - center), axis=0)
        limit = np.where(spread > 0, outlier_sd * spread, np.inf)
        x = np.clip(features - center, -limit, limit)
        x -= x.mean(axis=0)
        everything, x = x, x[:, : max(10, n_spots // 10)]
        covariance = x.T @ x / n_spots
        covariance += 1e-8 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        moran, axes = eigh(_neighbour_covariance(x, adjacency), covariance)
        moran, axes = moran[::-1], axes[:, ::-1]
        rng = np.random.default_rng(seed)
        chance = np.mean(
            [
                eigh(_neighbour_covariance(x[rng.permutation(n_spots)], adjacency), covariance, eigvals_only=True)[-1]
                for _ in range(3)
            ]
        )
        n_factors = int(np.clip((moran > chance).sum(), min(2, len(moran)), max_factors))
        projection = np.zeros((features.shape[1], n_factors))
        projection[: x.shape[1]] = axes[:, :n_factors]
        loadings = (everything @ projection).T @ everything / n_spots  # least squares, since factors are uncorrelated
        return cls(center, limit, projection, loadings, moran[:n_factors])

    def inverse(self, factors: np.ndarray) -> np.ndarray:
        """Return the features that factor scores stand for, ``(n_spots, n_features)`` float32."""
        return (factors @ self.loadings + self.center).astype(np.float32)

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Return factor scores, ``(n_spots, n_factors)`` float64."""
        features = np.asarray(features, dtype=np.float64)
        return np.clip(features - self.center, -self.limit, self.limit) @ self.projection


def _neighbour_covariance(x: np.ndarray, adjacency: csr_matrix) -> np.ndarray:
    """Mean product of neighbours' values, symmetric: the signal's covariance, for noise is not shared."""
    shared = x.T @ (adjacency @ x) / max(adjacency.sum(), 1)
    return (shared + shared.T) / 2
