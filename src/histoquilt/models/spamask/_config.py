"""Settings of SpaMask."""

from dataclasses import dataclass
from typing import Literal

from histoquilt.models._config import check_settings
from histoquilt.models.domains._feature_config import FeatureConfig


@dataclass(frozen=True)
class SpaMaskConfig(FeatureConfig):
    """Settings of :class:`histoquilt.models.SpaMask`: those of the paper's text for one Visium section.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    target_sum: float = 1e6
    log: bool = False
    n_neighbors: int = 12
    n_components: int = 30

    # network
    n_hidden: int = 512
    n_latent: int = 256
    scorer_dropout: float = 0.5
    n_networks: int = 1  # networks trained from different seeds; their embeddings are concatenated

    # training
    mask_rate: float = 0.3  # share of spots whose features are replaced by the mask token
    edge_mask_rate: float = 0.4  # share of edges hidden for the contrastive branch
    alpha: float = 2.0  # exponent of the scaled cosine error
    edge_weight: float = 2.0  # lambda of L = L_feature + lambda L_edge
    learning_rate: float = 1e-3
    weight_decay: float = 2e-4
    max_grad_norm: float = 5.0
    max_epochs: int = 500  # gradient steps, each on 4,096 spots (all spots of a smaller section)
    check_every: int = 5  # epochs between two checks of convergence
    tolerance: float = 0.0  # training stops when 1 - linear CKA between two checks falls below it; 0: never
    tile_spots: int = 1024  # spots per tile; a step reads several tiles from all over the tissue
    n_parts: int = 1  # parts of 4,096 spots per batch; under torchrun at least one per process
    # data type of dense products in training; auto: bfloat16 for n_latent >= 256 on CPUs that have it, float32 on GPUs
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole = ("n_hidden", "n_latent", "n_networks", "max_epochs", "check_every", "tile_spots", "n_parts")
        check_settings(
            self,
            choices={"precision": ("auto", "float32", "bfloat16")},
            whole=dict.fromkeys(whole, 1),
            between=("mask_rate", "edge_mask_rate"),
            below_one=("scorer_dropout",),
            positive=("alpha", "learning_rate", "max_grad_norm"),
            not_negative=("edge_weight", "weight_decay", "tolerance"),
        )
