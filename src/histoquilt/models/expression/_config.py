"""Settings that all expression models share."""

from dataclasses import dataclass
from typing import Literal

from histoquilt.models._config import ModelConfig
from histoquilt.models._ranges import Count


@dataclass(frozen=True)
class ExpressionConfig(ModelConfig):
    """Settings of every model that reads expression off embeddings; each method adds its own.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    n_genes: Count = 200  # the panel: so many of highest training mean, joined with as many of highest variance
    fields: Literal["one", "several", "validate"] = "several"  # inputs: the first of the embeddings, or all of them
    neighbours: bool | Literal["validate"] = True  # append the mean embedding of a spot's neighbours
