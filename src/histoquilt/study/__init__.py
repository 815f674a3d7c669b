"""What a section holds: checks of AnnData, scales of its matrices, spot centres, and results written into it."""

from histoquilt.study._checks import check_adata, check_counts, check_obs_key, check_obsm_key, check_spatial
from histoquilt.study._counts_elsewhere import counts_elsewhere
from histoquilt.study._layers import named_layers
from histoquilt.study._libraries import image_libraries, library_part
from histoquilt.study._outside import check_inside, is_outside, scale_factors, warn_of_few_outside
from histoquilt.study._scale import Scale, declare_scale, declared_scale, provenance
from histoquilt.study._spot_centres import spot_centres
from histoquilt.study._written import (
    Slot,
    declare_foreign,
    declare_ours,
    is_ours,
    keep_bare_graph,
    keep_foreign,
    write_result,
)

__all__ = [
    "Scale",
    "Slot",
    "check_adata",
    "check_counts",
    "check_inside",
    "check_obs_key",
    "check_obsm_key",
    "check_spatial",
    "counts_elsewhere",
    "declare_foreign",
    "declare_ours",
    "declare_scale",
    "declared_scale",
    "image_libraries",
    "is_ours",
    "is_outside",
    "keep_bare_graph",
    "keep_foreign",
    "library_part",
    "named_layers",
    "provenance",
    "scale_factors",
    "spot_centres",
    "warn_of_few_outside",
    "write_result",
]
