"""LISI: how many sections, or how many domains, a spot effectively has among its neighbours in an embedding.

Our own, for harmonypy has had no LISI since 2.1 and scib-metrics brings jax. Where we differ from harmonypy 2.0, with
which the values agreed to 2e-3: neighbours are found exactly and for at most ``max_spots`` spots, so that time grows
with their number times all spots and not with the square of all spots.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.neighbors import NearestNeighbors

from histoquilt.metrics._labels import encode

MAX_SPOTS = 5_000  # the median over them is within 1 % of the one over all spots
PERPLEXITY = 30.0  # as in the LISI paper


class Neighbors(NamedTuple):
    """The nearest other spots of some spots, nearest first."""

    rows: np.ndarray  # (n_asked,) the spots asked for
    indices: np.ndarray  # (n_asked, k)
    distances: np.ndarray  # (n_asked, k)


def ilisi(
    embedding: ArrayLike,
    sections: ArrayLike,
    *,
    scaled: bool = False,
    perplexity: float = PERPLEXITY,
    max_spots: int = MAX_SPOTS,
    seed: int = 0,
) -> float:
    """Compute integration LISI, the effective number of sections among the neighbours of a spot; high if sections mix.

    Around each spot the nearest others (three times ``perplexity`` of them) get weights that fall
    with their Euclidean distance so that the entropy of the weights is ``log(perplexity)``; LISI is one over the sum
    of the squared shares of the sections in these weights. The result is the median over spots.

    Mixing alone proves nothing, because an embedding without any structure mixes best: read it together with
    :func:`clisi` or the agreement with an annotation.

    Parameters
    ----------
    embedding
        Embedding, ``(n_spots, n_dims)``.
    sections
        One section name per spot, ``(n_spots,)``.
    scaled
        If true, return ``(LISI - 1) / (n_sections - 1)``: 0 if sections are separate, 1 if all are present in equal
        shares.
    perplexity
        Effective number of neighbours.
    max_spots
        Maximum number of spots to evaluate, sampled with ``seed``; neighbours come from all spots.
    seed
        Random seed of that sample.

    Returns
    -------
    A number from 1 to the number of sections; with ``scaled`` from 0 to 1. Sections of unequal size that are mixed
    perfectly stay below the maximum: the best possible value is one over the sum of their squared shares. Scaling,
    shifting, rotating the embedding, renaming sections and, up to the draw, reordering spots change nothing.

    Raises
    ------
    ValueError
        Lengths differ, the embedding is not finite, a spot has no section, or there is a single section.

    See Also
    --------
    mixing_table : all measures, for all sections and for each pair of them.

    References
    ----------
    Korsunsky et al., Harmony, Nature Methods 16, 2019; scaling as in Luecken et al., scIB, Nature Methods 19, 2022.

    Examples
    --------
    Two sections that lie on top of each other, and two that lie far apart.

    >>> import numpy as np
    >>> line = np.arange(100.0)[:, None]
    >>> sections = np.array(["a", "b"] * 50)
    >>> round(ilisi(line, sections), 1)
    2.0
    >>> round(ilisi(line + 1000 * (sections == "b")[:, None], sections, perplexity=10), 6)
    1.0
    """
    points, codes = checked_embedding(embedding, sections)
    value = median_lisi(nearest_others(points, n_others(perplexity), max_spots, seed), codes, perplexity)
    return scaled_ilisi(value, codes) if scaled else value


def clisi(
    embedding: ArrayLike,
    domains: ArrayLike,
    *,
    scaled: bool = False,
    perplexity: float = PERPLEXITY,
    max_spots: int = MAX_SPOTS,
    seed: int = 0,
) -> float:
    """Compute label LISI, the effective number of domains among the neighbours of a spot; 1 if domains are separate.

    Computed as :func:`ilisi`, with domains (or an annotation) instead of sections. Spots without a domain (``NaN``,
    ``None``, ``pd.NA``, ``""``) are excluded before the neighbour search.

    Parameters
    ----------
    embedding
        Embedding, ``(n_spots, n_dims)``.
    domains
        One domain per spot, ``(n_spots,)``.
    scaled
        If true, return ``(n_domains - LISI) / (n_domains - 1)``: 1 if all neighbours of a spot are of its own domain, 0
        if all domains have equal shares. Note the direction: raw cLISI is good if low, scaled if high, as in scIB.
    perplexity, max_spots, seed
        As in :func:`ilisi`.

    Returns
    -------
    A number from 1 to the number of domains; with ``scaled`` from 0 to 1.

    Raises
    ------
    ValueError
        Lengths differ, the embedding is not finite, no spot has a domain, or there is a single domain.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.arange(100.0)[:, None]
    >>> round(clisi(line, line[:, 0] >= 50, scaled=True, perplexity=10), 6)
    1.0
    """
    points, codes = checked_embedding(embedding, domains, "domains")
    kept = codes >= 0
    points, codes = points[kept], np.unique(codes[kept], return_inverse=True)[1]
    value = median_lisi(nearest_others(points, n_others(perplexity), max_spots, seed), codes, perplexity)
    return scaled_clisi(value, codes) if scaled else value


def nearest_others(points: np.ndarray, k: int, max_spots: int = MAX_SPOTS, seed: int = 0) -> Neighbors:
    """Return the ``k`` nearest others (all of them where there are fewer) of at most ``max_spots`` seeded spots."""
    n_spots = len(points)
    rows = np.arange(n_spots)
    if n_spots > max_spots:
        rows = np.sort(np.random.default_rng(seed).choice(n_spots, max_spots, replace=False))
    k = min(k, n_spots - 1)
    distances, indices = NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points[rows])
    others = indices != rows[:, None]
    others[others.all(axis=1), -1] = False  # the spot was crowded out by its own doubles: drop the farthest
    return Neighbors(rows, indices[others].reshape(-1, k), distances[others].reshape(-1, k))


def median_lisi(neighbors: Neighbors, codes: np.ndarray, perplexity: float = PERPLEXITY) -> float:
    """Return the median inverse Simpson index of the codes among weighted neighbours."""
    weights = _weights(neighbors.distances, perplexity)
    n_labels = codes.max() + 1
    cells = np.arange(len(weights))[:, None] * n_labels + codes[neighbors.indices]
    shares = np.bincount(cells.ravel(), weights.ravel(), len(weights) * n_labels).reshape(-1, n_labels)
    return float(np.median(1 / (shares**2).sum(axis=1)))


def scaled_ilisi(value: float, codes: np.ndarray) -> float:
    """Bring iLISI to 0 (apart) ... 1 (mixed)."""
    return float((value - 1) / codes.max())


def scaled_clisi(value: float, codes: np.ndarray) -> float:
    """Bring cLISI to 0 (all domains everywhere) ... 1 (domains apart)."""
    return float((codes.max() + 1 - value) / codes.max())


def _weights(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Return weights ``exp(-beta d)``, each row summing to 1, with beta such that its entropy is ``log(perplexity)``.

    Entropy falls as beta grows, so beta is found by doubling and halving. Where there are no more neighbours than the
    perplexity asks for, the weights end up equal.
    """
    spread = distances - distances.min(axis=1, keepdims=True)
    spread /= np.maximum(spread.mean(axis=1, keepdims=True), np.finfo(float).tiny)
    target = np.log(perplexity)
    low, high = np.zeros(len(spread)), np.full(len(spread), np.inf)
    beta = np.ones(len(spread))
    for _ in range(50):
        weights = np.exp(-beta[:, None] * spread)
        total = weights.sum(axis=1)
        entropy = np.log(total) + beta * (weights * spread).sum(axis=1) / total
        flat = entropy > target
        if (np.abs(entropy - target) < 1e-5).all():
            break
        low, high = np.where(flat, beta, low), np.where(flat, high, beta)
        beta = np.where(np.isinf(high), 2 * low, (low + high) / 2)
    return weights / total[:, None]


def n_others(perplexity: float) -> int:
    """Return how many others are looked at: three times the perplexity."""
    if not np.isfinite(perplexity) or perplexity <= 1:
        raise ValueError(f"perplexity is an effective number of neighbours and must be above 1, got {perplexity}.")
    return int(3 * perplexity)


def checked_embedding(embedding: Any, labels: Any, name: str = "sections") -> tuple[np.ndarray, np.ndarray]:
    """Return the embedding as float64 ``(n_spots, n_dims)`` and label codes; domains may have gaps, sections not."""
    points = np.asarray(embedding, dtype=np.float64)
    codes = encode(labels, name)
    if points.ndim != 2 or len(points) != len(codes):
        raise ValueError(
            f"embedding must hold one row per spot, shape ({len(codes)}, n_dims), got {points.shape}. "
            f"The argument order is (embedding, {name})."
        )
    if not np.isfinite(points).all():
        raise ValueError("embedding holds NaN or infinite values. Drop those spots, or embed them again.")
    if name == "sections" and (codes < 0).any():
        raise ValueError(f"{(codes < 0).sum():,} of {len(codes):,} spots have no section. Give every spot its section.")
    n_labels = len(np.unique(codes[codes >= 0]))
    if n_labels < 2:
        raise ValueError(f"{name} holds {n_labels} label(s); mixing is measured between at least two.")
    return points, codes
