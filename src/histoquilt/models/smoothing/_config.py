"""Settings of SpatialFactors."""

from dataclasses import dataclass
from typing import ClassVar

from histoquilt.models.domains._feature_config import FeatureConfig


@dataclass(frozen=True)
class SpatialFactorsConfig(FeatureConfig):
    """Settings of :class:`histoquilt.models.SpatialFactors`, chosen without labels.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    whole: ClassVar[tuple[str, ...]] = (*FeatureConfig.whole, "max_factors")
    positive: ClassVar[tuple[str, ...]] = (*FeatureConfig.positive, "outlier_sd")

    outlier_sd: float = 2.0  # features are cut at this many robust standard deviations
    equal_length: bool = True  # bring every spot's features to one length before the factors are sought
    max_factors: int = 30
