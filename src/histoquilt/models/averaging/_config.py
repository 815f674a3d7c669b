"""Settings of AveragedPCs."""

from dataclasses import dataclass

from histoquilt.models._ranges import WholeNumber
from histoquilt.models.domains._feature_config import FeatureConfig


@dataclass(frozen=True)
class AveragedPCsConfig(FeatureConfig):
    """Settings of :class:`histoquilt.models.AveragedPCs`.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    n_averagings: WholeNumber | None = None  # by default 2; 0 if sections have fewer than 1,000 spots
