"""Spatial factors: directions of feature space with the highest spatial autocorrelation, and their smoothing.

Principal components are ordered by variance, which includes noise: in some sections all but one or two of 200 have no
spatial structure. Spatial factors are ordered by autocorrelation (min/max autocorrelation factors, Switzer & Green
1984; MULTISPATI, Dray, Said & Debias 2008). The covariance at two distances gives the noise of each factor (the nugget
of its variogram), and the number of averagings over the graph minimises an unbiased estimate of the squared error
(Mallows' Cp). Labels are not used.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_matrix, diags, eye

from histoquilt.models.smoothing._patches import inner_spots, scattered_patches
from histoquilt.pp import row_chunks

_MAX_STEPS = 12
SAMPLED_SPOTS = 50_000  # largest number of spots to which factors are fitted


@dataclass(frozen=True)
class FactorProjection:
    """Fitted projection from features to spatial factors of unit variance."""

    center: np.ndarray  # (n_features,) median
    length: float  # median length of a spot's centred features, to which all are scaled; 0 for no scaling
    limit: np.ndarray  # (n_features,) largest distance from the median; values are clipped
    offset: np.ndarray  # (n_features,) mean of the clipped features
    projection: np.ndarray  # (n_features, n_factors) from centred features to factors
    loadings: np.ndarray  # (n_factors, n_features) from factors to centred features
    autocorrelation: np.ndarray  # (n_factors,) Moran's I, decreasing
    n_smoothing_steps: np.ndarray  # (n_factors,) int, number of averagings over the graph
    noise: np.ndarray  # (n_factors,) share of the variance that is noise, 0 to 1
    n_fitted: int  # number of spots used

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
        """Fit the factors with more autocorrelation than the best one after shuffling spots (mean of ten shuffles).

        At most 50,000 spots are used, in patches from all over the tissue.

        Parameters
        ----------
        features
            Features ``(n_spots, n_features)``, best first; at most a tenth of the number of spots are used.
        adjacency
            Spatial graph, ``(n_spots, n_spots)`` CSR, symmetric.
        outlier_sd
            Number of robust standard deviations (1.4826 MAD) at which features are clipped: otherwise a few spots with
            one rare gene determine whole factors.
        equal_length
            If true, scale the features of every spot to the same length: in some embeddings spots with few counts or
            one rare gene are many times longer than others.
        max_factors
            Largest number of factors.
        seed
            Random seed of shuffles and patches.

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
        centred = x - offset
        x = centred[:, : max(10, n_spots // 10)]
        covariance = x.T @ x / n_spots
        covariance += 1e-8 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        moran, axes = eigh(_neighbour_covariance(x, adjacency), covariance)
        moran, axes = moran[::-1], axes[:, ::-1]
        rng = np.random.default_rng(seed)
        shuffles = (_neighbour_covariance(x[rng.permutation(n_spots)], adjacency) for _ in range(10))
        chance = np.mean([eigh(shuffled, covariance, eigvals_only=True)[-1] for shuffled in shuffles])
        n_factors = int(np.clip((moran > chance).sum(), min(2, len(moran)), max_factors))
        projection = np.zeros((features.shape[1], n_factors))
        projection[: x.shape[1]] = axes[:, :n_factors]
        factors = centred @ projection
        loadings = factors.T @ centred / n_spots  # least squares, since factors are uncorrelated
        noise = estimate_noise(factors, adjacency)
        steps = choose_smoothing_steps(factors, adjacency, noise, inner=inner, seed=seed)
        return cls(center, length, limit, offset, projection, loadings, moran[:n_factors], steps, noise, n_spots)

    def inverse(self, factors: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
        """Convert factor scores to features, ``(n_spots, n_features)`` float32; row_scale: of :meth:`row_scale`."""
        return ((factors @ self.loadings + self.offset) * row_scale[:, None] + self.center).astype(np.float32)

    def row_scale(self, features: np.ndarray) -> np.ndarray:
        """Length of each spot's features relative to the common length, ``(n_spots,)``."""
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
    """Scale rows to a common length; 0 for no scaling."""
    if length == 0:
        return x
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x * np.divide(length, norms, out=np.zeros_like(norms), where=norms > 0)


def _neighbour_covariance(x: np.ndarray, adjacency: csr_matrix) -> np.ndarray:
    """Covariance between neighbours, symmetric."""
    shared = x.T @ (adjacency @ x) / max(adjacency.sum(), 1)
    return (shared + shared.T) / 2


def estimate_noise(factors: np.ndarray, adjacency: csr_matrix) -> np.ndarray:
    """Return the noise variance of factors ``(n_spots, n_factors)`` of unit variance: the nugget of the variogram.

    The covariance of spots one and two hops apart, extrapolated to distance zero, is the variance of the signal.
    Returns ``(n_factors,)``, 0 to 1.
    """
    links = _pattern(adjacency)
    one_hop = _shell_covariance(factors, links)
    two_hop = _shell_covariance(factors, _second_shell(links))
    return 1 - np.clip(2 * one_hop - two_hop, one_hop, 1.0)  # linear extrapolation from distances 1 and 2 to 0


def choose_smoothing_steps(
    factors: np.ndarray,
    adjacency: csr_matrix,
    noise: np.ndarray,
    *,
    max_steps: int = _MAX_STEPS,
    inner: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Choose for every factor the number of averagings over the graph, ``(n_factors,)`` int32, at most ``max_steps``.

    It minimises an unbiased estimate of the squared error after ``t`` averagings with ``S = D^-1 (A + I)``:
    ``|S^t x - x|^2 / n + 2 noise tr(S^t) / n`` (Mallows' Cp, up to a constant), where ``A`` holds the weights of links
    and ``D`` the total weights of spots, their own 1 among them. Thin structures get no averaging, broad noisy ones
    several.

    factors: ``(n_spots, n_factors)``, centred, unit variance; adjacency: ``(n_spots, n_spots)`` CSR without self loops;
    noise: of :func:`estimate_noise`; inner: ``(n_spots,)`` bool, spots over which the error is computed; seed: of the
    probes that estimate the trace.
    """
    n_spots = factors.shape[0]
    averaging = diags(1 / (1 + _total_weight(adjacency))) @ (adjacency.astype(float) + eye(n_spots, format="csr"))
    probes = np.random.default_rng(seed).choice([-1.0, 1.0], size=(n_spots, 30))  # Hutchinson's trace estimator
    smoothed, spread = factors, probes
    where = slice(None) if inner is None else inner
    risks = [2 * noise]
    for _ in range(max_steps):
        smoothed, spread = averaging @ smoothed, averaging @ spread
        trace_share = (probes * spread)[where].mean()
        risks.append(((smoothed - factors) ** 2)[where].mean(axis=0) + 2 * noise * trace_share)
    return np.argmin(risks, axis=0).astype(np.int32)


def _total_weight(adjacency: csr_matrix) -> np.ndarray:
    """Return the sum of the weights of every spot's links, ``(n_spots,)`` float64."""
    return np.asarray(adjacency.sum(axis=1, dtype=np.float64)).ravel()


def _pattern(adjacency: csr_matrix) -> csr_matrix:
    """Return a matrix with every stored entry replaced by 1."""
    return csr_matrix((np.ones(adjacency.nnz), adjacency.indices, adjacency.indptr), adjacency.shape)


def _second_shell(links: csr_matrix) -> csr_matrix:
    """Pairs of spots two hops apart."""
    reached = links @ links
    reached.setdiag(0)
    reached = (reached > 0).astype(float)
    shell = reached - reached.multiply(links)
    shell.eliminate_zeros()
    return csr_matrix(shell)


def _shell_covariance(factors: np.ndarray, pairs: csr_matrix) -> np.ndarray:
    """Covariance over pairs of spots, ``(n_factors,)``."""
    return np.einsum("ij,ij->j", factors, pairs @ factors) / max(pairs.sum(), 1)


def smooth(factors: np.ndarray, adjacency: csr_matrix, n_steps: np.ndarray) -> np.ndarray:
    """Average every column ``n_steps`` times over spots and their neighbours, ``(n_spots, n_factors)`` float32.

    A spot has weight 1 in its own mean, and its neighbours the weights in ``adjacency``.
    """
    links = adjacency.astype(np.float32)
    share = (1 / (1 + _total_weight(adjacency))).astype(np.float32)[:, None]
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
