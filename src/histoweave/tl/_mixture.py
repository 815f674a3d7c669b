"""Mixture clustering with one shared covariance: mclust's "EEE", without R."""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

_WARD_SPOTS = 1000  # Ward needs all distances of what it is given, so it starts EM on a sample
_SHORT_RUN = 15  # EM iterations after which a start shows what it is worth
_FINALISTS = 3


@dataclass(frozen=True)
class MixtureFit:
    """The most likely mixture of several starts.

    Attributes
    ----------
    labels
        ``(n_spots,)`` int, 0 to k-1.
    probabilities
        ``(n_spots, k)`` posterior of each domain.
    log_likelihood
        Mean over spots.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    log_likelihood: float


def fit_mixture(
    embedding: np.ndarray, n_domains: int, *, n_components: int = 15, n_starts: int = 30, seed: int = 0
) -> MixtureFit:
    """Fit Gaussians that share one full covariance, and keep the most likely of several starts.

    The embedding is brought to ``n_components`` principal components of unit variance (the model itself does not
    depend on the scale). Half of the starts are Ward trees on a seeded sample, half are k-means; each runs a few EM
    iterations, the three most likely go on until EM converges. The most likely fit that gives every domain a spot is
    kept; where no start does, or rows are too few that differ, ``labels`` hold fewer than ``n_domains`` numbers.

    Parameters
    ----------
    embedding
        ``(n_spots, n_features)``.
    n_domains
        Number of Gaussians.
    n_components
        Principal components of the embedding to cluster in.
    n_starts
        Starts; more find a likelier optimum.
    seed
        For the samples.
    """
    scores = _whitened_scores(embedding, n_components)
    # rows that repeat differ by rounding once they are projected
    _, first, which = np.unique(np.round(scores, 8), axis=0, return_index=True, return_inverse=True)
    distinct = scores[first]
    if n_domains == 1 or len(distinct) < n_domains:
        labels = np.zeros(len(scores), int) if n_domains == 1 else which.reshape(-1)
        return MixtureFit(labels, np.eye(n_domains)[labels], float("nan"))
    ridge = 1e-6
    pool = scores if len(distinct) == len(scores) else distinct  # rows that repeat would start two domains at one place
    rng = np.random.default_rng(seed)
    runs = []
    for start in range(n_starts):
        sample = rng.choice(len(pool), min(_WARD_SPOTS, max(n_domains, int(0.8 * len(pool)))), replace=False)
        labels = _start_labels(pool[sample], n_domains, start, rng)
        runs.append(_run_em(scores, *_moments(pool[sample], labels, n_domains, ridge), _SHORT_RUN, ridge))
    runs.sort(key=lambda run: -run.lower_bound_)
    fits: list[MixtureFit] = []
    for number, run in enumerate(runs):
        if number >= _FINALISTS and any(_has_all(fit, n_domains) for fit in fits):
            break
        final = _run_em(scores, run.weights_, run.means_, run.precisions_, 500, ridge)
        probabilities = final.predict_proba(scores)
        fits.append(MixtureFit(probabilities.argmax(axis=1), probabilities, float(final.lower_bound_)))
    return max(fits, key=lambda fit: (_has_all(fit, n_domains), fit.log_likelihood))


def _has_all(fit: MixtureFit, n_domains: int) -> bool:
    """Whether every domain holds a spot; EM can starve one."""
    return len(np.unique(fit.labels)) == n_domains


def _whitened_scores(embedding: np.ndarray, n_components: int) -> np.ndarray:
    """Principal components of unit variance; directions without variance are left out."""
    embedding = np.asarray(embedding, dtype=np.float64)
    if (np.ptp(embedding, axis=0) <= 1e-7 * np.abs(embedding).max(axis=0)).all():  # constant but for rounding
        return np.zeros((len(embedding), 1))
    k = min(n_components, embedding.shape[1], len(embedding) - 1)
    scores = PCA(k, svd_solver="full").fit_transform(embedding)
    spread = scores.std(axis=0)
    kept = spread > 1e-6 * spread.max()
    return scores[:, kept] / spread[kept]


def _start_labels(sample: np.ndarray, n_domains: int, start: int, rng: np.random.Generator) -> np.ndarray:
    if start % 2 == 0:
        return AgglomerativeClustering(n_domains).fit_predict(sample)
    return KMeans(n_domains, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(sample)


def _moments(
    sample: np.ndarray, labels: np.ndarray, n_domains: int, ridge: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and shared precision of labelled spots."""
    counts = np.bincount(labels, minlength=n_domains)
    means = np.stack([sample[labels == domain].mean(axis=0) for domain in range(n_domains)])
    residuals = sample - means[labels]
    covariance = residuals.T @ residuals / len(sample) + ridge * np.eye(sample.shape[1])
    return counts / counts.sum(), means, np.linalg.inv(covariance)


def _run_em(
    scores: np.ndarray, weights: np.ndarray, means: np.ndarray, precision: np.ndarray, n_iterations: int, ridge: float
) -> GaussianMixture:
    mixture = GaussianMixture(
        len(weights),
        covariance_type="tied",
        weights_init=weights,
        means_init=means,
        precisions_init=(precision + precision.T) / 2,
        max_iter=n_iterations,
        tol=1e-4,
        reg_covar=ridge,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # short runs are cut on purpose
        return mixture.fit(scores)
