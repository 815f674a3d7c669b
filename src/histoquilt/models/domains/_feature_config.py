"""Settings that domain models share which start from features and a spatial graph."""

from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from histoquilt.models._config import ModelConfig


@dataclass(frozen=True)
class FeatureConfig(ModelConfig):
    """Settings of features, graph and clustering; methods add their own.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    whole: ClassVar[tuple[str, ...]] = ("n_genes", "n_pcs", "n_neighbors", "n_components")  # at least 1
    rates: ClassVar[tuple[str, ...]] = ()  # between 0 and 1
    positive: ClassVar[tuple[str, ...]] = ("target_sum", "clip")
    not_negative: ClassVar[tuple[str, ...]] = ("min_spots", "min_counts")
    choices: ClassVar[dict[str, tuple[str, ...]]] = {"features": ("pca", "hvg")}

    # features
    features: Literal["pca", "hvg"] = "pca"  # principal components of the variable genes, or these genes themselves
    n_genes: int = 3000  # variable genes
    min_spots: int = 50  # a gene is found in at least this many spots (a tenth of them in small sections)
    min_counts: float = 10  # ... with at least this many counts
    target_sum: float = 1e4  # counts per spot after normalisation
    log: bool = True  # log1p after normalisation
    clip: float = 10.0  # z-scores are cut here
    scale_by_section: bool = True  # of several sections, choose genes in each, z-score each with its own mean and sd
    n_pcs: int = 200
    match_sections: bool = True  # of several sections, take out of the embedding what distinguishes alike spots

    # graph
    n_neighbors: int = 6  # k of the k-NN graph, symmetrised
    radius: float | None = None  # instead of k: all spots within this distance, in the unit of the coordinates

    # clustering of the embedding
    n_components: int = 10  # principal components of the embedding that the mixture sees

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check_type(field.name, type(field.default))
        for name, known in self.choices.items():
            if getattr(self, name) not in known:
                words = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
                raise ValueError(f"{name} must be {words}, got {getattr(self, name)!r}.")
        for name in self.whole:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}.")
        for name in self.rates:
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)!r}.")
        for name in self.positive:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}.")
        for name in self.not_negative:
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}.")
        if self.radius is not None and not self.radius > 0:
            raise ValueError(f"radius must be positive (or null, for a k-NN graph), got {self.radius!r}.")

    def _check_type(self, name: str, kind: type) -> None:
        """Refuse a value of another type: in JSON a number may arrive as text, and ``true`` is no number."""
        value = getattr(self, name)
        if kind is bool and not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {value!r}.")
        if kind is int and (isinstance(value, bool) or not isinstance(value, int)):
            raise ValueError(f"{name} must be a whole number, got {value!r}.")
        optional = kind is type(None) and value is None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if kind in (float, type(None)) and not optional and not is_number:
            raise ValueError(f"{name} must be a number, got {value!r}.")
