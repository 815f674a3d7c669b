"""Tissue unlike the tissue a model was trained on: distance of a spot's embedding to those of training."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from histoquilt._base import argument
from histoquilt.models.expression._inner_validation import inner_folds

N_COMPONENTS = 64
N_NEAREST = 5
PERCENTILE = 99.0
MAX_BANK = 2_000  # training spots kept; more make distances no truer
# A held-out section of the same study had a median distance of 0.63-1.16 times the largest of the sections trained on
# (her2st, ALS; two patch sizes), a section of another organ and species on the same array 1.41-2.6 times.
SECTION_MARGIN = 1.25


@dataclass(frozen=True)
class TrainingDistribution:
    """Distribution of the embeddings of the training sections.

    A spot's distance is the mean distance to its nearest training spots, in the leading principal components of the
    standardised embeddings, each scaled to unit variance. The limits come from training: each group of sections is left
    out in turn, and its distances to the spots of the others are taken as ordinary.

    Every section has a few odd spots. A section of another organ or stain is recognised by the distance of its median
    spot.

    Attributes
    ----------
    mean, scale
        ``(n_features,)`` moments of the training embeddings.
    axes
        ``(n_features, n_components)`` principal axes, scaled.
    bank
        ``(n_bank, n_components)`` training spots.
    spot_limit
        Distance that 99 % of the left-out spots do not reach.
    section_limit
        The largest median distance of a left-out section, with a margin of a quarter.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    bank: np.ndarray
    spot_limit: float
    section_limit: float

    @classmethod
    def fit(cls, embeddings: list[np.ndarray], groups: list[str], *, seed: int = 0) -> "TrainingDistribution":
        """Fit to the embeddings ``(n_spots, n_features)`` of sections of at least two groups.

        Raises
        ------
        ValueError
            The embeddings of all training spots, or of those left when one group is taken away, are the same.
        """
        rng = np.random.default_rng(seed)
        share = min(1.0, MAX_BANK / sum(map(len, embeddings)))
        # the same share of each section, so that the bank looks as training does
        kept = [
            one[np.sort(rng.choice(len(one), max(1, round(share * len(one))), replace=False))] for one in embeddings
        ]
        left_out = []
        for fold in inner_folds(groups):
            others = cls._of(np.concatenate([kept[i] for i in fold.train]))
            left_out += [others.distance(kept[i]) for i in fold.held_out]
        return cls._of(np.concatenate(kept), *limits(left_out))

    @classmethod
    def _of(cls, spots: np.ndarray, spot_limit: float = 1.0, section_limit: float = 1.0) -> "TrainingDistribution":
        spots = spots.astype(np.float64)
        mean, scale = spots.mean(axis=0), spots.std(axis=0)
        scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-6)] = 1.0
        centred = (spots - mean) / scale
        axes = _whitening_axes(centred)
        if axes.shape[1] == 0:
            raise ValueError(
                f"The embeddings of {len(spots):,} training spots do not vary: each has the same {spots.shape[1]:,} "
                "values, so nothing can be learnt from them. Look at the image under the spots "
                "(histoquilt.im.check_on_tissue): all patches may be empty glass, or lie outside. Embed it again, or "
                f"name another embedding with {argument('use_rep')}."
            )
        return cls(mean, scale, axes, centred @ axes, spot_limit, section_limit)

    def distance(self, embedding: np.ndarray) -> np.ndarray:
        """Return each spot's mean distance to the nearest training spots, ``(n_spots,)``."""
        points = ((embedding - self.mean) / self.scale) @ self.axes
        nearest, _ = cKDTree(self.bank).query(points, k=range(1, min(N_NEAREST, len(self.bank)) + 1))
        return nearest.mean(axis=1)

    def score(self, embedding: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the distance of each spot ``(n_spots,)`` and of the section, in units of the limits."""
        distance = self.distance(embedding)
        return distance / self.spot_limit, float(np.median(distance)) / self.section_limit

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what :meth:`restore` needs."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray]) -> "TrainingDistribution":
        """Rebuild from :meth:`arrays`."""
        limits = float(arrays["spot_limit"]), float(arrays["section_limit"])
        return cls(arrays["mean"], arrays["scale"], arrays["axes"], arrays["bank"], *limits)


def limits(left_out: list[np.ndarray]) -> tuple[float, float]:
    """Return the limits of a spot and of the median spot of a section, from distances of left-out sections."""
    smallest = float(np.finfo(np.float32).tiny)  # training sections may be copies of each other
    spot = float(np.percentile(np.concatenate(left_out), PERCENTILE))
    section = SECTION_MARGIN * max(float(np.median(one)) for one in left_out)
    return max(spot, smallest), max(section, smallest)


def _whitening_axes(centred: np.ndarray) -> np.ndarray:
    """Return the leading principal axes, scaled to unit variance, from the smaller of the two Gram matrices."""
    n_spots, n_features = centred.shape
    if n_features <= n_spots:
        values, axes = np.linalg.eigh(centred.T @ centred / n_spots)
    else:
        values, spots = np.linalg.eigh(centred @ centred.T / n_spots)
        axes = centred.T @ spots / np.sqrt(n_spots * np.maximum(values, 1e-12 * max(values[-1], 1e-12)))
    leading = np.argsort(-values, kind="stable")[: min(N_COMPONENTS, n_features, n_spots - 1)]
    # directions without spread hold nothing but rounding errors, which whitening would magnify
    leading = leading[values[leading] > 1e-9 * max(values[-1], 1e-3)]
    return axes[:, leading] / np.sqrt(values[leading])
