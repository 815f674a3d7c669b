"""Read sections into AnnData, with counts, coordinates, gene names and units declared; write them back; open slides.

Every reader returns raw counts in ``X``, spot centres ``(x, y)`` in ``obsm["spatial"]``, their unit in
``uns["histoquilt"]["coordinates"]`` and gene names in ``var``; nothing is guessed without being said. Several
sections are a dict from name to AnnData, read from a ``samples.csv`` and joined and taken apart here.
"""

from histoquilt.io._alignment import apply_alignment, place_on_image, read_alignment_matrix
from histoquilt.io._alignment_loupe import place_by_loupe, read_loupe_alignment
from histoquilt.io._concat import concat_sections
from histoquilt.io._coordinates import estimate_mpp, record_coordinates
from histoquilt.io._genes import GeneIds, annotate_genes, detect_gene_ids
from histoquilt.io._h5ad import read_h5ad, write_h5ad
from histoquilt.io._image import attach_image, open_image
from histoquilt.io._legacy_st import read_legacy_st
from histoquilt.io._one_section import check_one_section, declare_one_section
from histoquilt.io._platforms import read_platform
from histoquilt.io._samples import Samples, read_samples
from histoquilt.io._section import read_section
from histoquilt.io._slide import Level, Slide
from histoquilt.io._slide_mpp import check_slide_mpp
from histoquilt.io._slide_open import open_slide
from histoquilt.io._spatialdata import read_spatialdata
from histoquilt.io._split import name_sections, split_sections
from histoquilt.io._study import check_study
from histoquilt.io._tables import read_table
from histoquilt.io._visium import read_visium

__all__ = [
    "GeneIds",
    "Level",
    "Samples",
    "Slide",
    "annotate_genes",
    "apply_alignment",
    "attach_image",
    "check_one_section",
    "check_slide_mpp",
    "check_study",
    "concat_sections",
    "declare_one_section",
    "detect_gene_ids",
    "estimate_mpp",
    "name_sections",
    "open_image",
    "open_slide",
    "place_by_loupe",
    "place_on_image",
    "read_alignment_matrix",
    "read_h5ad",
    "read_legacy_st",
    "read_loupe_alignment",
    "read_platform",
    "read_samples",
    "read_section",
    "read_spatialdata",
    "read_table",
    "read_visium",
    "record_coordinates",
    "split_sections",
    "write_h5ad",
]
