"""Settings of SpatialFactors."""

from dataclasses import dataclass

from histoquilt.models._ranges import Count, Positive
from histoquilt.models.domains._feature_config import FeatureConfig


@dataclass(frozen=True)
class SpatialFactorsConfig(FeatureConfig):
    """Settings of :class:`histoquilt.models.SpatialFactors`, chosen without labels.

    Raises
    ------
    ValueError
        A value is outside its range.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.SpatialFactorsConfig(n_neighbors=8).n_neighbors
    8
    """

    outlier_sd: Positive = 2.0  # features are clipped at this many robust standard deviations
    equal_length: bool = True  # scale the features of every spot to the same length before fitting
    max_factors: Count = 30
