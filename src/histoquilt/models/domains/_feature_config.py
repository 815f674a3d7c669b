"""Settings shared by the domain models that start from features and a spatial graph."""

from dataclasses import dataclass, fields
from typing import Literal, Self

from histoquilt.models._config import ModelConfig
from histoquilt.models._ranges import Count, NotNegative, Positive, WholeNumber

#: "edges" weighs the links of the graph by the image, "features" joins it to the genes, "only" replaces them.
ImageRole = Literal["edges", "features", "only"]


@dataclass(frozen=True)
class FeatureConfig(ModelConfig):
    """Settings of features, graph and clustering; methods add their own.

    Raises
    ------
    ValueError
        A value is outside its range, or ``image`` is given without ``image_keys``.

    Examples
    --------
    >>> import histoquilt as hq
    >>> pcs = hq.models.AveragedPCsConfig(n_pcs=20, n_neighbors=8)
    >>> shared = hq.models.SpaMaskConfig.sharing(pcs)  # the settings that both have
    >>> shared.n_pcs, shared.n_neighbors
    (20, 8)
    >>> hq.models.SpaMaskConfig(image="edges")
    Traceback (most recent call last):
        ...
    ValueError: image='edges' needs image_keys, the keys of image embeddings in obsm.
    """

    # features
    features: Literal["pca", "hvg"] = "pca"  # principal components of the variable genes, or these genes themselves
    n_genes: Count = 3000  # variable genes
    min_spots: WholeNumber = 50  # genes detected in fewer spots are dropped (at most a tenth of the spots)
    min_counts: NotNegative = 10  # genes with fewer counts are dropped
    target_sum: Positive = 1e4  # counts per spot after normalisation
    log: bool = True  # log1p after normalisation
    clip: Positive = 10.0  # largest absolute z-score
    scale_by_section: bool = True  # choose and scale genes within each section
    n_pcs: Count = 200
    match_sections: bool = True  # remove offsets between similar spots of different sections from the embedding

    # graph
    n_neighbors: Count = 6  # k of the k-NN graph, symmetrised
    radius: Positive | None = None  # instead of k: all spots within this distance, in the unit of the coordinates

    # image of the sections; None does not use it
    image: ImageRole | None = None
    image_keys: tuple[str, ...] | None = None  # image embeddings in obsm

    # clustering of the embedding
    n_components: Count = 10  # principal components of the embedding that are clustered

    @classmethod
    def sharing(cls, other: "FeatureConfig") -> Self:
        """Return settings with the values of another method's where both have a setting."""
        names = [field.name for field in fields(cls) if hasattr(other, field.name)]
        return cls(**{name: getattr(other, name) for name in names})

    def __post_init__(self) -> None:
        """Also check that the image has embeddings."""
        super().__post_init__()
        if self.image is not None and not self.image_keys:
            raise ValueError(f"image={self.image!r} needs image_keys, the keys of image embeddings in obsm.")
