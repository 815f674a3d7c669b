"""Clustering by merging: mixtures with too many Gaussians, merged to the number asked for, and their consensus."""

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from histoquilt.cluster._hierarchy import DomainMoments, merge_domains
from histoquilt.cluster._mixture import Mixture, MixtureFit, start_moments, whitened, whitening
from histoquilt.cluster._refit import refit

EXTRA_GAUSSIANS = range(3, 16)  # Gaussians more than domains
_N_SEEDS = 3
_STARTS = 6
_CONSENSUS_SPOTS = 1500  # whose pairs are compared; with 800 and 3,000 the result is the same
LEAST_SHARE = 0.03  # of the spots, of a domain
_FITTED_SPOTS = 10_000
_CHUNK = 50_000


def fit_merged(
    embedding: np.ndarray,
    n_domains: int,
    *,
    n_components: int = 15,
    sample: np.ndarray | None = None,
    seed: int = 0,
) -> MixtureFit:
    """Cluster by over-clustering and merging, the consensus of 39 labelings.

    Mixtures with one shared covariance and 3 to 15 Gaussians more than domains are fitted from three seeds each, and
    merged to ``n_domains`` (:func:`merge_domains`), so that no domain holds less than 3 % of the spots. A mixture with
    a Gaussian for each domain cuts a domain that dominates the tissue into equal pieces; merging, which does not weigh
    sizes, joins such pieces again. On 1,500 spots the labelings are combined by average linkage of the share of them
    that keep two spots apart. Other spots join the domain from which the fewest labelings separate them; the
    probability of a domain is the share of labelings that do not separate a spot from it, relative to the sum over
    domains.

    Parameters
    ----------
    embedding, n_domains
        ``(n_spots, n_features)``, and the number of domains.
    n_components, seed
        Number of principal components to cluster in; random seed.
    sample
        Row numbers to fit on, of which at most 10,000 are used; by default all.

    Returns
    -------
    As :func:`fit_mixture`, with the Gaussians of the domains found as ``mixture``, which assigns spots of other tissue;
    ``log_likelihood`` is NaN. ``labels`` hold fewer than ``n_domains`` numbers, and ``mixture`` is None, if that many
    cannot be distinguished.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import fit_merged
    >>> rng = np.random.default_rng(0)
    >>> fit = fit_merged(np.concatenate([rng.normal(0, 1, (36, 2)), rng.normal(9, 1, (24, 2))]), 2)
    >>> sorted(np.bincount(fit.labels).tolist()), fit.probabilities.shape
    ([24, 36], (60, 2))
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(len(embedding)) if sample is None else sample
    if len(rows) > _FITTED_SPOTS:
        rows = np.sort(rng.choice(rows, _FITTED_SPOTS, replace=False))
    center, axes = whitening(embedding[rows], n_components)
    scores = whitened(embedding[rows], center, axes)
    members = [
        member
        for extra in EXTRA_GAUSSIANS
        for _ in range(_N_SEEDS)
        if (member := _member(scores, n_domains, n_domains + extra, rng)) is not None
    ]
    few = MixtureFit(np.zeros(len(embedding), int), np.eye(n_domains)[np.zeros(len(embedding), int)], float("nan"))
    if not members:
        return few
    some = rng.choice(len(scores), min(len(scores), _CONSENSUS_SPOTS), replace=False)
    labels = [of_gaussian[mixture.probabilities(scores[some]).argmax(axis=1)] for mixture, of_gaussian in members]
    consensus = _consensus(np.stack(labels), n_domains)
    together = [_together(own, consensus, n_domains) for own in labels]
    probabilities = np.zeros((len(embedding), n_domains))
    for start in range(0, len(embedding), _CHUNK):
        chunk = whitened(embedding[start : start + _CHUNK], center, axes)
        for (mixture, of_gaussian), own in zip(members, together, strict=True):
            probabilities[start : start + _CHUNK] += own[of_gaussian[mixture.probabilities(chunk).argmax(axis=1)]]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found = probabilities.argmax(axis=1)
    found[rows[some]] = consensus
    if len(np.unique(found[rows])) < n_domains:
        return few
    weights, means, covariance = start_moments(scores, found[rows], n_domains)
    mixture = Mixture(center, axes, weights, means, np.linalg.inv(covariance))
    return MixtureFit(found, probabilities, float("nan"), mixture, len(rows))


def _member(
    scores: np.ndarray, n_domains: int, n_gaussians: int, rng: np.random.Generator
) -> tuple[Mixture, np.ndarray] | None:
    """Return a mixture and the domain of each of its Gaussians; None if so many cannot be distinguished."""
    mixture = refit(scores, n_gaussians, n_starts=_STARTS, rng=rng)
    if mixture is None:
        return None
    labels = mixture.probabilities(scores).argmax(axis=1)
    seen = np.unique(labels)
    if len(seen) < n_domains:
        return None
    origin, identity = np.zeros(scores.shape[1]), np.eye(scores.shape[1])
    moments = DomainMoments.of(scores, np.searchsorted(seen, labels), origin, identity)
    of_seen = merge_domains(moments, least_share=LEAST_SHARE, down_to=n_domains).of_level[n_domains]
    nearest = mixture.probabilities(mixture.means)[:, seen].argmax(axis=1)  # of a Gaussian without spots
    return mixture, of_seen[nearest]


def _consensus(labels: np.ndarray, n_domains: int) -> np.ndarray:
    """Return the consensus ``(n_spots,)`` of labelings ``(n_labelings, n_spots)`` by average linkage.

    The tree is cut where it first has ``n_domains`` branches of at least 3 % of the spots; spots of smaller branches
    are given to the domain from which the fewest labelings separate them.
    """
    n_labelings, n_spots = labels.shape
    one_hot = (labels[:, None] == np.arange(n_domains)[None, :, None]).reshape(-1, n_spots).astype(np.float32)
    apart = 1 - (one_hot.T @ one_hot) / n_labelings
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart.clip(0), checks=False), "average")
    for n_branches in range(n_domains, min(n_spots, 4 * n_domains) + 1):
        branches = fcluster(tree, n_branches, "maxclust") - 1
        large = np.flatnonzero(np.bincount(branches) >= LEAST_SHARE * n_spots)
        if len(large) == n_domains:
            break
    else:
        branches = fcluster(tree, n_domains, "maxclust") - 1
        large = np.unique(branches)
    far = np.stack([apart[:, branches == branch].mean(axis=1) for branch in large], axis=1)  # (n_spots, n_domains)
    codes = far.argmin(axis=1)
    inside = np.isin(branches, large)
    codes[inside] = np.searchsorted(large, branches[inside])
    return codes


def _together(labels: np.ndarray, consensus: np.ndarray, n_domains: int) -> np.ndarray:
    """Return the share of the spots of each consensus domain that have each label, ``(n_labels, n_domains)``."""
    table = np.bincount(labels * n_domains + consensus, minlength=n_domains**2).reshape(n_domains, n_domains)
    return table / np.maximum(table.sum(axis=0), 1)
