"""Sections and studies: checks of AnnData, scales of matrices, coordinates, and results written into it."""

from histoquilt.study._checks import check_adata, check_counts, check_obs_key, check_obsm_key, check_spatial
from histoquilt.study._coordinates import (
    LEGACY_ST_PITCH_UM,
    VISIUM_PITCH_UM,
    Unit,
    coordinate_record,
    estimate_mpp,
    find_lattice,
    record_coordinates,
    record_pitch,
)
from histoquilt.study._genes import (
    SYMBOL_COLUMNS,
    GeneIds,
    annotate_genes,
    detect_gene_ids,
    gene_rows,
    gene_symbols,
    genes_by_reliability,
    quiet_duplicates,
)
from histoquilt.study._layers import named_layers
from histoquilt.study._libraries import image_libraries, library_part
from histoquilt.study._outside import check_inside, is_outside, scale_factors, warn_of_few_outside
from histoquilt.study._palette import UNLABELLED, as_categories, color_shades, domain_colors, domain_palette
from histoquilt.study._pitch import lattice_of, nearest_distance, nominal_pitch, spot_pitch
from histoquilt.study._scale import Scale, declare_scale, expression_scale, provenance
from histoquilt.study._section import Section
from histoquilt.study._slots import DEFAULT_SLOTS, Slots
from histoquilt.study._spot_centres import spot_centres
from histoquilt.study._study import Sections, Study, check_all_or_none, order_by_height
from histoquilt.study._written import (
    Slot,
    annotation_key,
    declare_foreign,
    is_ours,
    keep_bare_graph,
    keep_foreign,
    write_result,
)
from histoquilt.study.expression._chunks import row_chunks
from histoquilt.study.expression._source import Expression, expression, ordinary_zeros
from histoquilt.study.joined._check_study import check_names, check_study
from histoquilt.study.joined._concat import concat_sections
from histoquilt.study.joined._one_section import check_one_section, declare_one_section
from histoquilt.study.joined._split import split_sections

__all__ = [
    "DEFAULT_SLOTS", "LEGACY_ST_PITCH_UM", "SYMBOL_COLUMNS", "UNLABELLED", "VISIUM_PITCH_UM", "Expression", "GeneIds",
    "Scale", "Section", "Sections", "Slot", "Slots", "Study", "Unit", "annotate_genes", "annotation_key",
    "as_categories", "check_adata", "check_all_or_none", "check_counts", "check_inside", "check_names",
    "check_obs_key", "check_obsm_key", "check_one_section", "check_spatial", "check_study", "color_shades",
    "concat_sections", "coordinate_record", "declare_foreign", "declare_one_section", "declare_scale",
    "detect_gene_ids", "domain_colors", "domain_palette", "estimate_mpp", "expression", "expression_scale",
    "find_lattice", "gene_rows", "gene_symbols", "genes_by_reliability", "image_libraries", "is_ours", "is_outside",
    "keep_bare_graph", "keep_foreign", "lattice_of", "library_part", "named_layers", "nearest_distance",
    "nominal_pitch", "order_by_height", "ordinary_zeros", "provenance", "quiet_duplicates", "record_coordinates",
    "record_pitch", "row_chunks", "scale_factors", "split_sections", "spot_centres", "spot_pitch",
    "warn_of_few_outside", "write_result",
]  # fmt: skip
