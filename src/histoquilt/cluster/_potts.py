"""Potts field: domains that fit the embedding of every spot and agree with its neighbours.

The probability of a labeling is proportional to the product of every spot's Gaussian density under its domain and of
``exp(beta)`` for every pair of neighbours with the same domain (Besag 1986). Posteriors are those of the mean field
(Celeux, Forbes & Peyrard 2003); ``beta`` maximises the pseudo-likelihood of the field (Besag 1975).
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import softmax

from histoquilt.cluster._mixture import start_moments, whitened, whitening
from histoquilt.cluster._naming import restore_vanished
from histoquilt.cluster._shared_covariance import log_joint_density

_CHUNK = 50_000  # spots whose probabilities are updated at a time
_MOST_ROUNDS = 100
_TOLERANCE = 1e-3  # mean change of a spot's probabilities at which rounds end
_MOST_BETA = 3.0  # in a map without a single disagreement the likelihood increases with beta for ever


@dataclass(frozen=True)
class PottsFit:
    """Domains in a Potts field.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import potts_labels
    >>> from histoquilt.gr import radius_adjacency
    >>> line = np.array([[x, 0.0] for x in range(20)])
    >>> labels = np.repeat([0, 1], 10)
    >>> fit = potts_labels(np.random.default_rng(0).normal(size=(20, 2)), labels, radius_adjacency(line, 1), 2)
    >>> fit.labels.shape, fit.beta > 0  # neighbours tend to be of one domain
    ((20,), True)
    """

    labels: np.ndarray  # (n_spots,) int, 0 to k-1; -1 for unlabelled spots
    beta: float  # log odds that one more neighbour of a domain gives it


def potts_labels(
    embedding: np.ndarray, labels: np.ndarray, adjacency: csr_matrix, n_domains: int, *, n_components: int = 15
) -> PottsFit:
    """Refine domains: Gaussians of the domains in the embedding, and a Potts field that joins neighbours.

    Every domain is a Gaussian with the mean and weight of its spots, and all share one covariance. A domain that would
    vanish keeps its spots; spots without neighbours keep their label; unlabelled spots neither count nor change.

    Parameters
    ----------
    embedding
        ``(n_spots, n_features)``, preferably smoothed less than the one that the labels were found in.
    labels
        ``(n_spots,)`` int, 0 to k-1, -1 for unlabelled spots.
    adjacency
        ``(n_spots, n_spots)`` CSR of ones, symmetric, no self loops.
    n_domains
        Number of domains, k; each has a spot.
    n_components
        Number of principal components of the embedding to use.

    References
    ----------
    Besag. The Statistician 24(3): 179-195, 1975 (pseudo-likelihood).
    Besag. Journal of the Royal Statistical Society B 48(3): 259-302, 1986 (the model).
    Celeux, Forbes, Peyrard. Pattern Recognition 36(1): 131-144, 2003 (mean field).

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import potts_labels
    >>> from histoquilt.gr import radius_adjacency
    >>> line = np.array([[x, 0.0] for x in range(20)])
    >>> true = np.repeat([0, 1], 10)
    >>> embedding = np.array([[0, 0], [6, 6]])[true] + np.random.default_rng(0).normal(size=(20, 2))
    >>> labels = true.copy()
    >>> labels[3] = 1  # a wrong spot
    >>> potts_labels(embedding, labels, radius_adjacency(line, 1), 2).labels.tolist() == true.tolist()
    True
    """
    fixed = (labels < 0) | (np.diff(adjacency.indptr) == 0)
    unary = _gaussian_scores(embedding, labels, n_domains, n_components)
    shares = softmax(unary, axis=1)
    shares[labels < 0] = 0
    shares, beta = _mean_field(unary, shares, adjacency, fixed)
    refined = np.where(fixed, labels, shares.argmax(axis=1))
    return PottsFit(restore_vanished(labels, refined), beta)


def _gaussian_scores(embedding: np.ndarray, labels: np.ndarray, n_domains: int, n_components: int) -> np.ndarray:
    """Return log of weight times density of each domain, up to a term of the spot, ``(n_spots, k)`` float32."""
    labelled = labels >= 0
    center, axes = whitening(embedding[labelled], n_components)
    scores = whitened(embedding[labelled], center, axes)
    weights, means, covariance = start_moments(scores, labels[labelled], n_domains)
    precision = np.linalg.inv(covariance)
    found = np.empty((len(embedding), n_domains), np.float32)
    for start in range(0, len(embedding), _CHUNK):
        part = whitened(embedding[start : start + _CHUNK], center, axes)
        found[start : start + _CHUNK] = log_joint_density(part.T, weights, means, precision).T
    return found


def _mean_field(
    unary: np.ndarray, shares: np.ndarray, adjacency: csr_matrix, fixed: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the probabilities of the domains, ``(n_spots, k)``, and beta.

    In every round all spots move half-way to their probabilities given those of their neighbours, and beta takes a
    step of Newton's method on the pseudo-likelihood of the field.
    """
    free = np.flatnonzero(~fixed)
    if len(free) == 0:
        return shares, 0.0
    beta = 0.0
    for _ in range(_MOST_ROUNDS):
        votes = adjacency @ shares  # (n_spots, k), expected number of neighbours of each domain
        slope = curvature = change = 0.0
        for start in range(0, len(free), _CHUNK):
            rows = free[start : start + _CHUNK]
            by_neighbours = softmax(beta * votes[rows], axis=1)
            expected = (by_neighbours * votes[rows]).sum(axis=1)
            slope += float((shares[rows] * votes[rows]).sum(dtype=np.float64) - expected.sum(dtype=np.float64))
            curvature += float(((by_neighbours * votes[rows] ** 2).sum(axis=1) - expected**2).sum(dtype=np.float64))
            moved = softmax(unary[rows] + beta * votes[rows], axis=1)
            change += float(np.abs(moved - shares[rows]).sum(dtype=np.float64))
            shares[rows] = (shares[rows] + moved) / 2
        step = slope / max(curvature, 1e-12)
        beta_before, beta = beta, float(np.clip(beta + np.clip(step, -0.5, 0.5), 0, _MOST_BETA))
        if change < _TOLERANCE * len(free) and abs(beta - beta_before) < _TOLERANCE:
            break
    return shares, beta
