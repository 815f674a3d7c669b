"""Settings shared by the domain models that start from features and a spatial graph."""

from dataclasses import dataclass, fields
from typing import Literal

from histoquilt.models._config import ModelConfig, check_settings


@dataclass(frozen=True)
class FeatureConfig(ModelConfig):
    """Settings of features, graph and clustering; methods add their own.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    # features
    features: Literal["pca", "hvg"] = "pca"  # principal components of the variable genes, or these genes themselves
    n_genes: int = 3000  # variable genes
    min_spots: int = 50  # genes detected in fewer spots are dropped (at most a tenth of the spots)
    min_counts: float = 10  # genes with fewer counts are dropped
    target_sum: float = 1e4  # counts per spot after normalisation
    log: bool = True  # log1p after normalisation
    clip: float = 10.0  # largest absolute z-score
    scale_by_section: bool = True  # choose and scale genes within each section
    n_pcs: int = 200
    match_sections: bool = True  # remove offsets between similar spots of different sections from the embedding

    # graph
    n_neighbors: int = 6  # k of the k-NN graph, symmetrised
    radius: float | None = None  # instead of k: all spots within this distance, in the unit of the coordinates

    # clustering of the embedding
    n_components: int = 10  # principal components of the embedding that are clustered

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check_type(field.name, type(field.default))
        check_settings(
            self,
            choices={"features": ("pca", "hvg")},
            whole=dict.fromkeys(("n_genes", "n_pcs", "n_neighbors", "n_components"), 1),
            positive=("target_sum", "clip"),
            not_negative=("min_spots", "min_counts"),
        )
        if self.radius is not None and not self.radius > 0:
            raise ValueError(f"radius must be positive (or null, for a k-NN graph), got {self.radius!r}.")

    def _check_type(self, name: str, kind: type) -> None:
        """Check the type of a value: in JSON a number may be text, and ``true`` is not a number."""
        value = getattr(self, name)
        if kind is bool and not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {value!r}.")
        if kind is int and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{name} must be a whole number, got {value!r}.")
        optional = kind is type(None) and value is None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind in (float, type(None)) and not optional and not is_number:
            raise ValueError(f"{name} must be a number, got {value!r}.")
