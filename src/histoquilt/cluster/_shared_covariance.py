"""EM for Gaussians that share one full covariance, several times faster than the general one."""

from dataclasses import dataclass

import numpy as np

_RIDGE = 1e-6  # added to variances, so that a flat direction cannot make one singular


@dataclass(frozen=True)
class SharedCovarianceFit:
    """Result of EM."""

    weights: np.ndarray  # (k,), summing to 1
    means: np.ndarray  # (k, n_components)
    log_likelihood: float  # mean over spots, before the last update of weights and means
    responsibilities: np.ndarray  # (n_spots, k), before that update

    def covariance(self, scores: np.ndarray) -> np.ndarray:
        """Return the covariance that all share, ``(n_components, n_components)``; ``scores`` are those of the fit."""
        return _within(scores.T @ scores / len(scores), self.weights, self.means)


def fit_shared_covariance(
    scores: np.ndarray,
    weights: np.ndarray,
    means: np.ndarray,
    covariance: np.ndarray | None = None,
    *,
    n_iterations: int = 500,
    tolerance: float = 1e-4,
) -> SharedCovarianceFit:
    """Run EM on scores ``(n_spots, n_components)`` until the mean log-likelihood changes by less than ``tolerance``.

    It starts from weights ``(k,)``, means ``(k, n_components)`` and a covariance, by default the scatter less that of
    the means. With a shared covariance, the scatter about the origin is that within the Gaussians plus that of their
    means, so that the covariance needs no pass over spots, and the responsibilities are a softmax of linear functions.
    The iterations are those of :class:`sklearn.mixture.GaussianMixture` with ``covariance_type="tied"``.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import fit_shared_covariance
    >>> scores = np.array([[-5.0], [-4], [-6], [5], [4], [6]])
    >>> fit = fit_shared_covariance(scores, np.array([0.5, 0.5]), np.array([[-1.0], [1]]))
    >>> fit.means.round(3).tolist(), fit.covariance(scores).round(3).tolist()
    ([[-1.051], [1.051]], [[24.561]])
    """
    n_spots, n_components = scores.shape
    columns = np.ascontiguousarray(scores.T)  # reductions over Gaussians are several times faster along the first axis
    scatter = columns @ scores / n_spots
    constant = n_components * np.log(2 * np.pi) / 2
    before = -np.inf
    for _ in range(n_iterations):
        if covariance is None:
            covariance = _within(scatter, weights, means)
        precision = np.linalg.inv(covariance)
        joint = log_joint_density(columns, weights, means, precision)
        largest = joint.max(axis=0)
        joint -= largest
        np.exp(joint, out=joint)
        sums = joint.sum(axis=0)
        joint /= sums
        shared = (precision * scatter).sum() + np.linalg.slogdet(covariance)[1]  # mean over spots
        log_likelihood = float((largest + np.log(sums)).mean() - shared / 2 - constant)
        sizes = joint.sum(axis=1) + 10 * np.finfo(float).eps  # a Gaussian can lose all its spots
        weights, means = sizes / n_spots, joint @ scores / sizes[:, None]
        covariance = None
        if abs(log_likelihood - before) < tolerance:
            break
        before = log_likelihood
    return SharedCovarianceFit(weights, means, log_likelihood, joint.T)


def log_joint_density(columns: np.ndarray, weights: np.ndarray, means: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Return log of weight times density of each Gaussian, ``(k, n_spots)``, up to a common term; spots are columns."""
    slopes = means @ precision  # (k, n_components)
    joint = slopes @ columns
    joint += (np.log(weights) - (slopes * means).sum(axis=1) / 2)[:, None]
    return joint


def _within(total: np.ndarray, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return the scatter less that of the means; no eigenvalue is below the ridge."""
    within = total - (means.T * weights) @ means
    values, vectors = np.linalg.eigh(within)
    return (vectors * (np.maximum(values, 0) + _RIDGE)) @ vectors.T
