"""H&E images: patches by physical size, encoders, tissue, stain and quality; slides may be RGB arrays."""

from histoquilt.im._cut_patches import cut_patches, embed_cut_patches
from histoquilt.im._embed import default_keys, embed_patches, embed_views, short_name
from histoquilt.im._grid import default_fields, grid_spots
from histoquilt.im._on_tissue import OnTissue, check_on_tissue
from histoquilt.im._patches import extract_patches, iter_patches
from histoquilt.im._picture import attach_picture
from histoquilt.im._quality import slide_quality
from histoquilt.im._section_image import embed_section, embedding_keys_of
from histoquilt.im._stain import StainColours, fit_stain, normalise_stain, stain_statistics
from histoquilt.im._tissue import TissueMask, tissue_mask
from histoquilt.im.encoders._encoders import get_encoder, list_encoders

__all__ = [
    "OnTissue", "StainColours", "TissueMask", "attach_picture", "check_on_tissue", "cut_patches", "default_fields",
    "default_keys", "embed_cut_patches", "embed_patches", "embed_section", "embed_views", "embedding_keys_of",
    "extract_patches", "fit_stain", "get_encoder", "grid_spots", "iter_patches", "list_encoders", "normalise_stain",
    "short_name", "slide_quality", "stain_statistics", "tissue_mask",
]  # fmt: skip
