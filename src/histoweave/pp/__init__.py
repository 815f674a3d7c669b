"""Counts to features: which matrix holds the counts, variable genes, normalised features, spatial factors."""

from histoweave.pp._factors import SpatialFactors
from histoweave.pp._features import GeneFeatures, Scaling
from histoweave.pp._genes import shared_variable_genes, variable_genes
from histoweave.pp._source import Expression, expression

__all__ = [
    "Expression",
    "GeneFeatures",
    "Scaling",
    "SpatialFactors",
    "expression",
    "shared_variable_genes",
    "variable_genes",
]
