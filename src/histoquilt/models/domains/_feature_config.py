"""Settings that domain models share which start from features and a spatial graph."""

from dataclasses import dataclass
from typing import Literal

from histoquilt.models._config import ModelConfig
from histoquilt.models._ranges import Count, NotNegative, Positive, WholeNumber


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
    n_genes: Count = 3000  # variable genes
    min_spots: WholeNumber = 50  # a gene is found in at least this many spots (a tenth of them in small sections)
    min_counts: NotNegative = 10  # ... with at least this many counts
    target_sum: Positive = 1e4  # counts per spot after normalisation
    log: bool = True  # log1p after normalisation
    clip: Positive = 10.0  # z-scores are cut here
    scale_by_section: bool = True  # of several sections, choose genes in each, z-score each with its own mean and sd
    n_pcs: Count = 200
    match_sections: bool = True  # of several sections, take out of the embedding what distinguishes alike spots

    # graph
    n_neighbors: Count = 6  # k of the k-NN graph, symmetrised
    radius: Positive | None = None  # instead of k: all spots within this distance, in the unit of the coordinates

    # clustering of the embedding
    n_components: Count = 10  # principal components of the embedding that the mixture sees
