"""Principal components of image embeddings over the training sections, by training moments or each section's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.utils.extmath import randomized_svd

from histoquilt.models.expression._inputs import ImageSection

MAX_COMPONENTS = 512
_EXACT = 4000  # spots or inputs, whichever are fewer
_FEW_SPOTS = 20  # a section of so many spots is standardised half by its own, half by the training moments
_LEAST_SCALE = 0.3  # of the training scale: a column that hardly varies in a section is not blown up


def _leading_axes(x: np.ndarray) -> np.ndarray:
    """Return orthonormal columns ``(n_inputs, n_components)`` float32, at most 512, by falling variance of ``x``.

    By the smaller Gram matrix, exactly, as long as that is small; else by a seeded randomised SVD.
    """
    n_spots, n_inputs = x.shape
    if min(x.shape) > _EXACT:
        vectors = randomized_svd(x, MAX_COMPONENTS, n_iter=4, random_state=0)[2].T
    elif n_spots < n_inputs:
        values, left = np.linalg.eigh((x @ x.T).astype(np.float64))
        keep = np.flatnonzero(values > 1e-6 * values[-1])[-MAX_COMPONENTS:]  # float32 products know no smaller ones
        vectors = (x.T @ (left[:, keep] / np.sqrt(values[keep])))[:, ::-1]
    else:
        vectors = np.linalg.eigh((x.T @ x).astype(np.float64))[1][:, ::-1][:, :MAX_COMPONENTS]
    return np.ascontiguousarray(vectors, dtype=np.float32)


def own_moments(x: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
    """Standardise a section's inputs by its own moments, shrunk to those of training where it has few spots.

    Parameters
    ----------
    x
        ``(n_spots, n_inputs)``, standardised with the training moments.
    of
        Inputs whose moments are taken; by default ``x`` itself.
    """
    of = x if of is None else of
    trust = len(of) / (len(of) + _FEW_SPOTS)
    variance = trust * of.var(axis=0) + (1 - trust)
    return (x - trust * of.mean(axis=0)) / np.maximum(np.sqrt(variance), _LEAST_SCALE)


@dataclass(frozen=True)
class Basis:
    """Principal components of the inputs of training sections.

    Attributes
    ----------
    own_moments
        If true, sections are first standardised by their own moments.
    mean
        Mean of the training inputs, ``(n_inputs,)``.
    components
        Orthonormal columns ``(n_inputs, n_components)``, by decreasing variance.
    scale
        Root mean square of all the training scores: dividing by it makes scores comparable between bases.
    """

    own_moments: bool
    mean: np.ndarray
    components: np.ndarray
    scale: float

    @classmethod
    def fit(cls, train: Sequence[ImageSection], own: bool) -> "Basis":
        """Find the components, at most 512, of all spots."""
        x = np.concatenate([own_moments(one.x) if own else one.x for one in train])
        mean = x.mean(axis=0)
        x = x - mean
        components = _leading_axes(x)
        scale = float(np.sqrt(((x @ components) ** 2).mean()))
        return cls(own, mean, components, scale or 1.0)

    def first(self, n_components: int) -> "Basis":
        """Return the leading components alone."""
        return replace(self, components=np.ascontiguousarray(self.components[:, :n_components]))

    def scores(self, x: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
        """Return ``(n_spots, n_components)`` of inputs ``(n_spots, n_inputs)`` standardised with training moments.

        Own moments are those of the inputs ``of``, by default ``x``.
        """
        moved = own_moments(x, of) if self.own_moments else x
        return ((moved - self.mean) @ self.components) / self.scale

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything fitted, for a checkpoint."""
        return {"mean": self.mean, "components": self.components, "scale": np.array(self.scale)}

    @classmethod
    def restore(cls, own: bool, stored: dict[str, np.ndarray]) -> "Basis":
        """Take back what :meth:`arrays` gave."""
        return cls(own, stored["mean"], stored["components"], float(stored["scale"]))
