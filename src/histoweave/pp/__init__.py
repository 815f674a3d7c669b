"""Counts to features: which matrix holds the counts, variable genes, normalised features, spatial factors."""

from histoweave.pp._chunks import by_chunks, row_chunks
from histoweave.pp._factors import SpatialFactors
from histoweave.pp._features import GeneFeatures
from histoweave.pp._genes import shared_variable_genes, variable_genes
from histoweave.pp._scaling import Scaling
from histoweave.pp._source import Expression, expression

__all__ = [
    "Expression",
    "GeneFeatures",
    "Scaling",
    "SpatialFactors",
    "by_chunks",
    "expression",
    "row_chunks",
    "shared_variable_genes",
    "variable_genes",
]
