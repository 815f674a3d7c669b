"""Tools: domains of one or several sections, their markers and views, alignment, and evaluation of predictions."""

from histoquilt.align import place_sections, stitch_sections
from histoquilt.cluster import align_labels, ensemble_confidence
from histoquilt.io import annotate_spots
from histoquilt.tl._align import align_sections
from histoquilt.tl._choose import choose_n_domains
from histoquilt.tl._cluster import cluster_kmeans, cluster_leiden, cluster_mixture
from histoquilt.tl._domains import spatial_domains
from histoquilt.tl._evaluate import evaluate_expression
from histoquilt.tl._evaluate_domains import labelled_sections
from histoquilt.tl._integrate import integrate_sections
from histoquilt.tl._markers import denoise_markers, domain_markers
from histoquilt.tl._meta_genes import meta_genes
from histoquilt.tl._refine import refine_by_potts, refine_domains
from histoquilt.tl._variable import compare_denoised, spatially_variable_genes
from histoquilt.tl._views import paga, umap
from histoquilt.tl.compare._conditions import compare_conditions
from histoquilt.tl.nested._domain_tree import domain_tree
from histoquilt.tl.nested._stability import domain_stability

__all__ = [
    "align_labels",
    "align_sections",
    "annotate_spots",
    "choose_n_domains",
    "cluster_kmeans",
    "cluster_leiden",
    "cluster_mixture",
    "compare_conditions",
    "compare_denoised",
    "denoise_markers",
    "domain_markers",
    "domain_stability",
    "domain_tree",
    "ensemble_confidence",
    "evaluate_expression",
    "integrate_sections",
    "labelled_sections",
    "meta_genes",
    "paga",
    "place_sections",
    "refine_by_potts",
    "refine_domains",
    "spatial_domains",
    "spatially_variable_genes",
    "stitch_sections",
    "umap",
]
