"""SpatialFactors: domains and denoised expression by smoothed spatial factors.

Features (principal components of the variable genes) are projected to the directions in which neighbours agree more
than by chance, and each factor is averaged over the graph as often as minimises an unbiased estimate of its error
(:mod:`histoquilt.models.smoothing._factors`). There is no network: SpaMask's autoencoder, trained on the factors and
weighted by its estimated error, got weights of .01 to .06 and changed no results (docs/benchmarks.md).
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from histoquilt.models.domains._feature_model import FeatureModel, Outputs, Tissue
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.smoothing._config import SpatialFactorsConfig
from histoquilt.models.smoothing._factors import SAMPLED_SPOTS, FactorProjection, smooth

if TYPE_CHECKING:
    import torch

_NUMBERS = ("length", "n_fitted")


class SpatialFactors(FeatureModel):
    """Spatial domains and denoised expression by smoothed spatial factors.

    Parameters
    ----------
    config
        Settings; the defaults were chosen without labels.

    Attributes
    ----------
    training_facts
        Record of training: seed, seconds, number of factors, and number of spots used.

    References
    ----------
    Switzer, Green. Min/max autocorrelation factors for multivariate spatial imagery. Stanford, 1984.
    Dray, Said, Debias. Journal of Vegetation Science 19: 45-56, 2008.
    Mallows. Technometrics 15: 661-675, 1973.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, seed=0)
    >>> model = hq.models.SpatialFactors().fit(adata)
    >>> len(model.embed(adata))
    400
    """

    method = "spatial_factors"
    config_class = SpatialFactorsConfig
    config: SpatialFactorsConfig
    weighs_links = True

    def learn(
        self, features: np.ndarray, tissue: Tissue, *, seed: int, device: "str | torch.device", progress: bool
    ) -> tuple[FactorProjection, dict[str, Any]]:
        """Fit the factors and their smoothing; the seed has no effect."""
        config = self.config
        projection = FactorProjection.fit(
            features,
            tissue.adjacency,
            outlier_sd=config.outlier_sd,
            equal_length=config.equal_length,
            max_factors=config.max_factors,
        )
        return projection, {"n_factors": len(projection.n_smoothing_steps), "n_factor_spots": projection.n_fitted}

    def apply(self, learnt: FactorProjection, features: np.ndarray, tissue: Tissue) -> Outputs:
        """Return the smoothed factors as embedding and reconstruction."""
        factors, steps = learnt.transform(features), learnt.n_smoothing_steps
        smoothed = smooth(factors, tissue.adjacency, steps)
        less = partial(smooth, factors, tissue.adjacency, np.maximum(steps - 1, 0))
        return Outputs(smoothed, [smoothed], smoothed, learnt.row_scale(features), less_smoothed=less)

    def to_features(self, learnt: FactorProjection, reconstruction: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
        """Convert smoothed factors to features, ``(n_spots, n_features)`` float32."""
        return learnt.inverse(reconstruction, row_scale)

    def embedding_width(self, n_features: int) -> int:
        """Return the largest possible number of factors."""
        return min(self.config.max_factors, n_features)

    def working_bytes(self, n_spots: int, n_features: int) -> int:
        """Return the bytes of 3.5 float64 copies of the sample, or of the smoothed factors of all spots."""
        sample = 28 * n_features * min(n_spots, SAMPLED_SPOTS)
        return max(sample, 8 * self.embedding_width(n_features) * n_spots)

    def learnt_state(self, learnt: FactorProjection) -> MethodState:
        """Return the projection, for :meth:`save`."""
        values = vars(learnt)
        arrays = {name: value for name, value in values.items() if name not in _NUMBERS}
        return MethodState({}, arrays, {name: values[name] for name in _NUMBERS})

    def restore_learnt(self, state: MethodState, n_features: int) -> FactorProjection:
        """Rebuild the projection."""
        if len(state.arrays["center"]) != n_features:
            raise ValueError(f"{n_features} features for a projection of {len(state.arrays['center'])}")
        return FactorProjection(**state.arrays, **state.settings)  # type: ignore[arg-type]
