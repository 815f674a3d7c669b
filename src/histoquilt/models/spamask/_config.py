"""Settings of SpaMask."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from histoquilt.models.domains._feature_config import FeatureConfig


@dataclass(frozen=True)
class SpaMaskConfig(FeatureConfig):
    """Settings of :class:`histoquilt.models.SpaMask`: those of the paper's text for one Visium section.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    whole: ClassVar[tuple[str, ...]] = (
        *FeatureConfig.whole,
        *("n_hidden", "n_latent", "n_networks", "max_epochs", "check_every", "tile_spots", "n_parts"),
    )
    rates: ClassVar[tuple[str, ...]] = ("mask_rate", "edge_mask_rate")
    positive: ClassVar[tuple[str, ...]] = (*FeatureConfig.positive, "alpha", "learning_rate", "max_grad_norm")
    not_negative: ClassVar[tuple[str, ...]] = (*FeatureConfig.not_negative, "edge_weight", "weight_decay", "tolerance")
    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        **FeatureConfig.choices, "precision": ("auto", "float32", "bfloat16"),
    }  # fmt: skip

    target_sum: float = 1e6
    log: bool = False
    n_neighbors: int = 12
    n_components: int = 30

    # network
    n_hidden: int = 512
    n_latent: int = 256
    scorer_dropout: float = 0.5
    n_networks: int = 1  # trained from different seeds; their embeddings stand side by side

    # training
    mask_rate: float = 0.3  # share of spots whose features are replaced by the token
    edge_mask_rate: float = 0.4  # share of edges hidden for the contrastive branch
    alpha: float = 2.0  # exponent of the scaled cosine error
    edge_weight: float = 2.0  # lambda of L = L_feature + lambda L_edge
    learning_rate: float = 1e-3
    weight_decay: float = 2e-4
    max_grad_norm: float = 5.0
    max_epochs: int = 500  # gradient steps, each on 4,096 spots (all spots of a smaller section)
    check_every: int = 5  # epochs between two looks at the embedding
    tolerance: float = 0.0  # largest change (1 - linear CKA) that counts as none and ends training; 0 never stops early
    tile_spots: int = 1024  # of a tile; training reads several, far from each other, at a time
    n_parts: int = 1  # of 4,096 spots in a batch; under torchrun at least one a process, which compute them
    # of dense products in training; auto: bfloat16 for n_latent >= 256 on CPUs that have it, float32 on GPUs
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.scorer_dropout < 1:
            raise ValueError(f"scorer_dropout must be at least 0 and less than 1, got {self.scorer_dropout!r}.")
