"""Plots of what was written into AnnData: domains, genes and predictions on the tissue, embeddings, studies.

Every function takes and returns matplotlib ``Axes``, shows nothing and changes no global setting. Nothing here needs a
live model or torch, so a saved ``.h5ad`` can be plotted on a laptop; matplotlib itself is imported on the first plot.
"""

from histoweave.pl._embedding import embedding
from histoweave.pl._genes import denoised, gene
from histoweave.pl._markers import marker_dotplot
from histoweave.pl._mixing import mixing, mixing_umap
from histoweave.pl._n_domains import n_domains_curve
from histoweave.pl._on_tissue import spots_on_tissue
from histoweave.pl._palette import UNLABELLED, domain_colors, domain_palette
from histoweave.pl._predicted import measured_and_predicted, out_of_distribution, reliability
from histoweave.pl._scores import gene_scores, scores
from histoweave.pl._sections import confidence_grid, domains_grid
from histoweave.pl._spatial import confidence, domains
from histoweave.pl._stack import aligned_stack
from histoweave.pl._training import training

__all__ = [
    "UNLABELLED",
    "aligned_stack",
    "confidence",
    "confidence_grid",
    "denoised",
    "domain_colors",
    "domain_palette",
    "domains",
    "domains_grid",
    "embedding",
    "gene",
    "gene_scores",
    "marker_dotplot",
    "measured_and_predicted",
    "mixing",
    "mixing_umap",
    "n_domains_curve",
    "out_of_distribution",
    "reliability",
    "scores",
    "spots_on_tissue",
    "training",
]
