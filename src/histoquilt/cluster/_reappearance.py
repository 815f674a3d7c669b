"""Probability that spots get their domain again when a mixture is fitted anew to resampled data."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from histoquilt.cluster._consensus import ensemble_probability
from histoquilt.cluster._hierarchy import DomainMoments, merge_domains
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
        Name -> ``(n_spots,)`` int, 0 to the number of domains - 1, of levels with fewer domains.
    parts
        ``(n_spots,)`` int of the finer level, whose domains lie in one of ``codes`` each; None if there is none.
    """

    codes: np.ndarray
    coarser: Mapping[str, np.ndarray] = field(default_factory=dict)
    parts: np.ndarray | None = None


@dataclass(frozen=True)
class Reappearance:
    """Posterior probability of each spot's domain in a refit, ``(n_spots,)`` at every level; parts None if none."""

    flat: np.ndarray
    coarser: dict[str, np.ndarray]
    parts: np.ndarray | None


def reappearance(
    embedding: np.ndarray,
    labels: NestedLabels,
    rows: np.ndarray,
    *,
    n_components: int,
    merged: bool = False,
    rng: np.random.Generator,
) -> Reappearance:
    """Fit a mixture to some spots, and return the posterior that it gives to the domain of every spot.

    Gaussians are merged to every coarser level by :func:`merge_domains`, the parts of a domain are fitted anew to the
    spots inside it, and the results are matched one to one to the domains of the level by their overlap. A refit that
    finds no mixture gives 0 to all spots.

    Parameters
    ----------
    embedding, labels
        ``(n_spots, n_features)``, of the same spots as the labels.
    rows
        Row numbers to fit on, of which at most 5,000 are used.
    n_components
        Number of principal components of the embedding to cluster in.
    merged
        If true, the domains were found by merging (:func:`fit_merged`): 3 to 15 Gaussians more are fitted, and merged.
    rng
        Source of randomness.
    """
    nothing = np.zeros(len(embedding))
    n_domains = labels.codes.max() + 1
    n_gaussians = n_domains + (int(rng.choice(EXTRA_GAUSSIANS)) if merged else 0)
    mixture, scores = _fit(embedding, rows, n_gaussians, n_components, rng)
    if mixture is None:
        return Reappearance(
            nothing, {name: nothing for name in labels.coarser}, None if labels.parts is None else nothing
        )
    posterior = mixture.probabilities(embedding)
    moments = DomainMoments(mixture.weights * len(scores), mixture.means, scores.T @ scores)
    of_level = merge_domains(moments, least_share=LEAST_SHARE if merged else 0.0).of_level

    def of_domain(codes: np.ndarray) -> np.ndarray:
        number = codes.max() + 1
        at_level = posterior @ np.eye(number)[of_level[number]]  # (n_spots, number)
        return ensemble_probability(codes, [at_level])

    flat = of_domain(labels.codes)
    parts = None if labels.parts is None else flat * _of_parts(embedding, labels, rows, rng)
    return Reappearance(flat, {name: of_domain(codes) for name, codes in labels.coarser.items()}, parts)


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


def _of_parts(embedding: np.ndarray, labels: NestedLabels, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the probability of each spot's part given its domain, ``(n_spots,)``; 1 in domains without parts."""
    assert labels.parts is not None
    found = np.ones(len(embedding))
    for code in range(labels.codes.max() + 1):
        inside = np.flatnonzero(labels.codes == code)
        names, parts = np.unique(labels.parts[inside], return_inverse=True)
        if len(names) < 2:
            continue
        fitted = np.flatnonzero(np.isin(inside, rows))
        mixture, _ = _fit(embedding[inside], fitted, len(names), _PART_COMPONENTS, rng)
        found[inside] = (
            0 if mixture is None else ensemble_probability(parts, [mixture.probabilities(embedding[inside])])
        )
    return found


def half_of_blocks(spatial: np.ndarray | None, sections: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw half of the spots of every section in spatial blocks; return sorted row numbers.

    A section is cut into 32 equal stretches of a path over the tissue, and a random half of them is taken, so that
    neighbours, which the embedding makes alike, leave together. Spot centres are ``(n_spots, >= 2)``, without which
    single spots are drawn; ``sections`` ``(n_spots,)`` are numbers.
    """
    drawn = []
    for section in np.unique(sections):
        rows = np.flatnonzero(sections == section)
        walk = rng.permutation(rows) if spatial is None else rows[z_order(spatial[rows])]
        blocks = np.array_split(walk, min(_BLOCKS, len(walk)))
        chosen = rng.choice(len(blocks), -(-len(blocks) // 2), replace=False)
        drawn += [blocks[number] for number in chosen]
    return np.sort(np.concatenate(drawn))
