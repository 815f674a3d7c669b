"""Whether domains hang together in space: CHAOS, PAS, and their mean, which SpaMask calls DIS. Lower is better."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import cKDTree

from histoquilt.metrics._labels import labelled_points


def chaos(labels: ArrayLike, spatial: ArrayLike, *, sections: ArrayLike | None = None) -> float:
    """CHAOS: how far a spot is from the nearest spot of its own domain. Low where domains are continuous.

    Coordinates are brought to mean 0 and (population) standard deviation 1, each axis by itself.
    CHAOS is the sum over spots of the distance to the nearest other spot of the same domain, divided by the number
    of spots. It therefore falls with the density of spots: compare it within one section, not between sections.

    Parameters
    ----------
    labels
        Domains, ``(n_spots,)``; ``NaN``, ``None``, ``pd.NA`` or ``""`` is an unlabelled spot, left out before
        anything is measured.
    spatial
        Spot centres ``(x, y)`` or ``(x, y, z)`` in any unit, ``(n_spots, n_dims)``.
    sections
        One section name per spot. Sections are standardised and measured each by itself, and the result is the
        mean over all spots. ``None`` takes everything as one section.

    Returns
    -------
    A number >= 0. Shifting or stretching an axis, reordering spots and renaming domains change nothing. Rotating
    the tissue may: the axes are standardised one by one, as published. A spot that is alone in its domain has no
    distance and adds 0 to the sum while it counts in the number of spots, as in SpatialPCA (SDMBench's port drops
    domains of two spots as well; here they are measured). An axis on which all spots agree is left at 0.

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
    total = sum(_sum_within_domain(codes, _standardise(points)) for codes, points in parts)
    return float(total / sum(len(codes) for codes, _ in parts))


def pas(labels: ArrayLike, spatial: ArrayLike, *, k: int = 10, sections: ArrayLike | None = None) -> float:
    """PAS: the percentage of abnormal spots, as a share in [0, 1].

    A spot is abnormal when more than half of its `k` nearest neighbours carry another label: at least 6 of 10.
    Distances are measured in the coordinates given; the spot itself is not among its neighbours.

    Parameters
    ----------
    labels, spatial, sections
        As in :func:`chaos`. Unlabelled spots are nobody's neighbours.
    k
        Neighbours looked at; the papers use 10. On a hexagonal lattice the tenth is one of several equally distant
        spots, and which of them is taken follows the order in which :class:`scipy.spatial.cKDTree` finds them.

    Returns
    -------
    A share in [0, 1]; 0 where there is one domain only. Scaling, shifting, rotating, renaming domains and
    reordering spots change nothing, up to the choice among equally distant neighbours. A spot that is alone in its
    domain is abnormal.

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
    """SpaMask's discontinuity score: the mean of :func:`chaos` and :func:`pas`. Lower is better.

    Parameters, treatment of rare domains and errors are those of the two.

    References
    ----------
    Min, Fang, Chen and Zhang, SpaMask, PLOS Computational Biology 21(4) e1012881, 2025.

    Examples
    --------
    >>> dis(["a", "a", "b", "b"], [[0, 0], [0, 1], [2, 0], [2, 1]], k=1)
    1.0
    """
    return (chaos(labels, spatial, sections=sections) + pas(labels, spatial, k=k, sections=sections)) / 2


def _standardise(points: np.ndarray) -> np.ndarray:
    centred = points - points.mean(axis=0)
    spread = centred.std(axis=0)
    return centred / np.where(spread > 0, spread, 1.0)


def _sum_within_domain(codes: np.ndarray, points: np.ndarray) -> float:
    """Sum over spots of the distance to the nearest other spot of the same domain."""
    total = 0.0
    for domain in np.unique(codes):
        members = points[codes == domain]
        if len(members) > 1:
            total += cKDTree(members).query(members, k=2, workers=-1)[0][:, 1].sum()
    return total


def _n_abnormal(codes: np.ndarray, points: np.ndarray, k: int) -> int:
    """Count the spots with another label than most of their `k` nearest neighbours."""
    n_spots = len(codes)
    if n_spots <= k:
        raise ValueError(
            f"PAS looks at the {k} nearest neighbours of each spot, but a section has only {n_spots} labelled spots. "
            f"Pass k={n_spots - 1} or less, or leave this section out."
        )
    neighbours = cKDTree(points).query(points, k=k + 1, workers=-1)[1]  # (n_spots, k + 1), the spot itself among them
    itself = neighbours == np.arange(n_spots)[:, None]
    # among k + 1 spots in the same place the search may miss the spot itself: then the last one goes
    itself[~itself.any(axis=1), -1] = True
    differs = (codes[neighbours] != codes[:, None]) & ~itself
    return int((differs.sum(axis=1) > k / 2).sum())
