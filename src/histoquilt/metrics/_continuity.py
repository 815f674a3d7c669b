"""Spatial continuity of domains: CHAOS, PAS, and their mean, which SpaMask calls DIS. Lower is better."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from histoquilt.metrics._labels import labelled_points


def chaos(labels: ArrayLike, spatial: ArrayLike, *, sections: ArrayLike | None = None) -> float:
    """Return CHAOS, the mean distance of a spot to the nearest spot of its own domain; low for continuous domains.

    Each axis is standardized to mean 0 and (population) standard deviation 1. CHAOS is the sum over spots of the
    distance to the nearest other spot of the same domain, divided by the number of spots. It falls with the density of
    spots: compare it within one section, not between sections.

    Parameters
    ----------
    labels
        Domains, ``(n_spots,)``; unlabelled spots (``NaN``, ``None``, ``pd.NA`` or ``""``) are left out first.
    spatial
        Spot centres ``(x, y)`` or ``(x, y, z)`` in any unit, ``(n_spots, n_dims)``.
    sections
        Section name of each spot. Sections are standardized and measured separately, and the result is the mean over
        all spots. By default all spots are one section.

    Returns
    -------
    A number >= 0. It does not depend on shifting or stretching an axis, the order of spots or the names of domains; it
    may depend on rotation, because axes are standardized one by one, as published. A spot that is alone in its domain
    adds 0 to the sum and 1 to the number of spots, as in SpatialPCA (SDMBench's port also drops domains of two spots).

    Raises
    ------
    ValueError
        Lengths differ, coordinates are not finite, or no spot is labelled.

    References
    ----------
    Shang and Zhou, SpatialPCA, Nature Communications 13, 2022; Yuan et al., SDMBench, Nature Methods 21, 2024;
    the name is of Guo et al., 2019, for mass spectrometry images.

    Examples
    --------
    A square, two domains on opposite sides: each axis has standard deviation 1 when the side is 2.

    >>> chaos(["a", "a", "b", "b"], [[0, 0], [0, 2], [2, 0], [2, 2]])
    2.0
    """
    parts = labelled_points(labels, spatial, sections)
    total = sum(_sum_within_domain(codes, points) for codes, points in parts)
    return float(total / sum(len(codes) for codes, _ in parts))


def pas(labels: ArrayLike, spatial: ArrayLike, *, k: int = 10, sections: ArrayLike | None = None) -> float:
    """Return PAS, the percentage of abnormal spots, as a share in [0, 1].

    A spot is abnormal if more than half of its `k` nearest neighbours have another label: at least 6 of 10. Distances
    are those of the given coordinates; the spot itself is not among its neighbours.

    Parameters
    ----------
    labels, spatial, sections
        As in :func:`chaos`. Unlabelled spots are not neighbours of others.
    k
        Number of neighbours; the papers use 10. On a hexagonal lattice the tenth is one of several equally distant
        spots, of which the first found by :class:`scipy.spatial.cKDTree` is taken.

    Returns
    -------
    A share in [0, 1]; 0 for a single domain. It does not depend on scale, shift, rotation, names of domains or order of
    spots, up to the choice among equally distant neighbours. A spot that is alone in its domain is abnormal.

    Raises
    ------
    ValueError
        A section has fewer than ``k + 1`` labelled spots, or as in :func:`chaos`.

    References
    ----------
    Shang and Zhou, SpatialPCA, Nature Communications 13, 2022; Yuan et al., SDMBench, Nature Methods 21, 2024.

    Examples
    --------
    >>> pas(["a", "a", "b", "a", "a"], [[0, 0], [1, 0], [2.1, 0], [3, 0], [4, 0]], k=2)
    0.2
    """
    if k < 1:
        raise ValueError(f"k must be at least 1 neighbour, got {k}.")
    parts = labelled_points(labels, spatial, sections)
    abnormal = sum(_n_abnormal(codes, points, k) for codes, points in parts)
    return float(abnormal / sum(len(codes) for codes, _ in parts))


def dis(labels: ArrayLike, spatial: ArrayLike, *, k: int = 10, sections: ArrayLike | None = None) -> float:
    """Return SpaMask's discontinuity score: the mean of :func:`chaos` and :func:`pas`. Lower is better.

    Parameters, treatment of rare domains and errors are those of both.

    References
    ----------
    Min, Fang, Chen and Zhang, SpaMask, PLOS Computational Biology 21(4) e1012881, 2025.

    Examples
    --------
    >>> dis(["a", "a", "b", "b"], [[0, 0], [0, 1], [2, 0], [2, 1]], k=1)
    1.0
    """
    return (chaos(labels, spatial, sections=sections) + pas(labels, spatial, k=k, sections=sections)) / 2


def _sum_within_domain(codes: np.ndarray, points: np.ndarray) -> float:
    """Return the sum over spots of the standardized distance to the nearest other spot of the same domain."""
    points = points - points.mean(axis=0)
    spread = points.std(axis=0)
    points = points / np.where(spread > 0, spread, 1.0)
    total = 0.0
    for domain in np.unique(codes):
        members = points[codes == domain]
        if len(members) > 1:
            total += cKDTree(members).query(members, k=2, workers=-1)[0][:, 1].sum()
    return total


def _n_abnormal(codes: np.ndarray, points: np.ndarray, k: int) -> int:
    """Return the number of spots with another label than most of their `k` nearest neighbours."""
    n_spots = len(codes)
    if n_spots <= k:
        raise ValueError(
            f"PAS looks at the {k} nearest neighbours of each spot, but a section has only {n_spots} labelled spots. "
            f"Pass k={n_spots - 1} or less, or leave this section out."
        )
    neighbours = cKDTree(points).query(points, k=k + 1, workers=-1)[1]  # (n_spots, k + 1), the spot itself among them
    itself = neighbours == np.arange(n_spots)[:, None]
    # among k + 1 spots at the same position the search may miss the spot itself: drop the last one instead
    itself[~itself.any(axis=1), -1] = True
    differs = (codes[neighbours] != codes[:, None]) & ~itself
    return int((differs.sum(axis=1) > k / 2).sum())
