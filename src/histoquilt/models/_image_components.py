"""Principal components of image embeddings over the training sections, by training moments or each section's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.extmath import randomized_svd

from histoquilt.models.expression._inputs import ImageSection, own_moments

MAX_COMPONENTS = 512
_EXACT = 4000  # spots or inputs, whichever are fewer


def leading_axes(x: np.ndarray, n: int = MAX_COMPONENTS, exact: int = _EXACT) -> np.ndarray:
    """Return at most ``n`` orthonormal columns ``(n_inputs, n_components)`` float32, by decreasing variance of ``x``.

    Exact, by the smaller Gram matrix, up to ``exact`` spots or inputs; else by a seeded randomised SVD.
    """
    n_spots, n_inputs = x.shape
    if min(x.shape) > exact:
        vectors = randomized_svd(x, n, n_iter=4, random_state=0)[2].T
    elif n_spots < n_inputs:
        values, left = np.linalg.eigh((x @ x.T).astype(np.float64))
        keep = np.flatnonzero(values > 1e-6 * values[-1])[-n:]  # float32 products know no smaller ones
        vectors = (x.T @ (left[:, keep] / np.sqrt(values[keep])))[:, ::-1]
    else:
        vectors = np.linalg.eigh((x.T @ x).astype(np.float64))[1][:, ::-1][:, :n]
    return np.ascontiguousarray(vectors, dtype=np.float32)


@dataclass(frozen=True)
class Basis:
    """Principal components of the inputs of training sections.

    Attributes
    ----------
    own_moments
        If true, sections are first standardised by their own moments; false where their inputs are so already.
    unit
        Standard deviation of the training inputs, ``(n_inputs,)``; 1 but for blocks of several encoders.
    mean
        Mean of the training inputs, ``(n_inputs,)``.
    components
        Orthonormal columns ``(n_inputs, n_components)``, by decreasing variance.
    scale
        Root mean square of all the training scores: dividing by it makes scores comparable between bases.
    """

    own_moments: bool
    unit: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    scale: float

    @classmethod
    def fit(cls, train: Sequence[ImageSection], own: bool) -> "Basis":
        """Find the components, at most 512, of all spots; ``own``: of sections standardised by their own moments."""
        own = own and not train[0].own_moments
        x = np.concatenate([one.x for one in train])
        unit = x.std(axis=0)
        unit[unit < 1e-6] = 1.0
        if own:
            x = np.concatenate([own_moments(one.x / unit) * unit for one in train])
        mean = x.mean(axis=0)
        x = x - mean
        components = leading_axes(x)
        scale = float(np.sqrt(((x @ components) ** 2).mean()))
        return cls(own, unit, mean, components, scale or 1.0)

    def first(self, n_components: int) -> "Basis":
        """Return the leading components alone."""
        return replace(self, components=np.ascontiguousarray(self.components[:, :n_components]))

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return ``(n_spots, n_components)`` of a section's inputs, ``(n_spots, n_inputs)`` as in training."""
        moved = own_moments(x / self.unit) * self.unit if self.own_moments else x
        return ((moved - self.mean) @ self.components) / self.scale

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything fitted, for a checkpoint."""
        return {"unit": self.unit, "mean": self.mean, "components": self.components, "scale": np.array(self.scale)}

    @classmethod
    def restore(cls, own: bool, stored: dict[str, np.ndarray]) -> "Basis":
        """Take back what :meth:`arrays` gave."""
        return cls(own, stored["unit"], stored["mean"], stored["components"], float(stored["scale"]))
