"""Settings that all expression models share."""

from dataclasses import dataclass
from typing import Literal

from histoquilt.models._config import ModelConfig


@dataclass(frozen=True)
class ExpressionConfig(ModelConfig):
    """Settings of every model that reads expression off embeddings; each method adds its own.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    n_genes: int = 200  # the panel: so many of highest training mean, joined with as many of highest variance
    fields: Literal["one", "several", "validate"] = "several"  # inputs: the first of the embeddings, or all of them
    neighbours: bool | Literal["validate"] = True  # append the mean embedding of a spot's neighbours

    def __post_init__(self) -> None:
        if isinstance(self.n_genes, bool) or not isinstance(self.n_genes, int) or self.n_genes < 1:
            raise ValueError(f"n_genes must be a whole number of at least 1, got {self.n_genes!r}.")
        if self.fields not in ("one", "several", "validate"):
            raise ValueError(f"fields must be 'one', 'several' or 'validate', got {self.fields!r}.")
        if self.neighbours not in (True, False, "validate"):
            raise ValueError(f"neighbours must be true, false or 'validate', got {self.neighbours!r}.")
