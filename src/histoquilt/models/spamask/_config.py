"""Settings of SpaMask."""

from dataclasses import dataclass
from typing import Literal

from histoquilt.models._ranges import Count, InnerRate, NotNegative, Positive, Rate
from histoquilt.models.domains._feature_config import FeatureConfig


@dataclass(frozen=True)
class SpaMaskConfig(FeatureConfig):
    """Settings of :class:`histoquilt.models.SpaMask`: those of the paper's text for one Visium section.

    Raises
    ------
    ValueError
        A value is outside its range.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.SpaMaskConfig(n_networks=5).n_networks
    5
    """

    target_sum: Positive = 1e6
    log: bool = False
    n_neighbors: Count = 12
    n_components: Count = 30

    # network
    n_hidden: Count = 512
    n_latent: Count = 256
    scorer_dropout: Rate = 0.5
    n_networks: Count = 1  # networks trained from different seeds; their embeddings are concatenated

    # training
    mask_rate: InnerRate = 0.3  # share of spots whose features are replaced by the mask token
    edge_mask_rate: InnerRate = 0.4  # share of edges hidden for the contrastive branch
    alpha: Positive = 2.0  # exponent of the scaled cosine error
    edge_weight: NotNegative = 2.0  # lambda of L = L_feature + lambda L_edge
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 2e-4
    max_grad_norm: Positive = 5.0
    max_epochs: Count = 500  # gradient steps, each on 4,096 spots (all spots of a smaller section)
    check_every: Count = 5  # epochs between two checks of convergence
    tolerance: NotNegative = 0.0  # training stops when 1 - linear CKA between two checks falls below it; 0: never
    tile_spots: Count = 1024  # spots per tile; a step reads several tiles from all over the tissue
    n_parts: Count = 1  # parts of 4,096 spots per batch; under torchrun at least one per process
    # of dense products in training; auto: bfloat16 for n_latent >= 256 on CPUs that have it, float32 on GPUs
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
