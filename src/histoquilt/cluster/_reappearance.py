"""Probability that spots get their domain again when a mixture is fitted anew to resampled data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.optimize import linear_sum_assignment

from histoquilt.cluster._consensus import ensemble_probability
from histoquilt.cluster._hierarchy import DomainMerges, DomainMoments, merge_domains
from histoquilt.cluster._merged import EXTRA_GAUSSIANS, LEAST_SHARE
from histoquilt.cluster._mixture import Mixture, whitened, whitening
from histoquilt.cluster._refit import refit
from histoquilt.metrics import z_order

_STARTS = 3  # of a refit: few, so that refits also differ by the optimum that EM finds
_FITTED_SPOTS = 5000  # of a refit; with ever more spots any border would come back
_PART_COMPONENTS = 5  # in which domains were split (split_domain)
_BLOCKS = 32  # of a section, of which each resampling takes a random half


@dataclass(frozen=True)
class NestedLabels:
    """Domains of labelled spots at several levels.

    Attributes
    ----------
    codes
        ``(n_spots,)`` int, 0 to k-1.
    coarser
        For each coarser level, ``(k,)`` int, the domain of that level, 0 to their number - 1, that each domain is in.
    parts
        ``(n_spots,)`` int of the finer level, whose domains lie in one of ``codes`` each; None if there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import NestedLabels
    >>> labels = NestedLabels(np.array([0, 1, 2, 1]), coarser=[np.array([0, 0, 1])])  # domains 0 and 1 are one above
    >>> [rows.tolist() for rows in labels.rows]
    [[0], [1, 3], [2]]
    """

    codes: np.ndarray
    coarser: Sequence[np.ndarray] = ()
    parts: np.ndarray | None = None

    @cached_property
    def rows(self) -> list[np.ndarray]:
        """Row numbers of the spots of each domain."""
        return np.split(np.argsort(self.codes, kind="stable"), np.cumsum(np.bincount(self.codes))[:-1])


def reappearance(
    embedding: np.ndarray,
    labels: NestedLabels,
    fitted: np.ndarray,
    *,
    n_components: int,
    merged: bool = False,
    rng: np.random.Generator,
) -> np.ndarray:
    """Fit a mixture to some spots, and return the posterior that it gives to the domain of every spot.

    Gaussians are merged to every coarser level by :func:`merge_domains`, the parts of a domain are fitted anew to the
    spots inside it, and the results are matched one to one to the domains of the level by their overlap.

    Parameters
    ----------
    embedding, labels
        ``(n_spots, n_features)``, of the same spots as the labels.
    fitted
        Row numbers to fit on, of which at most 5,000 are used.
    n_components
        Number of principal components of the embedding to cluster in.
    merged
        If true, the domains were found by merging (:func:`fit_merged`): 3 to 15 Gaussians more are fitted, and merged.
    rng
        Source of randomness.

    Returns
    -------
    ``(n_levels, n_spots)``, 0 to 1: the coarser levels, the domains, and the parts if there are any. All 0 if no
    mixture can be fitted.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import NestedLabels, reappearance
    >>> rng, codes = np.random.default_rng(0), np.repeat([0, 1], 50)
    >>> embedding = np.array([[0, 0], [9, 9]])[codes] + rng.normal(size=(100, 2))
    >>> found = reappearance(embedding, NestedLabels(codes), np.arange(0, 100, 2), n_components=2, rng=rng)
    >>> found.shape, found.min().round(2).item()
    ((1, 100), 1.0)
    """
    n_domains = len(labels.rows)
    found = np.zeros((len(labels.coarser) + 1 + (labels.parts is not None), len(embedding)))
    n_gaussians = n_domains + (int(rng.choice(EXTRA_GAUSSIANS)) if merged else 0)
    mixture, scores = _fit(embedding, fitted, n_gaussians, n_components, rng)
    if mixture is None:
        return found
    moments = DomainMoments(mixture.weights * len(scores), mixture.means, scores.T @ scores)
    merges = merge_domains(moments, least_share=LEAST_SHARE if merged else 0.0)
    posterior = mixture.probabilities(embedding)
    overlap = np.stack([posterior[rows].sum(axis=0) for rows in labels.rows])  # (n_domains, n_gaussians)
    levels = (*labels.coarser, np.arange(n_domains))
    is_same = np.stack([_matched(of_domain, merges, overlap) for of_domain in levels])
    for domain, rows in enumerate(labels.rows):
        found[: len(levels), rows] = is_same[:, domain] @ posterior[rows].T
    if labels.parts is not None:
        found[-1] = found[-2] * _of_parts(embedding, labels, fitted, rng)
    return found


def _matched(of_domain: np.ndarray, merges: DomainMerges, overlap: np.ndarray) -> np.ndarray:
    """Return whether each Gaussian belongs to the domain of a level that each domain is in, ``(k, n_gaussians)``."""
    number = of_domain.max() + 1
    of_gaussian = merges.of_level[number]
    table = np.zeros((number, number))
    np.add.at(table, (of_domain[:, None], of_gaussian[None]), overlap)
    matched = linear_sum_assignment(table, maximize=True)[1]
    return (matched[of_domain][:, None] == of_gaussian[None]).astype(float)


def _fit(
    embedding: np.ndarray, rows: np.ndarray, n_gaussians: int, n_components: int, rng: np.random.Generator
) -> tuple[Mixture | None, np.ndarray]:
    """Return a mixture, None if so many Gaussians cannot be fitted, and the whitened scores that it was fitted to."""
    if len(rows) > _FITTED_SPOTS:
        rows = np.sort(rng.choice(rows, _FITTED_SPOTS, replace=False))
    if len(rows) < max(n_gaussians, 2):
        return None, np.empty((0, 0))
    center, axes = whitening(embedding[rows], n_components)
    scores = whitened(embedding[rows], center, axes)
    mixture = refit(scores, n_gaussians, n_starts=_STARTS, rng=rng)
    return None if mixture is None else replace(mixture, center=center, axes=axes), scores


def _of_parts(embedding: np.ndarray, labels: NestedLabels, fitted: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the probability of each spot's part given its domain, ``(n_spots,)``; 1 in domains without parts."""
    assert labels.parts is not None
    found, is_fitted = np.ones(len(embedding)), np.zeros(len(embedding), bool)
    is_fitted[fitted] = True
    for rows in labels.rows:
        names, parts = np.unique(labels.parts[rows], return_inverse=True)
        if len(names) < 2:
            continue
        inside = embedding[rows]
        mixture, _ = _fit(inside, np.flatnonzero(is_fitted[rows]), len(names), _PART_COMPONENTS, rng)
        found[rows] = 0 if mixture is None else ensemble_probability(parts, [mixture.probabilities(inside)])
    return found


def half_of_blocks(spatial: np.ndarray | None, sections: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw half of the spots of every section in spatial blocks; return sorted row numbers.

    A section is cut into 32 equal stretches of a path over the tissue, and a random half of them is taken, so that
    neighbours, which the embedding makes alike, leave together. Spot centres are ``(n_spots, >= 2)``, without which
    single spots are drawn; ``sections`` ``(n_spots,)`` are numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.cluster import half_of_blocks
    >>> line = np.array([[x, 0.0] for x in range(64)])
    >>> rows = half_of_blocks(line, np.zeros(64, int), np.random.default_rng(0))
    >>> len(rows), rows[:8].tolist()  # neighbours stay together
    (32, [0, 1, 2, 3, 8, 9, 10, 11])
    """
    drawn = []
    for section in np.unique(sections):
        rows = np.flatnonzero(sections == section)
        walk = rng.permutation(rows) if spatial is None else rows[z_order(spatial[rows])]
        blocks = np.array_split(walk, min(_BLOCKS, len(walk)))
        chosen = rng.choice(len(blocks), -(-len(blocks) // 2), replace=False)
        drawn += [blocks[number] for number in chosen]
    return np.sort(np.concatenate(drawn))
