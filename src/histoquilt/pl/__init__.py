"""Plots of what was written into AnnData: domains, genes and predictions on the tissue, embeddings, studies.

Every function takes and returns matplotlib ``Axes`` and changes no global setting. No model or torch is needed, so a
saved ``.h5ad`` can be plotted on a laptop.
"""

from histoquilt.draw import UNLABELLED, domain_colors, domain_palette
from histoquilt.pl._conditions import condition_neighbours, condition_proportions, condition_shape
from histoquilt.pl._curves import n_domains_curve, training
from histoquilt.pl._embedding import embedding
from histoquilt.pl._markers import marker_dotplot
from histoquilt.pl._mixing import mixing, mixing_umap
from histoquilt.pl._on_tissue import spots_on_tissue
from histoquilt.pl._predicted import measured_and_predicted, out_of_distribution, reliability
from histoquilt.pl._scores import gene_scores, scores
from histoquilt.pl._sections import aligned_stack, confidence_grid, domains_grid
from histoquilt.pl._spatial import confidence, denoised, domains, gene
from histoquilt.pl._tree import domain_tree

__all__ = [
    "UNLABELLED", "aligned_stack", "condition_neighbours", "condition_proportions", "condition_shape", "confidence",
    "confidence_grid", "denoised", "domain_colors", "domain_palette", "domain_tree", "domains", "domains_grid",
    "embedding", "gene", "gene_scores", "marker_dotplot", "measured_and_predicted", "mixing", "mixing_umap",
    "n_domains_curve", "out_of_distribution", "reliability", "scores", "spots_on_tissue", "training",
]  # fmt: skip
