"""Tissue unlike the tissue a model was trained on: distance of a spot's embedding to those of training."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

N_COMPONENTS = 16
N_NEAREST = 5
PERCENTILE = 99.0
MAX_BANK = 5_000  # training spots kept; more make distances no truer


@dataclass(frozen=True)
class TrainingDistribution:
    """Where the embeddings of the training sections lie.

    A spot's distance is the mean distance to its nearest training spots in the leading principal components of the
    standardised embeddings. What is far is told by training itself: the distances of each group's spots to the
    other groups', of which 99 % count as ordinary.

    Attributes
    ----------
    mean, scale
        ``(n_features,)`` moments of the training embeddings.
    components
        ``(n_components, n_features)`` principal axes.
    bank
        ``(n_bank, n_components)`` training spots.
    threshold
        Distance above which a spot is outside.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    bank: np.ndarray
    threshold: float

    @classmethod
    def fit(cls, embeddings: list[np.ndarray], groups: list[str], *, seed: int = 0) -> "TrainingDistribution":
        """Learn from the embeddings ``(n_spots, n_features)`` of sections of at least two groups."""
        rng = np.random.default_rng(seed)
        n_spots = sum(map(len, embeddings))
        share = min(1.0, MAX_BANK / n_spots)
        # the same share of each section, so that the bank looks as training does
        kept = [
            one[np.sort(rng.choice(len(one), max(1, round(share * len(one))), replace=False))] for one in embeddings
        ]
        joined = np.concatenate(kept).astype(np.float64)
        mean, scale = joined.mean(axis=0), joined.std(axis=0)
        scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-6)] = 1.0
        components = _principal_axes((joined - mean) / scale, N_COMPONENTS)
        bank = ((joined - mean) / scale) @ components.T
        owner = np.repeat(groups, [len(one) for one in kept])
        distances = np.concatenate([_distance(bank[owner == g], bank[owner != g]) for g in dict.fromkeys(groups)])
        threshold = float(np.percentile(distances, PERCENTILE))
        return cls(mean, scale, components, bank, max(threshold, float(np.finfo(np.float32).tiny)))

    def score(self, embedding: np.ndarray) -> np.ndarray:
        """Return each spot's distance in units of the threshold, ``(n_spots,)``: above 1 it is outside."""
        return _distance(((embedding - self.mean) / self.scale) @ self.components.T, self.bank) / self.threshold

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what :meth:`restore` needs."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def restore(cls, arrays: dict[str, np.ndarray]) -> "TrainingDistribution":
        """Rebuild from :meth:`arrays`."""
        threshold = float(arrays["threshold"])
        return cls(arrays["mean"], arrays["scale"], arrays["components"], arrays["bank"], threshold)


def _principal_axes(centred: np.ndarray, n_components: int) -> np.ndarray:
    """Return the leading axes, through the smaller of the two products of the matrix with itself."""
    n_spots, n_features = centred.shape
    n_components = min(n_components, n_spots - 1, n_features)
    if n_features <= n_spots:
        _, axes = np.linalg.eigh(centred.T @ centred)
        return axes[:, ::-1][:, :n_components].T
    values, spots = np.linalg.eigh(centred @ centred.T)
    values, spots = values[::-1][:n_components], spots[:, ::-1][:, :n_components]
    return (spots / np.sqrt(np.maximum(values, 1e-12 * values[0]))).T @ centred


def _distance(points: np.ndarray, bank: np.ndarray) -> np.ndarray:
    nearest, _ = cKDTree(bank).query(points, k=min(N_NEAREST, len(bank)))
    return nearest.mean(axis=1) if nearest.ndim == 2 else nearest
