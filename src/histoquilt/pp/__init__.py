"""Counts to features: which matrix holds the counts, variable genes, normalised features."""

from histoquilt.pp._chunks import row_chunks
from histoquilt.pp._features import GeneFeatures
from histoquilt.pp._genes import shared_variable_genes, variable_genes
from histoquilt.pp._scaling import Scaling
from histoquilt.pp._source import Expression, expression

__all__ = [
    "Expression",
    "GeneFeatures",
    "Scaling",
    "expression",
    "row_chunks",
    "shared_variable_genes",
    "variable_genes",
]
