"""What is left of the difference between sections, taken out place by place in an embedding.

Scaling each section's genes takes out what distinguishes sections as a whole. What is left differs from tissue to
tissue: white matter of one section may be shifted one way, its cortex another. So the embedding is divided into many
small groups of alike spots, and in each the mean of every section is moved to the mean of all, as Harmony does in
principal components (Korsunsky et al., Nature Methods 16: 1289-1296, 2019). A group that one section alone fills is
left where it is.

How much of that is a batch effect, and how much a true difference between tissues, cannot be told from an offset
itself. But tissue that two sections have in common lies together already, in part, before anything is moved; what only
meets after several rounds may be two kinds of tissue. So every spot keeps of its displacement the share by which
sections mixed around it at first, over the mixing of sections dealt out at random. It is near 1 in serial sections, and
small where each patient has a tumour of their own. No label enters.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from histoquilt.pp import row_chunks

_SPOTS_PER_GROUP = 30  # as in Harmony
_MOST_GROUPS = 500
_PSEUDO_SPOTS = 5.0  # an offset seen in few spots is not believed in full
_ROUNDS = 5


@dataclass(frozen=True)
class SectionOffsets:
    """Fitted groups of alike spots, round by round, kept so that a section seen later can be moved to them.

    Attributes
    ----------
    centers, means
        ``(n_rounds, n_groups, n_features)``: where groups lie, and the mean of all training spots in them.
    widths
        ``(n_rounds,)``, squared distance at which membership falls to 1/e.
    shared
        ``(n_groups,)``, 0 to 1: how well sections shared each group of the first round.
    """

    centers: np.ndarray
    means: np.ndarray
    widths: np.ndarray
    shared: np.ndarray

    @classmethod
    def fit(cls, embedding: np.ndarray, sections: np.ndarray, *, seed: int = 0) -> tuple["SectionOffsets", np.ndarray]:
        """Fit groups and offsets; return them and the embedding without the offsets, ``(n_spots, n_features)``.

        Parameters
        ----------
        embedding
            ``(n_spots, n_features)``.
        sections
            Section name of every spot, ``(n_spots,)``.
        seed
            Random seed of the k-means that forms the groups.
        """
        values = np.asarray(embedding, dtype=np.float64)
        n_groups = int(np.clip(len(values) // _SPOTS_PER_GROUP, 1, _MOST_GROUPS))
        centers, means, widths = [], [], []
        shared = np.ones(n_groups)
        for number in range(_ROUNDS):
            groups = MiniBatchKMeans(n_groups, random_state=seed, n_init=3).fit(values)
            if number == 0:
                shared = _shared(groups.labels_, sections, n_groups)
            parts = row_chunks(len(values), n_groups)  # distances to all groups are far wider than the embedding
            nearest = np.concatenate([groups.transform(values[rows]).min(axis=1) for rows in parts]) ** 2
            centers.append(groups.cluster_centers_)
            widths.append(max(float(np.median(nearest)), np.finfo(float).tiny))
            sums, sizes = _sums(values, centers[-1], widths[-1])
            means.append(sums / np.maximum(sizes, np.finfo(float).tiny)[:, None])
            values = _without_offsets(values, sections, centers[-1], means[-1], widths[-1])
        fitted = cls(np.stack(centers), np.stack(means), np.array(widths), shared)
        return fitted, fitted._believed(embedding, values)

    def transform(self, embedding: np.ndarray, sections: np.ndarray) -> np.ndarray:
        """Move every section to the groups, ``(n_spots, n_features)`` float32; training sections come out as fitted."""
        values = np.asarray(embedding, dtype=np.float64)
        for center, mean, width in zip(self.centers, self.means, self.widths, strict=True):
            values = _without_offsets(values, sections, center, mean, float(width))
        return self._believed(embedding, values)

    def _believed(self, embedding: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Keep of every spot's displacement the share that sections shared where it lay, as float32."""
        values = np.array(embedding, dtype=np.float64)
        for some in row_chunks(len(values), len(self.shared)):
            belief = _memberships(values[some], self.centers[0], float(self.widths[0])) @ self.shared
            values[some] += belief[:, None] * (moved[some] - values[some])
        return values.astype(np.float32)


def _shared(groups: np.ndarray, sections: np.ndarray, n_groups: int) -> np.ndarray:
    """Return how well sections share each group, 0 to 1, ``(n_groups,)``.

    Of the pairs of spots in a group, the share that comes from two sections, over the same share among all spots. Pairs
    of different spots do not depend on the size of a group, as the squares of shares would.
    """
    names, codes = np.unique(sections, return_inverse=True)
    counts = np.bincount(groups * len(names) + codes, minlength=n_groups * len(names)).reshape(n_groups, len(names))
    expected = _apart(counts.sum(axis=0)[None])[0]
    return np.minimum(1.0, _apart(counts) / expected) if expected > 0 else np.zeros(n_groups)


def _apart(counts: np.ndarray) -> np.ndarray:
    """Share of the pairs of spots that lie in two sections, for each row of counts per section."""
    total = counts.sum(axis=1)
    pairs = total * (total - 1.0)
    within = (counts * (counts - 1.0)).sum(axis=1)
    return np.divide(pairs - within, pairs, out=np.zeros(len(counts)), where=pairs > 0)


def _without_offsets(
    values: np.ndarray, sections: np.ndarray, centers: np.ndarray, means: np.ndarray, width: float
) -> np.ndarray:
    """Move the mean that each section has in a group to the group's."""
    moved = values.copy()
    for name in np.unique(sections):
        rows = np.flatnonzero(sections == name)
        sums, sizes = _sums(values[rows], centers, width)
        own = sums / np.maximum(sizes, np.finfo(float).tiny)[:, None]
        offsets = (own - means) * (sizes / (sizes + _PSEUDO_SPOTS))[:, None]
        for part in row_chunks(len(rows), len(centers)):
            some = rows[part]
            moved[some] -= _memberships(values[some], centers, width) @ offsets
    return moved


def _sums(values: np.ndarray, centers: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the spots in every group and their number, each spot divided over groups by its memberships."""
    sums, sizes = np.zeros(centers.shape), np.zeros(len(centers))
    for rows in row_chunks(len(values), len(centers)):
        part = values[rows]
        memberships = _memberships(part, centers, width)
        sums += memberships.T @ part
        sizes += memberships.sum(axis=0)
    return sums, sizes


def _memberships(values: np.ndarray, centers: np.ndarray, width: float) -> np.ndarray:
    """Share of every spot in every group, ``(n_spots, n_groups)``, falling with the squared distance."""
    squared = (values**2).sum(axis=1)[:, None] - 2 * values @ centers.T + (centers**2).sum(axis=1)
    shares = np.exp(-(squared - squared.min(axis=1, keepdims=True)) / width)
    return shares / shares.sum(axis=1, keepdims=True)
