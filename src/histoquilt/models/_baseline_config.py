"""Settings shared by the baselines: inputs, and smoothing of predictions."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from histoquilt.models._ranges import WholeNumber
from histoquilt.models.expression._config import ExpressionConfig

SMOOTHING_STEPS = (0, 1, 2)


class Inputs(NamedTuple):
    """Columns of ``x`` that a baseline uses."""

    fields: Literal["one", "several"]
    neighbours: bool


@dataclass(frozen=True)
class BaselineConfig(ExpressionConfig):
    """Settings of the baselines; ``"validate"`` chooses by inner validation.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    fields: Literal["one", "several", "validate"] = "validate"
    neighbours: bool | Literal["validate"] = "validate"
    smoothing: WholeNumber | Literal["validate"] = "validate"  # times that predictions are averaged over neighbours

    @classmethod
    def plain(cls) -> Self:
        """Return settings for one patch per spot, by training moments, without neighbours and smoothing."""
        return cls(fields="one", neighbours=False, smoothing=0, own_moments=False)

    def inputs_to_try(self, n_reps: int) -> Iterator[Inputs]:
        """Yield the inputs among which inner validation chooses, simplest first."""
        fields: tuple[Literal["one", "several"], ...] = ("one", "several") if n_reps > 1 else ("several",)
        for field in fields if self.fields == "validate" else (self.fields,):
            for neighbours in (False, True) if self.neighbours == "validate" else (self.neighbours,):
                yield Inputs(field, neighbours)

    @property
    def smoothing_to_try(self) -> tuple[int, ...]:
        """Numbers of smoothing steps among which inner validation chooses."""
        return SMOOTHING_STEPS if self.smoothing == "validate" else (int(self.smoothing),)
