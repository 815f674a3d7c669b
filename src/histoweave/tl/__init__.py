"""After the model: domains from an embedding, their refinement, markers, and all of it in one call."""

from histoweave.tl._cluster import cluster_kmeans, cluster_leiden, cluster_mixture
from histoweave.tl._describe import domain_markers, umap
from histoweave.tl._domains import spatial_domains
from histoweave.tl._refine import refine_domains

__all__ = [
    "cluster_kmeans",
    "cluster_leiden",
    "cluster_mixture",
    "domain_markers",
    "refine_domains",
    "spatial_domains",
    "umap",
]
