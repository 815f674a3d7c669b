"""Mixture clustering with one shared covariance: mclust's "EEE", without R."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.distance import pdist
from scipy.special import logsumexp
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA

from histoquilt.cluster._shared_covariance import SharedCovarianceFit, fit_shared_covariance, log_joint_density

_WARD_SPOTS = 1000  # sample for Ward trees, which need all distances
_SHORT_RUN = 15  # EM iterations after which starts are compared
_FINALISTS = 5
_EXPLORED_SPOTS = 20_000  # larger data: starts and moves are tried on a sample, and the best finished on all spots
_PAIRS_MERGED = 5  # closest pairs of Gaussians that a move may merge
_MOST_MOVES = 10  # or as many as there are Gaussians
_ALL_MOVES = 10  # Gaussians up to which all moves are tried
_MOST_TRIALS = 20  # moves that are tried for more Gaussians
_LOCAL_RUN = 3  # EM iterations of the halves alone that estimate the gain of a move
_LEAST_GAIN = 1e-4  # of log-likelihood per spot
_RIDGE = 1e-6
_CHUNK = 50_000  # spots that are assigned to domains at a time


@dataclass(frozen=True)
class Mixture:
    """A fitted mixture, which assigns further spots to domains.

    Attributes
    ----------
    center, axes
        ``(n_features,)`` and ``(n_features, n_components)``: whitening of the embedding.
    weights, means, precision
        ``(k,)``, ``(k, n_components)`` and the shared precision ``(n_components, n_components)``.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import fit_mixture
    >>> rng = np.random.default_rng(0)
    >>> embedding = np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal(9, 1, (40, 2))])
    >>> mixture = fit_mixture(embedding, 2, n_starts=2).mixture
    >>> np.sort(mixture.weights).round(2).tolist()
    [0.4, 0.6]
    >>> mixture.probabilities(np.array([[0.0, 0], [9, 9]])).max(axis=1).round(3).tolist()  # two further spots
    [1.0, 1.0]
    """

    center: np.ndarray
    axes: np.ndarray
    weights: np.ndarray
    means: np.ndarray
    precision: np.ndarray

    def probabilities(self, embedding: np.ndarray) -> np.ndarray:
        """Return the posterior of each domain, ``(n_spots, k)``, for ``(n_spots, n_features)``."""
        if len(embedding) <= _CHUNK:
            return self._probabilities(embedding)
        found = np.empty((len(embedding), len(self.weights)))
        for start in range(0, len(embedding), _CHUNK):
            found[start : start + _CHUNK] = self._probabilities(embedding[start : start + _CHUNK])
        return found

    def _probabilities(self, embedding: np.ndarray) -> np.ndarray:
        scores = whitened(embedding, self.center, self.axes)
        joint = log_joint_density(scores.T, self.weights, self.means, self.precision)
        joint -= joint.max(axis=0)
        density = np.exp(joint)
        return (density / density.sum(axis=0)).T


@dataclass(frozen=True)
class NamedMixture:
    """A fitted mixture in the space of a model's embedding, with the domain names of its Gaussians.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import Mixture, NamedMixture
    >>> mixture = Mixture(np.zeros(1), np.eye(1), np.array([0.5, 0.5]), np.array([[-3.0], [3]]), np.eye(1))
    >>> named = NamedMixture(mixture, ["tumour", "stroma"])
    >>> np.array(named.names)[mixture.probabilities(np.array([[2.0], [-4]])).argmax(axis=1)].tolist()
    ['stroma', 'tumour']
    >>> list(named.arrays())
    ['center', 'axes', 'weights', 'means', 'precision']
    """

    mixture: Mixture
    names: list[str]

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of the mixture by name, for a checkpoint."""
        return dict(vars(self.mixture))

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray], names: Iterable[str]) -> "NamedMixture":
        """Rebuild it from :meth:`arrays` and the names."""
        return cls(Mixture(**arrays), list(names))


@dataclass(frozen=True)
class MixtureFit:
    """The most likely mixture of several starts."""

    labels: np.ndarray  # (n_spots,) int, 0 to k-1
    probabilities: np.ndarray  # (n_spots, k) posterior of each domain
    log_likelihood: float  # mean over the spots of the fit
    mixture: Mixture | None = None  # for further spots; None if too few different rows to fit
    n_fitted: int = 0  # spots of the fit


def fit_mixture(
    embedding: np.ndarray,
    n_domains: int,
    *,
    n_components: int = 15,
    n_starts: int = 30,
    sample: np.ndarray | None = None,
    seed: int = 0,
) -> MixtureFit:
    """Fit Gaussians that share one full covariance, and keep the most likely of several starts.

    The embedding is reduced to ``n_components`` principal components of unit variance. Half of the starts are Ward
    trees on a seeded sample, half k-means; each runs a few EM iterations, and the five most likely are improved by
    :func:`split_and_merge`. The most likely fit with spots in every domain is kept; if there is none, or too few rows
    differ, ``labels`` hold fewer than ``n_domains`` numbers.

    Parameters
    ----------
    embedding, n_domains
        ``(n_spots, n_features)``, and the number of Gaussians.
    n_components, n_starts, seed
        Principal components to cluster in; number of starts; random seed of the samples.
    sample
        Row numbers to fit on, e.g. of :func:`histoquilt.cluster.spatial_sample`; other spots are assigned afterwards.
        By default, and if too few rows of the sample differ, all.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import fit_mixture
    >>> rng = np.random.default_rng(0)
    >>> embedding = np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal(9, 1, (40, 2))])
    >>> fit = fit_mixture(embedding, 2, n_starts=2)
    >>> sorted(np.bincount(fit.labels).tolist()), fit.probabilities.shape, fit.n_fitted
    ([40, 60], (100, 2), 100)
    """
    if sample is not None:
        fit = fit_mixture(embedding[sample], n_domains, n_components=n_components, n_starts=n_starts, seed=seed)
        if fit.mixture is not None:
            probabilities = fit.mixture.probabilities(embedding)
            return replace(fit, labels=probabilities.argmax(axis=1), probabilities=probabilities)
    center, axes = whitening(embedding, n_components)
    scores = whitened(embedding, center, axes)
    # repeated rows differ by rounding after the projection
    _, first, which = np.unique(np.round(scores, 8), axis=0, return_index=True, return_inverse=True)
    distinct = scores[first]
    if n_domains > 1 and len(distinct) < n_domains:
        labels = which.reshape(-1)
        return MixtureFit(labels, np.eye(n_domains)[labels], float("nan"), n_fitted=len(scores))
    pool = scores if len(distinct) == len(scores) else distinct  # repeated rows could start two domains at one place
    rng = np.random.default_rng(seed)
    explored = scores
    if len(scores) > _EXPLORED_SPOTS:
        explored = scores[rng.choice(len(scores), _EXPLORED_SPOTS, replace=False)]
    runs = []
    for start in range(n_starts if n_domains > 1 else 1):
        sample = pool[rng.choice(len(pool), min(_WARD_SPOTS, max(n_domains, int(0.8 * len(pool)))), replace=False)]
        moments = start_moments(sample, _start_labels(sample, n_domains, start, rng), n_domains)
        runs.append(fit_shared_covariance(explored, *moments, n_iterations=_SHORT_RUN))
    runs.sort(key=lambda run: -run.log_likelihood)
    runs = [split_and_merge(explored, run) for run in runs[:_FINALISTS]] + runs[_FINALISTS:]
    fits: list[MixtureFit] = []
    for number, run in enumerate(runs):
        if number >= _FINALISTS and any(_has_all(fit, n_domains) for fit in fits):
            break
        final = fit_shared_covariance(scores, run.weights, run.means)
        mixture = Mixture(center, axes, final.weights, final.means, np.linalg.inv(final.covariance(scores)))
        probabilities = mixture.probabilities(embedding)
        labels = probabilities.argmax(axis=1)
        fits.append(MixtureFit(labels, probabilities, final.log_likelihood, mixture, len(scores)))
    return max(fits, key=lambda fit: (_has_all(fit, n_domains), fit.log_likelihood))


def split_and_merge(scores: np.ndarray, fit: SharedCovarianceFit) -> SharedCovarianceFit:
    """Escape poor optima: merge two Gaussians, split a third and run EM, as long as the likelihood increases.

    Most optima that EM finds from random starts have two Gaussians in place of one, and one in place of two. Up to ten
    Gaussians all moves are tried and the best is taken. For more, moves are ordered by an estimate of their gain, at
    most 20 are tried, and the first that increases the likelihood is taken.

    References
    ----------
    Ueda, Nakano, Ghahramani, Hinton. Neural Computation 12(9): 2109-2128, 2000 (split and merge EM).
    """
    k = len(fit.weights)
    best = fit_shared_covariance(scores, fit.weights, fit.means)
    for _ in range(max(_MOST_MOVES, k) if k > 2 else 0):
        trials = []
        for weights, means in _moves(scores, best):
            trials.append(fit_shared_covariance(scores, weights, means, n_iterations=_SHORT_RUN))
            if k > _ALL_MOVES and trials[-1].log_likelihood > best.log_likelihood + _LEAST_GAIN:
                break
        moved = max(trials, key=lambda trial: trial.log_likelihood)
        moved = fit_shared_covariance(scores, moved.weights, moved.means)
        if moved.log_likelihood <= best.log_likelihood + _LEAST_GAIN:
            break
        best = moved
    return best


def _moves(scores: np.ndarray, fit: SharedCovarianceFit) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield weights and means after each move: one of the closest pairs of Gaussians merged, and a third split."""
    k = len(fit.weights)
    precision = np.linalg.inv(fit.covariance(scores))
    distances = pdist(fit.means @ np.linalg.cholesky(precision))
    pairs = np.stack(np.triu_indices(k, 1), axis=1)[np.argsort(distances)[:_PAIRS_MERGED]]
    halves = [_halves(scores, fit, gaussian) for gaussian in range(k)]
    merged = []
    for pair in pairs:
        weight = fit.weights[pair].sum()
        merged.append((weight, fit.weights[pair] @ fit.means[pair] / weight))
    moves = [(number, third) for number, pair in enumerate(pairs) for third in set(range(k)) - set(pair.tolist())]
    if k > _ALL_MOVES:
        gains = _expected_gains(scores, fit, precision, pairs, merged, halves)
        moves = sorted(moves, key=lambda move: -gains[move])[:_MOST_TRIALS]
    for number, third in moves:
        one, other = pairs[number]
        weights, means = fit.weights.copy(), fit.means.copy()
        weights[one], means[one] = merged[number]
        means[other], means[third] = halves[third]
        weights[other] = weights[third] = fit.weights[third] / 2
        yield weights, means


def _expected_gains(
    scores: np.ndarray,
    fit: SharedCovarianceFit,
    precision: np.ndarray,
    pairs: np.ndarray,
    merged: list[tuple[float, np.ndarray]],
    halves: list[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Return the change of log-likelihood by merging each pair and splitting each Gaussian, ``(n_pairs, k)``.

    Merge and split are added up, other Gaussians and the covariance stay, and only the halves go through a few EM
    iterations, so that all moves together cost about as much as a short run of EM.
    """
    columns = np.ascontiguousarray(scores.T)
    total = logsumexp(log_joint_density(columns, fit.weights, fit.means, precision), axis=0)
    others = 1 - fit.responsibilities

    def density(weights: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return the joint density over that of the mixture, ``(n_gaussians, n_spots)``."""
        return np.exp(log_joint_density(columns, weights, means, precision) - total)

    by_merging = [
        np.log(np.maximum(others[:, pair].sum(axis=1) - 1, 0) + density(np.array([weight]), mean[None])[0]).mean()
        for pair, (weight, mean) in zip(pairs, merged, strict=True)
    ]
    by_splitting = []
    for third, means in enumerate(map(np.stack, halves)):
        weights = np.full(2, fit.weights[third] / 2)
        for _ in range(_LOCAL_RUN):
            shares = density(weights, means)
            shares /= others[:, third] + shares.sum(axis=0)
            sizes = shares.sum(axis=1) + 10 * np.finfo(float).eps
            weights, means = sizes / len(scores), shares @ scores / sizes[:, None]
        by_splitting.append(np.log(others[:, third] + density(weights, means).sum(axis=0)).mean())
    return np.add.outer(by_merging, by_splitting)


def _halves(scores: np.ndarray, fit: SharedCovarianceFit, gaussian: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two means, one standard deviation from a Gaussian's mean along the main axis of its spots."""
    share = fit.responsibilities[:, gaussian]
    residuals = scores - fit.means[gaussian]
    scatter = (residuals * share[:, None]).T @ residuals / max(share.sum(), 1e-12)
    values, vectors = np.linalg.eigh(scatter)
    step = np.sqrt(max(values[-1], 0)) * vectors[:, -1]
    return fit.means[gaussian] - step, fit.means[gaussian] + step


def _has_all(fit: MixtureFit, n_domains: int) -> bool:
    """Return whether every domain has a spot; EM can empty one."""
    return len(np.unique(fit.labels)) == n_domains


def whitening(embedding: np.ndarray, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Return center and axes of principal components of unit variance, without flat directions.

    A constant embedding gives a single axis of zeros.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import whitening
    >>> center, axes = whitening(np.array([[0.0, 5], [4, 5], [8, 5]]), n_components=2)
    >>> center.tolist(), axes.shape  # the second feature is constant
    ([4.0, 5.0], (2, 1))
    """
    embedding = np.asarray(embedding, dtype=np.float64)
    n_features = embedding.shape[1]
    if (np.ptp(embedding, axis=0) <= 1e-7 * np.abs(embedding).max(axis=0)).all():  # constant but for rounding
        return embedding.mean(axis=0), np.zeros((n_features, 1))
    pca = PCA(min(n_components, n_features, len(embedding) - 1), svd_solver="full").fit(embedding)
    spread = np.sqrt(pca.explained_variance_ * (len(embedding) - 1) / len(embedding))
    kept = spread > 1e-6 * spread.max()
    return pca.mean_, (pca.components_[kept] / spread[kept, None]).T


def whitened(embedding: np.ndarray, center: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the scores of spots on the axes of :func:`whitening`, ``(n_spots, n_components)`` float64.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import whitened, whitening
    >>> embedding = np.random.default_rng(0).normal(size=(50, 3)) * [10, 1, 0.1]
    >>> scores = whitened(embedding, *whitening(embedding, n_components=2))
    >>> scores.shape, scores.std(axis=0).round(3).tolist()
    ((50, 2), [1.0, 1.0])
    """
    return (np.asarray(embedding, dtype=np.float64) - center) @ axes


def _start_labels(sample: np.ndarray, n_domains: int, start: int, rng: np.random.Generator) -> np.ndarray:
    if n_domains == 1:
        return np.zeros(len(sample), int)
    if start % 2 == 0:
        return AgglomerativeClustering(n_domains).fit_predict(sample)
    return KMeans(n_domains, n_init=1, random_state=int(rng.integers(2**31))).fit_predict(sample)


def start_moments(sample: np.ndarray, labels: np.ndarray, n_domains: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, means and shared covariance of labelled spots, as a start of EM.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import start_moments
    >>> weights, means, covariance = start_moments(np.array([[0.0], [2], [9], [11]]), np.array([0, 0, 1, 1]), 2)
    >>> weights.tolist(), means.tolist(), covariance.round(3).tolist()
    ([0.5, 0.5], [[1.0], [10.0]], [[1.0]])
    """
    counts = np.bincount(labels, minlength=n_domains)
    means = np.stack([sample[labels == domain].mean(axis=0) for domain in range(n_domains)])
    residuals = sample - means[labels]
    covariance = residuals.T @ residuals / len(sample) + _RIDGE * np.eye(sample.shape[1])
    return counts / counts.sum(), means, covariance
