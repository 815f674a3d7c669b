"""A metric learned by reduced-rank regression: spots are alike whose images foretell alike expression.

A cosine between embeddings weighs every texture alike, told by genes or not. Reduced-rank ridge regression
(:mod:`histoquilt.models.linear`) finds the few directions of the inputs that expression follows; distances along these
compare spots by what matters for the genes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from histoquilt.models._image_components import Basis
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.linear._reduced_rank import LinearInputs


@dataclass(frozen=True)
class MetricSetting:
    """One way to learn the metric."""

    own_moments: bool
    alpha: float
    n_directions: int


@dataclass(frozen=True)
class LearnedMetric:
    """Directions in which spots are compared by Euclidean distance.

    Attributes
    ----------
    basis
        Principal components of the inputs.
    directions
        ``(n_components, n_directions)``, by falling share of the fitted variance.
    """

    basis: Basis
    directions: np.ndarray

    @property
    def n_inputs(self) -> int:
        """Columns of ``x`` that it takes."""
        return len(self.basis.mean)

    def points(self, section: ImageSection) -> torch.Tensor:
        """Return what is compared, ``(n_spots, n_directions)`` float64."""
        return torch.from_numpy(self.basis.scores(section.x) @ self.directions)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything fitted, for a checkpoint."""
        own = np.array(self.basis.own_moments)
        return {**self.basis.arrays(), "directions": self.directions, "own_moments": own}

    @classmethod
    def restore(cls, stored: dict[str, np.ndarray]) -> "LearnedMetric":
        """Rebuild from :meth:`arrays`."""
        return cls(Basis.restore(bool(stored["own_moments"]), stored), stored["directions"])


def learn_directions(
    inputs: LinearInputs, members: Sequence[int], alphas: Sequence[float], n_directions: Sequence[int]
) -> Iterator[tuple[MetricSetting, np.ndarray]]:
    """Learn the directions on some training sections, for every setting.

    Parameters
    ----------
    inputs
        Components of the training sections.
    members
        Numbers of the sections to learn on.
    alphas
        Ridge penalties, in units of the mean squared length of a centred row of inputs.
    n_directions
        Numbers of leading directions.

    Yields
    ------
    Setting and ``(n_components, n_directions)``.
    """
    for own in inputs.scores:
        path = inputs.path(members, own, weighted=True)
        for alpha in alphas:
            leading = path.leading_directions(alpha, max(n_directions))
            for n in n_directions:
                yield MetricSetting(own, alpha, n), leading[:, :n]
