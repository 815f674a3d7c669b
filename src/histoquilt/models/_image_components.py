"""Principal components of image embeddings over the training sections, by training moments or each section's own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from sklearn.utils.extmath import randomized_svd

from histoquilt.models._kernel_map import KernelMap
from histoquilt.models.expression._inputs import ImageSection, own_moments
from histoquilt.train import strip_prefix

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


def moments_to_try(train: Sequence[ImageSection], own_moments: bool | Literal["auto"]) -> tuple[bool, ...]:
    """Return whether to standardise by own moments: the choices left to inner validation."""
    if train[0].own_moments:
        return (True,)
    return (False,) if own_moments is False else (False, True)


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
    kernel
        Kernel map whose features follow the scores; ``None`` for none.
    """

    own_moments: bool
    unit: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    scale: float
    kernel: KernelMap | None = None

    @classmethod
    def fit(
        cls, train: Sequence[ImageSection], own: bool, n_components: int = MAX_COMPONENTS, exact: int = _EXACT
    ) -> "Basis":
        """Find the leading components of all spots; ``own``: of sections standardised by their own moments."""
        own = own and not train[0].own_moments
        x = np.concatenate([one.x for one in train])
        unit = x.std(axis=0)
        unit[unit < 1e-6] = 1.0
        if own:
            x = np.concatenate([own_moments(one.x / unit) * unit for one in train])
        mean = x.mean(axis=0)
        x -= mean
        components = leading_axes(x, n_components, exact)
        scale = float(np.sqrt(((x @ components) ** 2).mean()))
        return cls(own, unit, mean, components, scale or 1.0)

    def first(self, n_components: int) -> "Basis":
        """Return the leading components alone."""
        return replace(self, components=np.ascontiguousarray(self.components[:, :n_components]))

    def with_kernel(self, train: Sequence[ImageSection], n_features: int) -> "Basis":
        """Return the components followed by features of an RBF kernel map of them; without, if there are to be 0."""
        if n_features == 0:
            return self
        return replace(self, kernel=KernelMap.fit(np.concatenate([self.scores(one.x) for one in train]), n_features))

    def divided(self, by: float) -> "Basis":
        """Return the basis whose scores are divided by a number."""
        return replace(self, scale=self.scale * by, kernel=None if self.kernel is None else self.kernel.divided(by))

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return ``(n_spots, n_components + n_kernel)`` of a section's inputs ``(n_spots, n_inputs)``."""
        moved = own_moments(x / self.unit) * self.unit if self.own_moments else x
        scores = ((moved - self.mean) @ self.components) / self.scale
        return scores if self.kernel is None else np.hstack([scores, self.kernel.features(scores)])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything fitted, for a checkpoint."""
        stored = {"unit": self.unit, "mean": self.mean, "components": self.components, "scale": np.array(self.scale)}
        kernel = {} if self.kernel is None else self.kernel.arrays()
        return stored | {f"kernel.{name}": value for name, value in kernel.items()}

    @classmethod
    def restore(cls, own: bool, stored: dict[str, np.ndarray]) -> "Basis":
        """Take back what :meth:`arrays` gave."""
        kernel = strip_prefix(stored, "kernel")
        fitted = stored["unit"], stored["mean"], stored["components"], float(stored["scale"])
        return cls(own, *fitted, KernelMap.restore(kernel) if kernel else None)
