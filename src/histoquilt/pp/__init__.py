"""Counts to features: expression and its scale, variable genes, normalised features."""

from histoquilt.pp._features import GeneFeatures
from histoquilt.pp._genes import shared_variable_genes, variable_genes
from histoquilt.pp._scaling import Scaling
from histoquilt.study import Expression, expression, row_chunks

__all__ = [
    "Expression", "GeneFeatures", "Scaling", "expression", "row_chunks", "shared_variable_genes", "variable_genes",
]  # fmt: skip
