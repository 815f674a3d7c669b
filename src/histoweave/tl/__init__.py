"""After the model: domains from an embedding, their refinement, markers, and all of it in one call."""

from histoweave.tl._align import align_sections
from histoweave.tl._align_side import place_sections, stitch_sections
from histoweave.tl._choose import choose_n_domains
from histoweave.tl._cluster import cluster_kmeans, cluster_leiden, cluster_mixture
from histoweave.tl._confidence import align_labels, ensemble_confidence
from histoweave.tl._describe import domain_markers, umap
from histoweave.tl._domains import spatial_domains
from histoweave.tl._evaluate import evaluate_expression
from histoweave.tl._evaluation import Evaluation
from histoweave.tl._integrate import integrate_sections
from histoweave.tl._meta_genes import meta_genes
from histoweave.tl._refine import refine_domains
from histoweave.tl._trajectory import paga
from histoweave.tl._variable import compare_denoised, spatially_variable_genes

__all__ = [
    "Evaluation",
    "align_labels",
    "align_sections",
    "choose_n_domains",
    "cluster_kmeans",
    "cluster_leiden",
    "cluster_mixture",
    "compare_denoised",
    "domain_markers",
    "ensemble_confidence",
    "evaluate_expression",
    "integrate_sections",
    "meta_genes",
    "paga",
    "place_sections",
    "refine_domains",
    "spatial_domains",
    "spatially_variable_genes",
    "stitch_sections",
    "umap",
]
