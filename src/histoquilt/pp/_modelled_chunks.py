"""Modelled genes in chunks of spots, their principal axes, and features."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.utils.extmath import randomized_svd

from histoquilt.pp._scaling import Scaling
from histoquilt.study import Expression


@dataclass(frozen=True)
class ModelledChunks:
    """Normalised expression of the modelled genes, computed chunk by chunk in every pass."""

    source: Expression
    columns: np.ndarray  # (n_genes,) of each modelled gene in source; -1 if missing
    target_sum: float
    log: bool
    fill: np.ndarray | None = None  # (n_genes,) values of missing genes; None if there are none

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_spots, n_genes)``."""
        return self.source.matrix.shape[0], len(self.columns)

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield the spots and values, float32 ``(n_chunk, n_genes)``, of every chunk."""
        here = self.columns >= 0
        for rows, measured in self.source.normalised_chunks(self.target_sum, log=self.log, n_columns=len(self.columns)):
            values = measured[:, self.columns[here]].toarray()
            if self.fill is not None:
                filled = np.tile(self.fill, (len(values), 1))
                filled[:, here] = values
                values = filled
            yield rows, values

    def whole(self) -> np.ndarray:
        """Return the whole matrix, float32 ``(n_spots, n_genes)``."""
        values = np.empty(self.shape, np.float32)
        for rows, part in self:
            values[rows] = part
        return values

    def principal_axes(self, scaling: Scaling, clip: float, n_axes: int, *, seed: int) -> np.ndarray:
        """Return the leading axes of the clipped z-scores, ``(n_axes, n_genes)`` float32.

        They are eigenvectors of the cross-product ``(n_genes, n_genes)``, summed over chunks, by a seeded randomised
        decomposition (a third of the time of the exact one). The largest loading of an axis is positive.
        """
        n_genes = self.shape[1]
        product = np.zeros((n_genes, n_genes), np.float32)
        for rows, values in self:
            z = scaling.of_rows(rows).z_score(values, clip)
            product += z.T @ z
        _, _, axes = randomized_svd(product, n_axes, n_iter=4, power_iteration_normalizer="LU", random_state=seed)
        largest = np.abs(axes).argmax(axis=1)
        return (axes * np.sign(axes[np.arange(n_axes), largest])[:, None]).astype(np.float32)

    def project(self, scaling: Scaling, clip: float, axes: np.ndarray) -> np.ndarray:
        """Return the clipped z-scores along some axes, ``(n_spots, n_axes)`` float32."""
        features = np.empty((self.shape[0], len(axes)), np.float32)
        for rows, values in self:
            features[rows] = scaling.of_rows(rows).z_score(values, clip) @ axes.T
        return features
