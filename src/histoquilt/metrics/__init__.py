"""Metrics of domains and of predicted expression: agreement, continuity, mixing, correlation, significance.

All take arrays and return numbers, without AnnData or torch, so that they serve the output of any tool. Labels may be
strings, numbers or a pandas categorical; spots whose label is ``NaN``, ``None``, ``pd.NA`` or an empty string are
unlabelled and left out. Time and memory grow with the number of spots times neighbours or domains; no matrix of spots
by spots is built.
"""

from histoquilt.metrics._agreement import (
    acc,
    ami,
    ari,
    completeness,
    fowlkes_mallows,
    homogeneity,
    nmi,
    v_measure,
)
from histoquilt.metrics._annotation import NO_REGION, AnnotationScore, named_regions, score_annotation
from histoquilt.metrics._autocorrelation import gearys_c, morans_i
from histoquilt.metrics._bootstrap import Interval, bootstrap_ci, paired_difference
from histoquilt.metrics._continuity import chaos, dis, pas
from histoquilt.metrics._correlation_structure import CorrelationStructure, correlation_structure
from histoquilt.metrics._depth_adjusted import depth_adjusted_correlation, gene_deviance_explained
from histoquilt.metrics._enrichment import enrichment, read_gmt
from histoquilt.metrics._expression import score_genes, score_sections, summarise_genes
from histoquilt.metrics._gene_sets import gene_sets_of_training, read_genes, training_moments
from histoquilt.metrics._oracle import depth_oracle, neighbour_oracle
from histoquilt.metrics._published import PROTOCOL, published_scores
from histoquilt.metrics._significance import gene_significance
from histoquilt.metrics._z_order import z_order
from histoquilt.metrics.conditions._comparison import SHAPE_MEASURES, ConditionComparison
from histoquilt.metrics.conditions._composition import centred_log_ratio, neighbour_enrichment
from histoquilt.metrics.conditions._contrast import FDR_LEVEL, Contrast, compare_patients, patient_means
from histoquilt.metrics.mixing._lisi import clisi, ilisi
from histoquilt.metrics.mixing._mixing import batch_entropy, batch_silhouette
from histoquilt.metrics.mixing._mixing_table import mixing_table
from histoquilt.metrics.mixing._silhouette import spatial_silhouette

__all__ = [
    "FDR_LEVEL", "NO_REGION", "PROTOCOL", "SHAPE_MEASURES", "AnnotationScore", "ConditionComparison", "Contrast",
    "CorrelationStructure", "Interval", "acc", "ami", "ari", "batch_entropy", "batch_silhouette", "bootstrap_ci",
    "centred_log_ratio", "chaos", "clisi", "compare_patients", "completeness", "correlation_structure",
    "depth_adjusted_correlation", "depth_oracle", "dis", "enrichment", "fowlkes_mallows", "gearys_c",
    "gene_deviance_explained", "gene_sets_of_training", "gene_significance", "homogeneity", "ilisi", "mixing_table",
    "morans_i", "named_regions", "neighbour_enrichment", "neighbour_oracle", "nmi", "paired_difference", "pas",
    "patient_means", "published_scores", "read_genes", "read_gmt", "score_annotation", "score_genes",
    "score_sections", "spatial_silhouette", "summarise_genes", "training_moments", "v_measure", "z_order",
]  # fmt: skip
