"""Settings of SpaMask."""

from dataclasses import dataclass, fields
from typing import Literal

from histoquilt.models._config import ModelConfig


@dataclass(frozen=True)
class SpaMaskConfig(ModelConfig):
    """Settings of :class:`histoquilt.models.SpaMask`.

    The defaults were chosen without labels (``benchmarks/select_defaults.py``); :meth:`published` gives the paper's.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    # features
    features: Literal["pca", "hvg"] = "pca"  # principal components of the variable genes, or these genes themselves
    n_genes: int = 3000  # variable genes
    min_spots: int = 50  # a gene is found in at least this many spots (a tenth of them in small sections)
    min_counts: float = 10  # ... with at least this many counts
    target_sum: float = 1e4  # counts per spot after normalisation
    log: bool = True  # log1p after normalisation; the published pca path has none
    clip: float = 10.0  # z-scores are cut here
    scale_by_section: bool = True  # of several sections, choose genes in each, z-score each with its own mean and sd
    n_pcs: int = 200
    spatial_factors: bool = True  # train on the directions in which neighbours agree, not on all PCs
    outlier_sd: float = 2.0  # features are cut at this many robust standard deviations
    equal_length: bool = True  # bring every spot's features to one length before the factors are sought
    max_factors: int = 30

    match_sections: bool = True  # of several sections, take out of the embedding what distinguishes alike spots

    # graph
    n_neighbors: int = 6  # k of the k-NN graph, symmetrised
    radius: float | None = None  # instead of k: all spots within this distance, in the unit of the coordinates

    # network
    n_hidden: int = 128
    n_latent: int = 64
    scorer_dropout: float = 0.5
    embedding: Literal["latent", "reconstruction"] = (
        "reconstruction"  # what embed() returns: encoder's or decoder's output
    )
    n_networks: int = 1  # trained from different seeds; their reconstructions are averaged

    # clustering of the embedding
    n_components: int = 10  # principal components of the embedding that the mixture sees

    # training
    mask_rate: float = 0.3  # share of spots whose features are replaced by the token
    edge_mask_rate: float = 0.4  # share of edges hidden for the contrastive branch
    alpha: float = 2.0  # exponent of the scaled cosine error
    edge_weight: float = 2.0  # lambda of L = L_feature + lambda L_edge
    learning_rate: float = 1e-3
    weight_decay: float = 2e-4
    max_grad_norm: float = 5.0
    max_epochs: int = 100  # on tiles gradient steps, however many tiles there are
    check_every: int = 5  # epochs between two looks at the embedding
    tolerance: float = 0.0001  # largest change (1 - linear CKA) that counts as none; 0 never stops early
    tile_spots: int | None = None  # train and embed by tiles of this many spots; None: of 1,024, above 50,000 spots
    n_parts: int = 1  # of 4,096 spots in a batch on tiles; under torchrun at least one a process, which compute them
    # of dense products in training; auto: bfloat16 for n_latent >= 256 on CPUs that have it, float32 on GPUs
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check_type(field.name, type(field.default))
        if self.features not in ("pca", "hvg"):
            raise ValueError(f"features must be 'pca' or 'hvg', got {self.features!r}.")
        if self.embedding not in ("latent", "reconstruction"):
            raise ValueError(f"embedding must be 'latent' or 'reconstruction', got {self.embedding!r}.")
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"precision must be 'auto', 'float32' or 'bfloat16', got {self.precision!r}.")
        for name in (
            "n_genes",
            "n_pcs",
            "max_factors",
            "n_neighbors",
            "n_hidden",
            "n_latent",
            "n_networks",
            "n_components",
            "max_epochs",
            "check_every",
            "n_parts",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)!r}.")
        for name in ("mask_rate", "edge_mask_rate"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)!r}.")
        for name in ("target_sum", "clip", "outlier_sd", "alpha", "learning_rate", "max_grad_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)!r}.")
        for name in ("min_spots", "min_counts", "edge_weight", "weight_decay", "tolerance"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}.")
        if not 0 <= self.scorer_dropout < 1:
            raise ValueError(f"scorer_dropout must be at least 0 and less than 1, got {self.scorer_dropout!r}.")
        tile_spots = self.tile_spots
        if tile_spots is not None and (not isinstance(tile_spots, int) or tile_spots < 1):
            raise ValueError(
                f"tile_spots must be a whole number of at least 1 (or null, for tiles in large sections only), "
                f"got {tile_spots!r}."
            )
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

    @classmethod
    def published(cls) -> "SpaMaskConfig":
        """Return the settings of the paper's text for one Visium section, the faults of the released code repaired."""
        return cls(
            target_sum=1e6,
            log=False,
            spatial_factors=False,
            n_hidden=512,
            n_latent=256,
            embedding="latent",
            n_neighbors=12,
            n_components=30,
            max_epochs=500,
            tolerance=0.0,
        )
