"""Refits of a mixture for resampling: a few starts of EM and no moves, many times faster than ``fit_mixture``."""

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans

from histoquilt.cluster._mixture import Mixture, start_moments
from histoquilt.cluster._shared_covariance import fit_shared_covariance

_START_SPOTS = 400  # sample of a start; Ward trees need all distances
_SHORT_RUN = 15  # EM iterations after which starts are compared


def refit(scores: np.ndarray, n_domains: int, *, n_starts: int, rng: np.random.Generator) -> Mixture | None:
    """Fit Gaussians with one shared covariance to scores ``(n_spots, n_components)``, the likeliest of a few starts.

    Half of the starts are Ward trees on a sample, half k-means. Returns None if too few rows differ.
    """
    if len(np.unique(np.round(scores, 8), axis=0)) < max(n_domains, 2):
        return None
    size = min(len(scores), max(n_domains, min(_START_SPOTS, int(0.8 * len(scores)))))
    runs = []
    for start in range(n_starts if n_domains > 1 else 1):
        sample = scores[rng.choice(len(scores), size, replace=False)]
        labels = _start(sample, n_domains, start, rng)
        if len(np.unique(labels)) == n_domains:  # fewer where rows repeat
            moments = start_moments(sample, labels, n_domains)
            runs.append(fit_shared_covariance(scores, *moments, n_iterations=_SHORT_RUN))
    if not runs:
        return None
    best = max(runs, key=lambda run: run.log_likelihood)
    final = fit_shared_covariance(scores, best.weights, best.means)
    identity = np.eye(scores.shape[1])
    precision = np.linalg.inv(final.covariance(scores))
    return Mixture(np.zeros(scores.shape[1]), identity, final.weights, final.means, precision)


def _start(sample: np.ndarray, n_domains: int, start: int, rng: np.random.Generator) -> np.ndarray:
    if start % 2 == 0:
        return fcluster(linkage(sample, "ward"), n_domains, "maxclust") - 1
    if len(np.unique(np.round(sample, 8), axis=0)) < n_domains:
        return np.zeros(len(sample), int)
    return KMeans(n_domains, n_init=1, max_iter=20, random_state=int(rng.integers(2**31))).fit_predict(sample)
