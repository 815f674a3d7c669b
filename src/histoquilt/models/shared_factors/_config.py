"""Settings of SharedFactors."""

from dataclasses import dataclass

from histoquilt._base import DOMAIN_MODELS
from histoquilt.models.averaging._config import AveragedPCsConfig
from histoquilt.models.smoothing._config import SpatialFactorsConfig


@dataclass(frozen=True)
class SharedFactorsConfig(SpatialFactorsConfig, AveragedPCsConfig):
    """Settings of :class:`histoquilt.models.SharedFactors`, which its members take over where they have them.

    Raises
    ------
    ValueError
        A value is outside its range, or ``members`` are not one or more domain models, each once.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.SharedFactorsConfig(n_averagings=1).n_averagings
    1
    """

    members: tuple[str, ...] = ("spatial_factors", "averaged_pcs")  # the first one denoises

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.members or len(set(self.members)) < len(self.members) or "shared_factors" in self.members:
            raise ValueError(
                "members must be one or more names of domain models, each once and not shared_factors, got "
                f"{self.members!r}."
            )
        for name in self.members:
            if name not in DOMAIN_MODELS:
                raise ValueError(DOMAIN_MODELS.unknown(name))
