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
from scipy.sparse import csr_matrix, diags, eye

from histoquilt.models.smoothing._patches import inner_spots, scattered_patches
from histoquilt.pp import row_chunks

_MAX_STEPS = 12
SAMPLED_SPOTS = 50_000  # at most, that the factors of a large section are sought in


@dataclass(frozen=True)
class FactorProjection:
    """Fitted projection from features to spatial factors of unit variance.

    Attributes
    ----------
    center
        ``(n_features,)`` median of every feature.
    length
        Median length of a spot's centred features; 0 where rows keep their own length.
    limit
        ``(n_features,)`` largest distance from the median that is believed; what lies beyond is cut.
    offset
        ``(n_features,)`` mean of what is left.
    projection
        ``(n_features, n_factors)`` from centred features to factors.
    loadings
        ``(n_factors, n_features)`` from factors back to centred features.
    autocorrelation
        ``(n_factors,)`` Moran's I of every factor, falling.
    n_smoothing_steps
        ``(n_factors,)`` int: averagings over the graph after which a factor is closest to its signal.
    noise
        ``(n_factors,)`` variance that neighbours do not share, 0 to 1 (:func:`estimate_noise`).
    n_fitted
        Spots that all this was learned from.
    """

    center: np.ndarray
    length: float
    limit: np.ndarray
    offset: np.ndarray
    projection: np.ndarray
    loadings: np.ndarray
    autocorrelation: np.ndarray
    n_smoothing_steps: np.ndarray
    noise: np.ndarray
    n_fitted: int

    @classmethod
    def fit(
        cls,
        features: np.ndarray,
        adjacency: csr_matrix,
        *,
        outlier_sd: float = 2.0,
        equal_length: bool = True,
        max_factors: int = 30,
        seed: int = 0,
    ) -> "FactorProjection":
        """Find the factors that agree between neighbours more than chance allows.

        Chance is the largest Moran's I of any direction after the spots were shuffled (mean of ten shuffles).
        They are sought in at most 50,000 spots, in patches from all over the tissue.

        Parameters
        ----------
        features
            ``(n_spots, n_features)``, best first; no more than a tenth as many as there are spots are used.
        adjacency
            ``(n_spots, n_spots)`` CSR, symmetric.
        outlier_sd
            Features are cut at this many robust standard deviations (1.4826 MAD) from their median: a few spots with
            one rare gene otherwise own whole components.
        equal_length
            Bring the features of every spot to the same length first, so that direction alone counts: spots with few
            counts or one rare gene are many times longer than others in some embeddings.
        max_factors
            Upper bound on the number of factors.
        seed
            For the shuffles, and the patches of a large section.

        Raises
        ------
        ValueError
            The features are the same in all spots.
        """
        sample = scattered_patches(adjacency, SAMPLED_SPOTS, seed=seed)
        inner = inner_spots(adjacency, sample, _MAX_STEPS)
        features, adjacency = features[sample], adjacency[sample][:, sample]
        n_spots = len(features)
        features = np.asarray(features, dtype=np.float64)
        if (features == features[0]).all():
            raise ValueError(
                f"The features are the same in all {n_spots:,} spots, so there is no pattern to find. Check what they "
                "were made from."
            )
        center = np.median(features, axis=0)
        length = float(np.median(np.linalg.norm(features - center, axis=1))) if equal_length else 0.0
        x = _of_length(features - center, length)
        spread = 1.4826 * np.median(np.abs(x), axis=0)
        limit = np.full(len(center), np.inf)
        limit[spread > 0] = outlier_sd * spread[spread > 0]
        x = np.clip(x, -limit, limit)
        offset = x.mean(axis=0)
        everything = x - offset
        x = everything[:, : max(10, n_spots // 10)]
        covariance = x.T @ x / n_spots
        covariance += 1e-8 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        moran, axes = eigh(_neighbour_covariance(x, adjacency), covariance)
        moran, axes = moran[::-1], axes[:, ::-1]
        rng = np.random.default_rng(seed)
        chance = np.mean(
            [
                eigh(_neighbour_covariance(x[rng.permutation(n_spots)], adjacency), covariance, eigvals_only=True)[-1]
                for _ in range(10)
            ]
        )
        n_factors = int(np.clip((moran > chance).sum(), min(2, len(moran)), max_factors))
        projection = np.zeros((features.shape[1], n_factors))
        projection[: x.shape[1]] = axes[:, :n_factors]
        factors = everything @ projection
        loadings = factors.T @ everything / n_spots  # least squares, since factors are uncorrelated
        noise = estimate_noise(factors, adjacency)
        steps = choose_smoothing_steps(factors, adjacency, noise, inner=inner, seed=seed)
        return cls(center, length, limit, offset, projection, loadings, moran[:n_factors], steps, noise, n_spots)

    def inverse(self, factors: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
        """Return the features that factor scores stand for, ``(n_spots, n_features)`` float32.

        ``row_scale`` comes from :meth:`row_scale`; it gives every spot its own length back.
        """
        return ((factors @ self.loadings + self.offset) * row_scale[:, None] + self.center).astype(np.float32)

    def row_scale(self, features: np.ndarray) -> np.ndarray:
        """Return by how much a spot's features are longer than the common length, ``(n_spots,)``."""
        if self.length == 0:
            return np.ones(len(features))
        parts = [np.linalg.norm(features[rows] - self.center, axis=1) for rows in row_chunks(*features.shape)]
        return np.concatenate(parts) / self.length

    def transform(self, features: np.ndarray) -> np.ndarray:
        """Return factor scores, ``(n_spots, n_factors)`` float32."""
        scores = np.empty((len(features), self.projection.shape[1]), np.float32)
        for rows in row_chunks(*features.shape):
            x = _of_length(features[rows].astype(np.float64) - self.center, self.length)
            scores[rows] = (np.clip(x, -self.limit, self.limit) - self.offset) @ self.projection
        return scores


def _of_length(x: np.ndarray, length: float) -> np.ndarray:
    """Rows of a common length; 0 leaves them as they are. A row of zeros stays one."""
    if length == 0:
        return x
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x * np.divide(length, norms, out=np.zeros_like(norms), where=norms > 0)


def _neighbour_covariance(x: np.ndarray, adjacency: csr_matrix) -> np.ndarray:
    """Mean product of neighbours' values, symmetric: the signal's covariance, for noise is not shared."""
    shared = x.T @ (adjacency @ x) / max(adjacency.sum(), 1)
    return (shared + shared.T) / 2


def estimate_noise(factors: np.ndarray, adjacency: csr_matrix) -> np.ndarray:
    """Return the part of every factor's variance that neighbours do not share, the nugget of its variogram.

    Signal changes smoothly over the tissue and noise does not, so the covariance of spots one and two hops apart, drawn
    out to distance zero, is the variance of the signal; the rest of it is noise.

    Parameters
    ----------
    factors
        ``(n_spots, n_factors)``, centred, unit variance.
    adjacency
        ``(n_spots, n_spots)`` CSR, symmetric, no self loops.

    Returns
    -------
    ``(n_factors,)``, 0 to 1.
    """
    links = _pattern(adjacency)
    one_hop = _shell_covariance(factors, links)
    two_hop = _shell_covariance(factors, _second_shell(links))
    return 1 - np.clip(2 * one_hop - two_hop, one_hop, 1.0)  # a straight line through distances 1 and 2, at distance 0


def choose_smoothing_steps(
    factors: np.ndarray,
    adjacency: csr_matrix,
    noise: np.ndarray,
    *,
    max_steps: int = _MAX_STEPS,
    inner: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Choose for every factor how often to average it over the graph, without labels.

    For each number ``t`` of averagings with ``S = D^-1 (A + I)`` the squared error against the signal is estimated
    without bias by ``|S^t x - x|^2 / n + 2 noise tr(S^t) / n`` (Mallows' Cp, up to a constant); the smallest wins. Thin
    structure loses signal with the first averaging and gets none; broad structure under much noise gets several.

    Parameters
    ----------
    factors
        ``(n_spots, n_factors)``, centred, unit variance.
    adjacency
        ``(n_spots, n_spots)`` CSR, symmetric, no self loops.
    noise
        ``(n_factors,)``, see :func:`estimate_noise`.
    max_steps
        Upper bound.
    inner
        ``(n_spots,)`` bool, spots over which the error is taken: of a sample those whose neighbours are in it.
    seed
        For the probes that estimate the trace.

    Returns
    -------
    ``(n_factors,)`` int32.
    """
    n_spots = factors.shape[0]
    links = _pattern(adjacency)
    averaging = diags(1 / (1 + np.diff(links.indptr))) @ (links + eye(n_spots, format="csr"))
    probes = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n_spots, 30))  # Hutchinson's trace estimator
    smoothed, spread = factors, probes
    where = slice(None) if inner is None else inner
    risks = [2 * noise]
    for _ in range(max_steps):
        smoothed, spread = averaging @ smoothed, averaging @ spread
        trace_share = (probes * spread)[where].mean()
        risks.append(((smoothed - factors) ** 2)[where].mean(axis=0) + 2 * noise * trace_share)
    return np.argmin(risks, axis=0).astype(np.int32)


def _pattern(adjacency: csr_matrix) -> csr_matrix:
    """Every stored entry as a one."""
    return csr_matrix((np.ones(adjacency.nnz), adjacency.indices, adjacency.indptr), adjacency.shape)


def _second_shell(links: csr_matrix) -> csr_matrix:
    """Pairs of spots that are two steps apart and not one."""
    reached = links @ links
    reached.setdiag(0)
    reached = (reached > 0).astype(float)
    shell = reached - reached.multiply(links)
    shell.eliminate_zeros()
    return csr_matrix(shell)


def _shell_covariance(factors: np.ndarray, pairs: csr_matrix) -> np.ndarray:
    """Mean product over pairs of spots, factor by factor."""
    return np.einsum("ij,ij->j", factors, pairs @ factors) / max(pairs.sum(), 1)


def smooth(factors: np.ndarray, adjacency: csr_matrix, n_steps: np.ndarray) -> np.ndarray:
    """Average every column ``n_steps`` times over spots and their neighbours, ``(n_spots, n_factors)`` float32.

    Columns that are done are left out.
    """
    links = _pattern(adjacency).astype(np.float32)
    share = (1 / (1 + np.diff(adjacency.indptr))).astype(np.float32)[:, None]
    smoothed = np.array(factors, dtype=np.float32)
    columns = np.flatnonzero(n_steps > 0)
    reached = smoothed[:, columns]
    for step in range(1, int(n_steps.max(initial=0)) + 1):
        reached = links @ reached + reached
        reached *= share
        done = n_steps[columns] == step
        smoothed[:, columns[done]] = reached[:, done]
        reached, columns = reached[:, ~done], columns[~done]
    return smoothed
