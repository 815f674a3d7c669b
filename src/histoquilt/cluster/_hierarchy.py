"""Nested domains: merges of domains pair by pair, splits of a domain, and how well both come back under resampling."""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.metrics import adjusted_rand_score

from histoquilt.cluster._mixture import fit_mixture, whitened, whitening
from histoquilt.cluster._refit import refit

STABLE_PARTS = 0.8  # mean adjusted Rand index of refits on halves from which the parts of a domain come back
_TIED = 0.05  # difference of indices within which the larger number of parts is taken
_RIDGE = 1e-6
_CHUNK = 50_000  # spots of which moments are taken at a time
_PART_COMPONENTS = 5  # principal components of a domain in which it is split
_PART_SPOTS = 1000  # of a domain that are resampled: with ever more spots any split of a gradient would come back
_LEAST_PART = 0.05  # share of the domain
_LEAST_PART_SPOTS = 20
_STARTS = 6
_LEVEL_SPOTS = 3000  # spots that are resampled for levels


@dataclass(frozen=True)
class DomainMoments:
    """Sizes, means and common scatter of domains in a space of ``n_components`` axes.

    Attributes
    ----------
    sizes, means
        ``(k,)`` numbers of spots and ``(k, n_components)`` means.
    scatter
        ``(n_components, n_components)`` sum of squares of all spots about the origin.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import DomainMoments
    >>> embedding, codes = np.array([[0.0], [2], [10], [12]]), np.array([0, 0, 1, 1])
    >>> moments = DomainMoments.of(embedding, codes, center=np.zeros(1), axes=np.eye(1))
    >>> moments.sizes.tolist(), moments.means.tolist(), moments.scatter.tolist()
    ([2, 2], [[1.0], [11.0]], [[248.0]])
    """

    sizes: np.ndarray
    means: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, embedding: np.ndarray, codes: np.ndarray, center: np.ndarray, axes: np.ndarray) -> "DomainMoments":
        """Return the moments of labelled spots; codes ``(n_spots,)`` are 0 to k-1, and -1 for unlabelled spots."""
        n_domains, n_components = codes.max() + 1, axes.shape[1]
        sums, scatter = np.zeros((n_domains, n_components)), np.zeros((n_components, n_components))
        for start in range(0, len(codes), _CHUNK):
            labelled = np.flatnonzero(codes[start : start + _CHUNK] >= 0) + start
            scores = whitened(embedding[labelled], center, axes)
            np.add.at(sums, codes[labelled], scores)
            scatter += scores.T @ scores
        sizes = np.bincount(codes[codes >= 0], minlength=n_domains)
        return cls(sizes, sums / np.maximum(sizes, 1)[:, None], scatter)

    def distances(self) -> np.ndarray:
        """Return Mahalanobis distances of the means in the covariance within domains, ``(k, k)``; inf on the diagonal.

        Sizes do not count: a small domain is as far from its neighbours as a large one.
        """
        within = (self.scatter - (self.means.T * self.sizes) @ self.means) / self.sizes.sum()
        values, vectors = np.linalg.eigh(within)
        whitened = self.means @ (vectors / np.sqrt(np.maximum(values, 0) + _RIDGE))
        squares = ((whitened[:, None] - whitened[None]) ** 2).sum(axis=2)
        np.fill_diagonal(squares, np.inf)
        return np.sqrt(squares)

    def merged(self, first: int, second: int) -> "DomainMoments":
        """Return the moments after a merge; the merged domain stands at ``first``, and ``second`` is removed."""
        sizes, means, pair = self.sizes.copy(), self.means.copy(), [first, second]
        means[first] = sizes[pair] @ means[pair] / max(sizes[pair].sum(), 1)
        sizes[first] = sizes[pair].sum()
        return replace(self, sizes=np.delete(sizes, second), means=np.delete(means, second, axis=0))


@dataclass(frozen=True)
class DomainMerges:
    """Merges of k domains, down to one.

    Attributes
    ----------
    of_level
        Number of domains -> ``(k,)`` int, the domain at that level of each of the k domains: 0 to number - 1, in the
        order of their first members.
    distances
        Number of domains -> distance of the two domains whose merge led to it, in standard deviations within domains.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import DomainMoments, merge_domains
    >>> moments = DomainMoments(np.array([10, 10, 10]), np.array([[0.0], [1], [10]]), scatter=np.array([[1040.0]]))
    >>> merges = merge_domains(moments)
    >>> merges.of_level[2].tolist(), round(merges.distances[2], 2)  # the first two are merged
    ([0, 0, 1], 1.0)
    """

    of_level: dict[int, np.ndarray]
    distances: dict[int, float]


def merge_domains(moments: DomainMoments, *, least_share: float = 0.0, down_to: int = 1) -> DomainMerges:
    """Merge domains pair by pair: always the two whose means are closest in the covariance within domains.

    The distance is Mahalanobis's, and the covariance is computed again after each merge. Sizes do not count, unlike in
    Ward's method, so that thin layers survive next to large domains. As long as a domain holds less than
    ``least_share`` of the spots, the smallest domain is merged, with its nearest.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import DomainMoments, merge_domains
    >>> moments = DomainMoments(np.array([10, 10, 10]), np.array([[0.0], [1], [10]]), scatter=np.array([[1040.0]]))
    >>> {level: codes.tolist() for level, codes in merge_domains(moments).of_level.items()}
    {3: [0, 1, 2], 2: [0, 0, 1], 1: [0, 0, 0]}
    """
    of_domain = np.arange(len(moments.sizes))
    merges = DomainMerges({len(of_domain): of_domain.copy()}, {})
    while (n_domains := len(moments.sizes)) > down_to:
        distances = moments.distances()
        smallest = int(moments.sizes.argmin())
        if moments.sizes[smallest] < least_share * moments.sizes.sum():
            first, second = sorted((smallest, int(distances[smallest].argmin())))
        else:
            first, second = divmod(int(distances.argmin()), n_domains)  # the earlier of two equal ones: first < second
        of_domain = np.where(of_domain == second, first, of_domain - (of_domain > second))
        moments = moments.merged(first, second)
        merges.of_level[n_domains - 1] = of_domain.copy()
        merges.distances[n_domains - 1] = float(distances[first, second])
    return merges


def level_stability(
    embedding: np.ndarray,
    codes: np.ndarray,
    merges: DomainMerges,
    *,
    n_components: int = 15,
    n_resamples: int = 5,
    seed: int = 0,
) -> dict[int, np.ndarray]:
    """Return number of domains -> adjusted Rand index of each level with refits on halves of the spots.

    Each resampling cuts at most 3,000 spots into two random halves. A mixture with as many Gaussians as there are
    domains is fitted to either half from new starts, its Gaussians are merged to the same levels, and both assign the
    other half, where they are compared with ``codes`` ``(n_spots,)``, 0 to k-1. Values are NaN if halves have fewer
    than four spots a domain.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import DomainMoments, level_stability, merge_domains
    >>> rng, codes = np.random.default_rng(0), np.repeat([0, 1, 2], 50)
    >>> embedding = np.array([[0, 0], [9, 0], [0, 30]])[codes] + rng.normal(size=(150, 2))
    >>> merges = merge_domains(DomainMoments.of(embedding, codes, np.zeros(2), np.eye(2)))
    >>> found = level_stability(embedding, codes, merges, n_resamples=1)
    >>> {level: values.round(2).tolist() for level, values in found.items()}  # two refits
    {3: [1.0, 1.0], 2: [1.0, 1.0], 1: [1.0, 1.0]}
    """
    rng, n_domains = np.random.default_rng(seed), codes.max() + 1
    seen = np.flatnonzero(codes >= 0)
    if len(seen) > _LEVEL_SPOTS:
        seen = np.sort(rng.choice(seen, _LEVEL_SPOTS, replace=False))
    found: dict[int, list[float]] = {level: [] for level in merges.of_level}
    if len(seen) < 8 * n_domains:
        return {level: np.full(1, np.nan) for level in found}
    center, axes = whitening(embedding[seen], n_components)
    scores, codes = whitened(embedding[seen], center, axes), codes[seen]
    for _ in range(n_resamples):
        order = rng.permutation(len(scores))
        for half in (order[::2], order[1::2]):
            rest = np.setdiff1d(order, half)
            mixture = refit(scores[half], n_domains, n_starts=_STARTS, rng=rng)
            labels = None if mixture is None else mixture.probabilities(scores).argmax(axis=1)
            if labels is None or len(np.unique(labels[half])) < n_domains:
                continue  # counts as not found below
            own = DomainMoments.of(scores[half], labels[half], np.zeros(axes.shape[1]), np.eye(axes.shape[1]))
            of_level = merge_domains(own).of_level
            for level, values in found.items():
                values.append(adjusted_rand_score(merges.of_level[level][codes[rest]], of_level[level][labels[rest]]))
    return {level: np.array(values + [0.0] * (2 * n_resamples - len(values))) for level, values in found.items()}


@dataclass(frozen=True)
class Parts:
    """Parts of a domain.

    Attributes
    ----------
    labels
        ``(n_spots,)`` int, 0 to the number of parts - 1; all 0 if it has none.
    stability
        Adjusted Rand index of refits, mean: of the parts, or the highest of those tried if they did not come back; NaN
        if the domain is too small to be split.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import split_domain
    >>> rng = np.random.default_rng(0)
    >>> parts = split_domain(np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal(9, 1, (60, 2))]), n_resamples=2)
    >>> np.bincount(parts.labels).tolist(), round(parts.stability, 2)
    ([60, 60], 1.0)
    """

    labels: np.ndarray
    stability: float


def split_domain(
    embedding: np.ndarray, *, most: int = 4, n_resamples: int = 5, sample: np.ndarray | None = None, seed: int = 0
) -> Parts:
    """Split the spots of one domain by a mixture into parts that come back under resampling.

    For every number of parts from 2 to ``most``, mixtures are fitted to two random halves of at most 1,000 spots,
    several times over; either assigns all of these spots. Parts come back if the adjusted Rand index of the two is at
    least 0.8 in the mean. That of one Gaussian cut in two is below 0.3, that of gradients and of borders between
    domains, where smoothing mixes them, mostly below 0.6. Numbers are not tried in turn until one fails: cutting four
    equal parts in two is not reproducible, and cutting them in four is. The largest number is taken whose index is
    within 0.05 of the highest: where two parts have 0.97, three with 0.82 cut one of the two at random places. A part
    holds at least 5 % of the domain and 20 spots.

    Parameters
    ----------
    embedding
        ``(n_spots, n_features)`` of the domain; it is reduced to five principal components of unit variance.
    most, n_resamples, seed
        Largest number of parts; number of pairs of halves; random seed.
    sample
        Row numbers on which the parts are fitted finally; other spots are assigned afterwards. By default all.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import split_domain
    >>> rng = np.random.default_rng(0)
    >>> two = np.concatenate([rng.normal(0, 1, (60, 2)), rng.normal(9, 1, (60, 2))])
    >>> np.bincount(split_domain(two, n_resamples=2).labels).tolist()
    [60, 60]
    >>> np.bincount(split_domain(rng.normal(size=(120, 2)), n_resamples=2).labels).tolist()  # one Gaussian has no parts
    [120]
    """
    none, rng = Parts(np.zeros(len(embedding), int), float("nan")), np.random.default_rng(seed)
    least = max(_LEAST_PART_SPOTS, _LEAST_PART * len(embedding))
    most = min(most, len(embedding) // (2 * _LEAST_PART_SPOTS))
    if most < 2:
        return none
    rows = np.arange(len(embedding))
    if len(rows) > _PART_SPOTS:
        rows = np.sort(rng.choice(rows, _PART_SPOTS, replace=False))
    center, axes = whitening(embedding[rows], _PART_COMPONENTS)
    scores = whitened(embedding[rows], center, axes)
    stability = {number: _come_back(scores, number, n_resamples, rng) for number in range(2, most + 1)}
    for number in sorted(stability, reverse=True):
        if stability[number] < max(STABLE_PARTS, max(stability.values()) - _TIED):
            continue
        fit = fit_mixture(embedding, number, n_components=_PART_COMPONENTS, n_starts=12, sample=sample, seed=seed)
        if np.bincount(fit.labels, minlength=number).min() >= least:
            return Parts(fit.labels, stability[number])
    return replace(none, stability=max(stability.values()))


def _come_back(scores: np.ndarray, number: int, n_resamples: int, rng: np.random.Generator) -> float:
    """Return the mean adjusted Rand index of fits to two halves; it ends early once it cannot reach the threshold."""
    agreement: list[float] = []
    while len(agreement) < n_resamples:
        order = rng.permutation(len(scores))
        fits = [refit(scores[half], number, n_starts=_STARTS, rng=rng) for half in (order[::2], order[1::2])]
        labels = [fit.probabilities(scores).argmax(axis=1) for fit in fits if fit is not None]
        agreement.append(adjusted_rand_score(*labels) if len(labels) == 2 else 0.0)
        if sum(agreement) + n_resamples - len(agreement) < STABLE_PARTS * n_resamples:
            break
    return float(np.mean(agreement))
