"""Settings that the baselines share: which inputs, and smoothing of what they predict."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

from histoquilt.models._ranges import WholeNumber
from histoquilt.models.expression._config import ExpressionConfig

SMOOTHING_STEPS = (0, 1, 2)


class Inputs(NamedTuple):
    """Which columns of ``x`` a baseline looks at."""

    fields: Literal["one", "several"]
    neighbours: bool


@dataclass(frozen=True)
class BaselineConfig(ExpressionConfig):
    """Settings of the baselines; ``"validate"`` leaves a choice to inner validation.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    fields: Literal["one", "several", "validate"] = "validate"
    neighbours: bool | Literal["validate"] = "validate"
    smoothing: WholeNumber | Literal["validate"] = (
        "validate"  # steps of averaging the prediction over neighbours; 0 for none
    )

    @classmethod
    def plain(cls) -> Self:
        """Return the usual baseline: one patch around each spot, no neighbours, no smoothing."""
        return cls(fields="one", neighbours=False, smoothing=0)

    def inputs_to_try(self, n_reps: int) -> Iterator[Inputs]:
        """Yield the inputs among which inner validation chooses, simplest first."""
        fields: tuple[Literal["one", "several"], ...]
        if self.fields == "validate":
            fields = ("one", "several") if n_reps > 1 else ("several",)
        else:
            fields = (self.fields,)
        for field in fields:
            for neighbours in (False, True) if self.neighbours == "validate" else (self.neighbours,):
                yield Inputs(field, neighbours)

    @property
    def smoothing_to_try(self) -> tuple[int, ...]:
        """Steps among which inner validation chooses."""
        return SMOOTHING_STEPS if self.smoothing == "validate" else (int(self.smoothing),)
