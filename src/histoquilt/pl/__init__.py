"""Plots of what was written into AnnData: domains, genes and predictions on the tissue, embeddings, studies.

Every function takes and returns matplotlib ``Axes``, shows nothing and changes no global setting. Nothing here needs a
live model or torch, so a saved ``.h5ad`` can be plotted on a laptop; matplotlib itself is imported on the first plot.
"""

from histoquilt.draw import UNLABELLED, domain_colors, domain_palette
from histoquilt.pl._embedding import embedding
from histoquilt.pl._genes import color_top, denoised, gene
from histoquilt.pl._markers import marker_dotplot, marker_table
from histoquilt.pl._mixing import METRICS, mixing, mixing_umap, mixing_values
from histoquilt.pl._n_domains import STABLE, marked_number, n_domains_curve, stability_curve
from histoquilt.pl._on_tissue import spots_on_tissue
from histoquilt.pl._predicted import color_ends, measured_and_predicted, out_of_distribution, reliability
from histoquilt.pl._scores import GENE_SETS, POOLED, gene_means, gene_scores, method_order, scores, section_scores
from histoquilt.pl._sections import confidence_grid, domains_grid
from histoquilt.pl._spatial import confidence, domains
from histoquilt.pl._stack import aligned_stack, section_height, stack_order
from histoquilt.pl._training import training, training_history

__all__ = [
    "GENE_SETS",
    "METRICS",
    "POOLED",
    "STABLE",
    "UNLABELLED",
    "aligned_stack",
    "color_ends",
    "color_top",
    "confidence",
    "confidence_grid",
    "denoised",
    "domain_colors",
    "domain_palette",
    "domains",
    "domains_grid",
    "embedding",
    "gene",
    "gene_means",
    "gene_scores",
    "marked_number",
    "marker_dotplot",
    "marker_table",
    "measured_and_predicted",
    "method_order",
    "mixing",
    "mixing_umap",
    "mixing_values",
    "n_domains_curve",
    "out_of_distribution",
    "reliability",
    "scores",
    "section_height",
    "section_scores",
    "spots_on_tissue",
    "stability_curve",
    "stack_order",
    "training",
    "training_history",
]
