"""Data for plots and reports: tissue images, colours, expression, scores, recorded results."""

from histoquilt.draw._conditions import compared_with, condition_comparison, of_condition, patient_values
from histoquilt.draw._expression import (
    color_ends,
    color_top,
    denoised_expression,
    raw_expression,
    sparse_expression,
)  # fmt: skip
from histoquilt.draw._levels import DomainLevel, domain_levels
from histoquilt.draw._prediction import (
    ADJUSTED,
    BEATS_MEAN,
    RELIABILITY,
    agreement,
    gene_reliability,
    prediction_layer,
    reliability_order,
)  # fmt: skip
from histoquilt.draw._recorded import (
    MIXING_METRICS,
    STABLE,
    marked_number,
    marker_table,
    mixing_values,
    model_record,
    stability_curve,
    training_history,
)  # fmt: skip
from histoquilt.draw._scores import GENE_SETS, METHOD_KINDS, POOLED, THIRDS, gene_means, method_order, section_scores
from histoquilt.draw._tissue import (
    TissueImage,
    library_column,
    microns_per_unit,
    section_height,
    section_names,
    spot_places,
    stack_order,
    tissue_image,
    warn_overlapping_sections,
)  # fmt: skip
from histoquilt.study import UNLABELLED, as_categories, domain_colors, domain_palette, gene_rows, gene_symbols

__all__ = [
    "ADJUSTED", "BEATS_MEAN", "GENE_SETS", "METHOD_KINDS", "MIXING_METRICS", "POOLED", "RELIABILITY", "STABLE",
    "THIRDS", "UNLABELLED", "DomainLevel", "TissueImage", "agreement", "as_categories", "color_ends", "color_top",
    "compared_with", "condition_comparison", "denoised_expression", "domain_colors", "domain_levels",
    "domain_palette", "gene_means", "gene_reliability", "gene_rows", "gene_symbols", "library_column",
    "marked_number", "marker_table", "method_order", "microns_per_unit", "mixing_values", "model_record",
    "of_condition", "patient_values", "prediction_layer", "raw_expression", "reliability_order", "section_height",
    "section_names", "section_scores", "sparse_expression", "spot_places", "stability_curve", "stack_order",
    "tissue_image", "training_history", "warn_overlapping_sections",
]  # fmt: skip
