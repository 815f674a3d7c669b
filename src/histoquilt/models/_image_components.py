"""Principal components of image embeddings of the training sections."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.extmath import randomized_svd

from histoquilt.models.expression._inputs import ImageSection

MAX_COMPONENTS = 512
_EXACT = 4000  # largest size of an exact decomposition: spots or inputs, whichever are fewer
_FEW_SPOTS = 20  # spots at which a section's own moments and the training moments have equal weight
_LEAST_SCALE = 0.3  # least standard deviation, relative to training: columns that hardly vary are not inflated


def _leading_axes(x: np.ndarray) -> np.ndarray:
    """Orthonormal columns ``(n_inputs, n_components)`` float32, at most 512, by decreasing variance of ``x``."""
    n_spots, n_inputs = x.shape
    if min(x.shape) > _EXACT:
        vectors = randomized_svd(x, MAX_COMPONENTS, n_iter=4, random_state=0)[2].T
    elif n_spots < n_inputs:
        values, left = np.linalg.eigh((x @ x.T).astype(np.float64))
        keep = np.flatnonzero(values > 1e-6 * values[-1])[-MAX_COMPONENTS:]  # below the precision of float32 products
        vectors = (x.T @ (left[:, keep] / np.sqrt(values[keep])))[:, ::-1]
    else:
        vectors = np.linalg.eigh((x.T @ x).astype(np.float64))[1][:, ::-1][:, :MAX_COMPONENTS]
    return np.ascontiguousarray(vectors, dtype=np.float32)


def own_moments(x: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
    """Standardise a section's inputs by the moments of ``of`` (default: ``x``), shrunk to training for few spots.

    x: ``(n_spots, n_inputs)``, standardised with the training moments.
    """
    of = x if of is None else of
    trust = len(of) / (len(of) + _FEW_SPOTS)
    variance = trust * of.var(axis=0) + (1 - trust)
    return (x - trust * of.mean(axis=0)) / np.maximum(np.sqrt(variance), _LEAST_SCALE)


@dataclass(frozen=True)
class Basis:
    """Principal components of the inputs of training sections."""

    own_moments: bool  # if true, sections are first standardised by their own moments
    mean: np.ndarray  # (n_inputs,)
    components: np.ndarray  # (n_inputs, n_components), orthonormal columns by decreasing variance
    scale: float  # root mean square of the training scores; scores are divided by it

    @classmethod
    def fit(cls, train: Sequence[ImageSection], own: bool) -> "Basis":
        """Fit at most 512 components to all spots."""
        x = np.concatenate([own_moments(section.x) if own else section.x for section in train])
        mean = x.mean(axis=0)
        x = x - mean
        components = _leading_axes(x)
        scale = float(np.sqrt(((x @ components) ** 2).mean()))
        return cls(own, mean, components, scale or 1.0)

    def first(self, n_components: int) -> "Basis":
        """Return the leading components only."""
        return replace(self, components=np.ascontiguousarray(self.components[:, :n_components]))

    def scores(self, x: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
        """Return scores ``(n_spots, n_components)`` of inputs; arguments as for :func:`own_moments`."""
        moved = own_moments(x, of) if self.own_moments else x
        return ((moved - self.mean) @ self.components) / self.scale

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fitted arrays, for a checkpoint."""
        return {"mean": self.mean, "components": self.components, "scale": np.array(self.scale)}

    @classmethod
    def restore(cls, own: bool, stored: dict[str, np.ndarray]) -> "Basis":
        """Restore from :meth:`arrays`."""
        return cls(own, stored["mean"], stored["components"], float(stored["scale"]))
