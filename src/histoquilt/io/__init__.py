"""Read sections into AnnData: counts, coordinates, gene names, units; write, export, annotate them; open slides.

Every reader returns raw counts in ``X``, spot centres ``(x, y)`` in ``obsm["spatial"]``, their unit in
``uns["histoquilt"]["coordinates"]`` and gene names in ``var``; guesses are logged. Several sections are a dict from
name to AnnData, read from a ``samples.csv``, joined by :func:`concat_sections` and split by :func:`split_sections`.
"""

from histoquilt.io._beside import files_beside
from histoquilt.io._coordinate_table import settle_spots
from histoquilt.io._h5ad import matrix_bytes, read_h5ad, write_h5ad
from histoquilt.io._image import attach_image, open_image
from histoquilt.io._section import Reader, holds_sections, is_section_folder, read_section
from histoquilt.io._tables import read_table
from histoquilt.io._writable import check_writable
from histoquilt.io.annotations._annotate import annotate_spots
from histoquilt.io.annotations._annotations import Annotations
from histoquilt.io.annotations._read import read_annotations
from histoquilt.io.exporters._export import export, get_exporters, missing_packages, write_exports
from histoquilt.io.exporters._polygons import domain_polygons
from histoquilt.io.exporters._protocol import ExportedSection, Exporter, ExportOptions
from histoquilt.io.instruments._alignment import (
    apply_alignment,
    place_by_loupe,
    place_on_image,
    read_alignment_matrix,
    read_loupe_alignment,
)
from histoquilt.io.instruments._legacy_st import read_legacy_st
from histoquilt.io.instruments._platforms import read_platform
from histoquilt.io.instruments._spatialdata import read_spatialdata
from histoquilt.io.instruments._visium import read_visium
from histoquilt.io.sections._hest import (
    HEST_FIELD_UM,
    HestTask,
    is_hest_task,
    open_hest_patches,
    patch_digests,
    read_hest_section,
    read_hest_task,
)
from histoquilt.io.sections._samples import Samples, gather_samples, read_sample, read_samples
from histoquilt.io.sections._samples_table import patient_spellings
from histoquilt.io.slides._array import ArraySlide
from histoquilt.io.slides._mpp import check_slide_mpp
from histoquilt.io.slides._open import open_slide
from histoquilt.io.slides._slide import Level, Slide
from histoquilt.study import (
    GeneIds,
    annotate_genes,
    check_one_section,
    check_study,
    concat_sections,
    declare_one_section,
    detect_gene_ids,
    estimate_mpp,
    find_lattice,
    record_coordinates,
    split_sections,
)

__all__ = [
    "HEST_FIELD_UM", "Annotations", "ArraySlide", "ExportOptions", "ExportedSection", "Exporter", "GeneIds", "HestTask",
    "Level", "Reader", "Samples", "Slide", "annotate_genes", "annotate_spots", "apply_alignment", "attach_image",
    "check_one_section", "check_slide_mpp", "check_study", "check_writable", "concat_sections", "declare_one_section",
    "detect_gene_ids", "domain_polygons", "estimate_mpp", "export", "files_beside", "find_lattice", "gather_samples",
    "get_exporters", "holds_sections", "is_hest_task", "is_section_folder", "matrix_bytes", "missing_packages",
    "open_hest_patches", "open_image", "open_slide", "patch_digests", "patient_spellings", "place_by_loupe",
    "place_on_image", "read_alignment_matrix", "read_annotations", "read_h5ad", "read_hest_section", "read_hest_task",
    "read_legacy_st", "read_loupe_alignment", "read_platform", "read_sample", "read_samples", "read_section",
    "read_spatialdata", "read_table", "read_visium", "record_coordinates", "settle_spots", "split_sections",
    "write_exports", "write_h5ad",
]  # fmt: skip
