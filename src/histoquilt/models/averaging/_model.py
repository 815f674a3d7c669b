"""AveragedPCs: principal components of unit length, averaged over neighbours.

The features of every spot are scaled to unit length, so that depth and single strongly expressed genes do not
determine distances; each spot is replaced by the mean of itself and its neighbours ``n_averagings`` times; the leading
principal components of the result are the embedding.
"""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import svd_flip

from histoquilt.models.averaging._config import AveragedPCsConfig
from histoquilt.models.domains._feature_model import FeatureModel, Outputs, Tissue
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.smoothing._factors import SAMPLED_SPOTS, smooth
from histoquilt.models.smoothing._patches import scattered_patches
from histoquilt.pp import row_chunks

if TYPE_CHECKING:
    import torch

_SMALL_SECTION = 1000  # spots; in smaller ones two averagings reach across whole domains


@dataclass(frozen=True)
class AveragedComponents:
    """Fitted projection from features of unit length to the components of their averages."""

    center: np.ndarray  # (n_features,) mean of the averaged features
    axes: np.ndarray  # (n_features, n_components)
    n_averagings: int

    @classmethod
    def fit(
        cls, features: np.ndarray, adjacency: csr_matrix, *, n_averagings: int, n_components: int
    ) -> "AveragedComponents":
        """Fit to features ``(n_spots, n_features)`` and their graph; at most 50,000 spots, in patches, are used."""
        sample = scattered_patches(adjacency, SAMPLED_SPOTS)
        of_unit_length = _unit_rows(features[sample])[0]
        steps = np.full(of_unit_length.shape[1], n_averagings)
        averaged = smooth(of_unit_length, adjacency[sample][:, sample], steps).astype(np.float64)
        center = averaged.mean(axis=0)
        covariance = averaged.T @ averaged / len(averaged) - np.outer(center, center)
        return cls(center, leading_axes(covariance, n_components), n_averagings)

    def project(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the components of unit rows, ``(n_spots, n_components)`` float32, and the lengths of the rows."""
        projected = np.empty((len(features), self.axes.shape[1]), np.float32)
        lengths = np.empty(len(features))
        for rows in row_chunks(*features.shape):
            unit, lengths[rows] = _unit_rows(features[rows])
            projected[rows] = unit @ self.axes
        return projected, lengths

    def average(self, projected: np.ndarray, adjacency: csr_matrix, times: int) -> np.ndarray:
        """Return components of :meth:`project` averaged ``times`` times, less their mean."""
        averaged = smooth(projected, adjacency, np.full(projected.shape[1], times))
        return averaged - (self.center @ self.axes).astype(np.float32)

    def inverse(self, components: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Convert components to features, ``(n_spots, n_features)`` float32."""
        return ((components @ self.axes.T + self.center) * lengths[:, None]).astype(np.float32)


class AveragedPCs(FeatureModel):
    """Spatial domains from principal components of unit length that are averaged over neighbours.

    Parameters
    ----------
    config
        Settings.

    Attributes
    ----------
    training_facts
        Record of training: seed, seconds, and the number of averagings.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, seed=0)
    >>> model = hq.models.AveragedPCs(hq.models.AveragedPCsConfig(n_averagings=2)).fit(adata)
    >>> model.embed(adata).shape
    (400, 10)
    """

    method = "averaged_pcs"
    config_class = AveragedPCsConfig
    config: AveragedPCsConfig
    weighs_links = True

    def learn(
        self, features: np.ndarray, tissue: Tissue, *, seed: int, device: "str | torch.device", progress: bool
    ) -> tuple[AveragedComponents, dict[str, Any]]:
        """Fit the components; the seed has no effect."""
        times = self.config.n_averagings
        if times is None:
            n_sections = 1 if tissue.sections is None else len(np.unique(tissue.sections))
            times = 2 if len(features) >= _SMALL_SECTION * n_sections else 0
        learnt = AveragedComponents.fit(
            features, tissue.adjacency, n_averagings=times, n_components=self.config.n_components
        )
        return learnt, {"n_averagings": times}

    def apply(self, learnt: AveragedComponents, features: np.ndarray, tissue: Tissue) -> Outputs:
        """Return the averaged components as embedding and reconstruction."""
        projected, lengths = learnt.project(features)
        components = learnt.average(projected, tissue.adjacency, learnt.n_averagings)
        less = partial(learnt.average, projected, tissue.adjacency, max(learnt.n_averagings - 1, 0))
        return Outputs(components, [components], components, lengths, less_smoothed=less)

    def to_features(self, learnt: AveragedComponents, reconstruction: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
        """Convert averaged components to features, ``(n_spots, n_features)`` float32."""
        return learnt.inverse(reconstruction, row_scale)

    def embedding_width(self, n_features: int) -> int:
        """Return the number of components."""
        return min(self.config.n_components, n_features)

    def working_bytes(self, n_spots: int, n_features: int) -> int:
        """Return the bytes of 3.5 float64 copies of the sample, or of the averaged components of all spots."""
        sample = 28 * n_features * min(n_spots, SAMPLED_SPOTS)
        return max(sample, 8 * self.embedding_width(n_features) * n_spots)

    def learnt_state(self, learnt: AveragedComponents) -> MethodState:
        """Return the components, for :meth:`save`."""
        return MethodState({}, {"center": learnt.center, "axes": learnt.axes}, {"n_averagings": learnt.n_averagings})

    def restore_learnt(self, state: MethodState, n_features: int) -> AveragedComponents:
        """Rebuild the components."""
        if len(state.arrays["center"]) != n_features:
            raise ValueError(f"{n_features} features for components of {len(state.arrays['center'])}")
        return AveragedComponents(**state.arrays, **state.settings)  # type: ignore[arg-type]


def leading_axes(covariance: np.ndarray, n_components: int) -> np.ndarray:
    """Return the leading eigenvectors as columns, each with a positive largest entry."""
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :n_components]
    return svd_flip(axes, axes.T)[0]


def _unit_rows(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of unit length, and their lengths; rows of zeros stay."""
    lengths = np.linalg.norm(features, axis=1)
    return features / np.where(lengths > 0, lengths, 1)[:, None], lengths
