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

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.AveragedPCsConfig(n_pcs=50, n_averagings=3).to_dict()["n_averagings"]
    3
    >>> hq.models.AveragedPCsConfig(n_pcs=0)
    Traceback (most recent call last):
        ...
    ValueError: n_pcs must be a whole number of at least 1, got 0.
    """

    n_averagings: WholeNumber | None = None  # by default 2; 0 if sections have fewer than 1,000 spots
