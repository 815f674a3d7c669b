"""Do sections mix in an embedding: silhouette of the sections, and entropy of the sections around each spot.

Where we differ from the published measures, and why: the silhouette takes squared distances, which need no pairs of
spots (see :func:`spatial_silhouette`); the entropy is divided by the one that chance would give for the number of
neighbours looked at, not by that of infinitely many neighbours, which no mixing reaches.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import hypergeom

from histoquilt.metrics._labels import encode
from histoquilt.metrics.mixing._lisi import MAX_SPOTS, Neighbors, checked_embedding, nearest_others
from histoquilt.metrics.mixing._silhouette import _silhouettes

N_NEIGHBORS = 30


def batch_silhouette(embedding: ArrayLike, sections: ArrayLike, *, domains: ArrayLike | None = None) -> float:
    """Silhouette of the sections, turned round: 1 where sections cannot be told apart, 0 where they lie far apart.

    Every spot has a silhouette ``s`` that compares its mean squared distance to the spots of its own section with that
    to the nearest other section. The result is the mean of ``1 - |s|``: over all spots; or, with ``domains``, over the
    spots of each domain, looked at by itself, and then over domains, so that sections may differ in which domains
    they hold. Domains that lie in one section only are left out.

    With more than two sections the nearest other one decides, so one odd section among several that mix goes unseen:
    look at pairs of sections too (:func:`mixing_table`).

    Parameters
    ----------
    embedding
        ``(n_spots, n_dims)``.
    sections
        One section name per spot, ``(n_spots,)``.
    domains
        One domain per spot; spots without one are left out.

    Returns
    -------
    A number in [0, 1]. Time is spots times sections; nothing is sampled.

    Raises
    ------
    ValueError
        Lengths differ, the embedding is not finite, a spot has no section, there is a single section, or no domain
        lies in two sections.

    References
    ----------
    Luecken et al., scIB, Nature Methods 19, 2022 (there with plain distances).

    Examples
    --------
    >>> import numpy as np
    >>> line = np.arange(200.0)[:, None]
    >>> sections = np.array(["a", "b"] * 100)
    >>> round(batch_silhouette(line, sections), 2)
    0.99
    >>> round(batch_silhouette(line + 9999 * (sections == "b")[:, None], sections), 2)
    0.0
    """
    points, codes = checked_embedding(embedding, sections)
    if domains is None:
        return float(np.mean(1 - np.abs(_silhouettes(codes, points))))
    domain = domain_codes(domains, len(codes))
    scores = []
    for one in np.unique(domain[domain >= 0]):
        inside = domain == one
        if len(np.unique(codes[inside])) > 1:
            scores.append(np.mean(1 - np.abs(_silhouettes(codes[inside], points[inside]))))
    if not scores:
        raise ValueError(
            "No domain lies in two sections, so their mixing within domains cannot be measured. Leave domains= out, or "
            "check that the domains were found for all sections together."
        )
    return float(np.mean(scores))


def batch_entropy(
    embedding: ArrayLike,
    sections: ArrayLike,
    *,
    n_neighbors: int = N_NEIGHBORS,
    max_spots: int = MAX_SPOTS,
    seed: int = 0,
) -> float:
    """Entropy of the sections among the nearest neighbours of a spot, against that of perfect mixing.

    Perfect mixing means that the ``n_neighbors`` are drawn at random from all spots: the expected entropy of such a
    draw, exact for sections of any size, is what the mean entropy is divided by.

    Parameters
    ----------
    embedding
        ``(n_spots, n_dims)``.
    sections
        One section name per spot, ``(n_spots,)``.
    n_neighbors
        Neighbours looked at, at least 2.
    max_spots, seed
        As in :func:`ilisi`.

    Returns
    -------
    0 where every spot has neighbours of one section only, 1 for mixing as by chance; a little above 1 where sections
    alternate more evenly than chance would have it, at most the ratio of ``log(n_sections)`` to that expectation.

    Raises
    ------
    ValueError
        As in :func:`ilisi`, or ``n_neighbors`` is not between 2 and the number of other spots.

    Examples
    --------
    >>> batch_entropy([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]], list("aaabbb"), n_neighbors=2)
    0.0
    """
    points, codes = checked_embedding(embedding, sections)
    if not 2 <= n_neighbors < len(codes):
        raise ValueError(f"n_neighbors must be from 2 to {len(codes) - 1} (the other spots), got {n_neighbors}.")
    return entropy_ratio(nearest_others(points, n_neighbors, max_spots, seed), codes, n_neighbors)


def entropy_ratio(neighbors: Neighbors, codes: np.ndarray, n_neighbors: int) -> float:
    """Return the mean entropy of the codes among the nearest neighbours over that of a random draw."""
    near = neighbors.indices[:, :n_neighbors]
    k, n_spots = near.shape[1], len(codes)
    n_labels = codes.max() + 1
    cells = np.arange(len(near))[:, None] * n_labels + codes[near]
    found = np.bincount(cells.ravel(), minlength=len(near) * n_labels)
    term = np.zeros(k + 1)  # -p log p for a label that 0..k of the neighbours carry
    share = np.arange(1, k + 1) / k
    term[1:] = -share * np.log(share)
    # a spot and its k others are together a random set, so each label's count among the others is hypergeometric
    expected = sum(hypergeom.pmf(np.arange(k + 1), n_spots, size, k) @ term for size in np.bincount(codes))
    return float(term[found].sum() / len(near) / expected)


def domain_codes(domains: Any, n_spots: int) -> np.ndarray:
    """Return a code per spot, -1 for spots without a domain."""
    codes = encode(domains, "domains")
    if len(codes) != n_spots:
        raise ValueError(f"domains must name one domain per spot: {n_spots:,} spots, {len(codes):,} domains.")
    return codes
