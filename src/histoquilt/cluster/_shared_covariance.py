"""EM for Gaussians that share one full covariance, several times faster than the general one."""

from dataclasses import dataclass

import numpy as np

_RIDGE = 1e-6  # added to variances, so that a flat direction cannot make one singular


@dataclass(frozen=True)
class SharedCovarianceFit:
    """Where EM stopped.

    Attributes
    ----------
    weights
        ``(k,)``, summing to 1.
    means
        ``(k, n_components)``.
    log_likelihood
        Mean over spots, before the last update of weights and means.
    responsibilities
        ``(n_spots, k)``, of the same moment.
    """

    weights: np.ndarray
    means: np.ndarray
    log_likelihood: float
    responsibilities: np.ndarray

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
    """Run EM from given weights and means until the likelihood stands still.

    With one covariance for all, the scatter about the origin is that within the Gaussians plus that of their means. So
    the covariance needs no pass over spots once the whole scatter is known, and the responsibilities are a softmax of
    linear functions of a spot. The iterations are those of :class:`sklearn.mixture.GaussianMixture` with
    ``covariance_type="tied"``.

    Parameters
    ----------
    scores
        ``(n_spots, n_components)`` float64.
    weights, means
        Start, ``(k,)`` and ``(k, n_components)``.
    covariance
        Start, ``(n_components, n_components)``; by default what the means leave of the scatter.
    n_iterations
        At most.
    tolerance
        Stop where the mean log-likelihood changes by less.
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
    """Return log weight times density of each Gaussian, ``(k, n_spots)``, but for what all of them share.

    ``columns`` are scores with spots along the second axis.
    """
    slopes = means @ precision  # (k, n_components)
    joint = slopes @ columns
    joint += (np.log(weights) - (slopes * means).sum(axis=1) / 2)[:, None]
    return joint


def _within(total: np.ndarray, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Scatter less that of the means; no eigenvalue below the ridge, whatever rounding does."""
    within = total - (means.T * weights) @ means
    values, vectors = np.linalg.eigh(within)
    return (vectors * (np.maximum(values, 0) + _RIDGE)) @ vectors.T
