"""Settings of retrieval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from histoquilt.models._baseline_config import BaselineConfig
from histoquilt.models._ranges import Count, Positive, WholeNumber

Weighting = Literal["uniform", "inverse_square"]
Metric = Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class NearestNeighboursConfig(BaselineConfig):
    """Settings of :class:`histoquilt.models.NearestNeighbours`; ``"validate"`` leaves a choice to inner validation.

    Raises
    ------
    ValueError
        A value is outside its range.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.NearestNeighboursConfig(k=(5, 10)).k
    (5, 10)
    >>> plain = hq.models.NearestNeighboursConfig.plain()
    >>> plain.metric, plain.fields, plain.smoothing
    ('cosine', 'one', 0)
    """

    fields: Literal["one", "several", "validate"] = "several"
    neighbours: bool | Literal["validate"] = True
    smoothing: WholeNumber | Literal["validate"] = 0
    # how spots are compared: in the leading directions of a reduced-rank regression, or by the inputs themselves
    metric: Literal["learned", "cosine", "euclidean"] = "learned"
    k: tuple[Count, ...] = (10, 20, 40, 80)  # numbers of training spots to try
    weighting: Literal["uniform", "inverse_square", "validate"] = "validate"
    # learned metric: ridge penalties and numbers of directions to try
    alphas: tuple[Positive, ...] = (0.0003, 0.001, 0.003, 0.01)
    n_directions: tuple[Count, ...] = (4, 8, 16)
    # cosine and euclidean: compare columns of equal spread, or the embedding as it is
    standardised: bool | Literal["validate"] = "validate"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric == "learned" and (self.fields, self.neighbours) != ("several", True):
            raise ValueError("metric='learned' compares all inputs: it needs fields='several' and neighbours=True.")

    @classmethod
    def cosine(cls) -> Self:
        """Return the settings of retrieval by the cosine of embeddings; inputs and smoothing are validated."""
        return cls(fields="validate", neighbours="validate", smoothing="validate", metric="cosine",
                   k=(5, 10, 20, 50, 100, 200))  # fmt: skip

    @classmethod
    def plain(cls) -> Self:
        """Return the usual baseline: cosine on one patch around each spot, no neighbours, no smoothing."""
        return replace(cls.cosine(), fields="one", neighbours=False, smoothing=0, own_moments=False)

    @property
    def weightings_to_try(self) -> Sequence[Weighting]:
        """Weights among which inner validation chooses."""
        return ("uniform", "inverse_square") if self.weighting == "validate" else (self.weighting,)
