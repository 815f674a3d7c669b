"""How good are these domains, and how near is this prediction: agreement, continuity, mixing, genes in space.

Arrays in, numbers out: nothing here knows AnnData or torch, so the metrics serve the output of any tool. Labels may
be strings, numbers or a pandas categorical; a spot whose label is ``NaN``, ``None``, ``pd.NA`` or an empty string is
unlabelled and left out. Time and memory grow with the number of spots times neighbours or domains; no matrix of
spots by spots is ever built.
"""

from histoweave.metrics._agreement import (
    acc,
    ami,
    ari,
    completeness,
    fowlkes_mallows,
    homogeneity,
    nmi,
    v_measure,
)
from histoweave.metrics._autocorrelation import gearys_c, morans_i
from histoweave.metrics._bootstrap import Interval, bootstrap_ci, paired_difference
from histoweave.metrics._continuity import chaos, dis, pas
from histoweave.metrics._correlation_structure import CorrelationStructure, correlation_structure
from histoweave.metrics._enrichment import enrichment, read_gmt
from histoweave.metrics._expression import score_genes, score_sections, summarise_genes
from histoweave.metrics._gene_sets import gene_sets_of_training, training_moments
from histoweave.metrics._lisi import clisi, ilisi
from histoweave.metrics._mixing import batch_entropy, batch_silhouette
from histoweave.metrics._mixing_table import mixing_table
from histoweave.metrics._oracle import depth_oracle, neighbour_oracle
from histoweave.metrics._published import published_scores
from histoweave.metrics._significance import gene_significance
from histoweave.metrics._silhouette import spatial_silhouette

__all__ = [
    "CorrelationStructure",
    "Interval",
    "acc",
    "ami",
    "ari",
    "batch_entropy",
    "batch_silhouette",
    "bootstrap_ci",
    "chaos",
    "clisi",
    "completeness",
    "correlation_structure",
    "depth_oracle",
    "dis",
    "enrichment",
    "fowlkes_mallows",
    "gearys_c",
    "gene_sets_of_training",
    "gene_significance",
    "homogeneity",
    "ilisi",
    "mixing_table",
    "morans_i",
    "neighbour_oracle",
    "nmi",
    "paired_difference",
    "pas",
    "published_scores",
    "read_gmt",
    "score_genes",
    "score_sections",
    "spatial_silhouette",
    "summarise_genes",
    "training_moments",
    "v_measure",
]
