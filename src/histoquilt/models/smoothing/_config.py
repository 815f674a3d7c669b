"""Settings of SpatialFactors."""

from dataclasses import dataclass

from histoquilt.models._config import check_settings
from histoquilt.models.domains._feature_config import FeatureConfig


@dataclass(frozen=True)
class SpatialFactorsConfig(FeatureConfig):
    """Settings of :class:`histoquilt.models.SpatialFactors`, chosen without labels.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    outlier_sd: float = 2.0  # features are clipped at this many robust standard deviations
    equal_length: bool = True  # scale the features of every spot to the same length before fitting
    max_factors: int = 30

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(self, whole={"max_factors": 1}, positive=("outlier_sd",))
