"""Alignment of serial and overlapping sections: by outline, by optimal transport, by expression in the overlap."""

from histoquilt.align._duplicates import match_duplicate_spots
from histoquilt.align._expression import Agreement, joint_features
from histoquilt.align._input import read_sections, write_moves
from histoquilt.align._outline import Outline, find_outline, fit_outlines, outline_residual
from histoquilt.align._paste import MOST_SAMPLED, fit_transport
from histoquilt.align._side import place_sections, stitch_sections
from histoquilt.align._transform import Similarity

__all__ = [
    "MOST_SAMPLED", "Agreement", "Outline", "Similarity", "find_outline", "fit_outlines", "fit_transport",
    "joint_features", "match_duplicate_spots", "outline_residual", "place_sections", "read_sections", "stitch_sections",
    "write_moves",
]  # fmt: skip
