"""Drawing data that plots and reports share: tissue images, colours, genes to show, predictions."""

from histoquilt.draw._expression import denoised_expression, gene_rows, gene_symbols, raw_expression
from histoquilt.draw._palette import UNLABELLED, as_categories, domain_colors, domain_palette
from histoquilt.draw._prediction import (
    BEATS_MEAN,
    MEASURED,
    RELIABILITY,
    agreement,
    gene_reliability,
    has_measured,
    prediction_layer,
    reliability_order,
    shown_genes,
)
from histoquilt.draw._tissue import (
    TissueImage,
    library_column,
    microns_per_unit,
    section_names,
    spot_places,
    tissue_image,
    warn_overlapping_sections,
)
from histoquilt.study import spot_pitch

__all__ = [
    "BEATS_MEAN",
    "MEASURED",
    "RELIABILITY",
    "UNLABELLED",
    "TissueImage",
    "agreement",
    "as_categories",
    "denoised_expression",
    "domain_colors",
    "domain_palette",
    "gene_reliability",
    "gene_rows",
    "gene_symbols",
    "has_measured",
    "library_column",
    "microns_per_unit",
    "prediction_layer",
    "raw_expression",
    "reliability_order",
    "section_names",
    "shown_genes",
    "spot_pitch",
    "spot_places",
    "tissue_image",
    "warn_overlapping_sections",
]
