"""Removal of offsets between sections from an embedding, separately for each kind of tissue.

Scaling each section's genes removes offsets of whole sections. The rest depends on the tissue: the offset of white
matter may differ from that of cortex. So the embedding is clustered into many small groups of similar spots, and in
each group the mean of every section is moved to the mean of all, as Harmony does (Korsunsky et al., Nature Methods 16:
1289-1296, 2019).

An offset may also be a true difference between tissues. Tissue that sections have in common overlaps in part before
correction, whereas spots that overlap only after several rounds may be different tissues. So each displacement is
multiplied by how well sections mixed around the spot before correction, relative to random mixing: near 1 in serial
sections, small where each patient has a different tumour. Labels are not used.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from histoquilt.pp import row_chunks

_SPOTS_PER_GROUP = 30  # as in Harmony
_MOST_GROUPS = 500
_PSEUDO_SPOTS = 5.0  # shrinks offsets of few spots
_ROUNDS = 5


@dataclass(frozen=True)
class SectionOffsets:
    """Fitted groups of similar spots, to which sections are moved in several rounds."""

    centers: np.ndarray  # (n_rounds, n_groups, n_features) centers of groups
    means: np.ndarray  # (n_rounds, n_groups, n_features) mean of all training spots of a group
    widths: np.ndarray  # (n_rounds,) squared distance at which membership falls to 1/e
    shared: np.ndarray  # (n_groups,) mixing of sections in each group of the first round, 0 to 1

    @classmethod
    def fit(cls, embedding: np.ndarray, sections: np.ndarray, *, seed: int = 0) -> tuple["SectionOffsets", np.ndarray]:
        """Fit groups and offsets; return them and the embedding without the offsets, ``(n_spots, n_features)``.

        embedding: ``(n_spots, n_features)``; sections: ``(n_spots,)`` names; seed: of the k-means clustering.
        """
        values = np.asarray(embedding, dtype=np.float64)
        n_groups = int(np.clip(len(values) // _SPOTS_PER_GROUP, 1, _MOST_GROUPS))
        centers, means, widths = [], [], []
        shared = np.ones(n_groups)
        for number in range(_ROUNDS):
            groups = MiniBatchKMeans(n_groups, random_state=seed, n_init=3).fit(values)
            if number == 0:
                shared = _shared(groups.labels_, sections, n_groups)
            parts = row_chunks(len(values), n_groups)  # distances to all groups take more memory than the embedding
            nearest = np.concatenate([groups.transform(values[rows]).min(axis=1) for rows in parts]) ** 2
            centers.append(groups.cluster_centers_)
            widths.append(max(float(np.median(nearest)), np.finfo(float).tiny))
            sums, sizes = _sums(values, centers[-1], widths[-1])
            means.append(sums / np.maximum(sizes, np.finfo(float).tiny)[:, None])
            values = _without_offsets(values, sections, centers[-1], means[-1], widths[-1])
        fitted = cls(np.stack(centers), np.stack(means), np.array(widths), shared)
        return fitted, fitted._shrink(embedding, values)

    def transform(self, embedding: np.ndarray, sections: np.ndarray) -> np.ndarray:
        """Move sections to the groups, ``(n_spots, n_features)`` float32; training sections get the fitted result."""
        values = np.asarray(embedding, dtype=np.float64)
        for center, mean, width in zip(self.centers, self.means, self.widths, strict=True):
            values = _without_offsets(values, sections, center, mean, float(width))
        return self._shrink(embedding, values)

    def _shrink(self, embedding: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Multiply the displacement of each spot by the mixing of sections around it."""
        values = np.array(embedding, dtype=np.float64)
        for rows in row_chunks(len(values), len(self.shared)):
            mixing = _memberships(values[rows], self.centers[0], float(self.widths[0])) @ self.shared
            values[rows] += mixing[:, None] * (moved[rows] - values[rows])
        return values.astype(np.float32)


def _shared(groups: np.ndarray, sections: np.ndarray, n_groups: int) -> np.ndarray:
    """Return how well sections mix in each group, 0 to 1, ``(n_groups,)``.

    That is the share of pairs of spots from two sections, relative to the share among all spots.
    """
    names, codes = np.unique(sections, return_inverse=True)
    counts = np.bincount(groups * len(names) + codes, minlength=n_groups * len(names)).reshape(n_groups, len(names))
    expected = _apart(counts.sum(axis=0)[None])[0]
    return np.minimum(1.0, _apart(counts) / expected) if expected > 0 else np.zeros(n_groups)


def _apart(counts: np.ndarray) -> np.ndarray:
    """Share of pairs of spots from two sections, for each row of counts per section."""
    total = counts.sum(axis=1)
    pairs = total * (total - 1.0)
    within = (counts * (counts - 1.0)).sum(axis=1)
    return np.divide(pairs - within, pairs, out=np.zeros(len(counts)), where=pairs > 0)


def _without_offsets(
    values: np.ndarray, sections: np.ndarray, centers: np.ndarray, means: np.ndarray, width: float
) -> np.ndarray:
    """Move the mean of each section in a group to the mean of the group."""
    moved = values.copy()
    for name in np.unique(sections):
        rows = np.flatnonzero(sections == name)
        sums, sizes = _sums(values[rows], centers, width)
        own_means = sums / np.maximum(sizes, np.finfo(float).tiny)[:, None]
        offsets = (own_means - means) * (sizes / (sizes + _PSEUDO_SPOTS))[:, None]
        for chunk in row_chunks(len(rows), len(centers)):
            part = rows[chunk]
            moved[part] -= _memberships(values[part], centers, width) @ offsets
    return moved


def _sums(values: np.ndarray, centers: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the spots in every group, weighted by membership."""
    sums, sizes = np.zeros(centers.shape), np.zeros(len(centers))
    for rows in row_chunks(len(values), len(centers)):
        part = values[rows]
        memberships = _memberships(part, centers, width)
        sums += memberships.T @ part
        sizes += memberships.sum(axis=0)
    return sums, sizes


def _memberships(values: np.ndarray, centers: np.ndarray, width: float) -> np.ndarray:
    """Membership of every spot in every group, ``(n_spots, n_groups)``, decreasing with squared distance."""
    squared = (values**2).sum(axis=1)[:, None] - 2 * values @ centers.T + (centers**2).sum(axis=1)
    shares = np.exp(-(squared - squared.min(axis=1, keepdims=True)) / width)
    return shares / shares.sum(axis=1, keepdims=True)
