"""Plain values that all rooms share: key names, messages, checks, protocols, registries. Nothing here knows AnnData."""

from histoquilt._base._camera_bits import camera_bits
from histoquilt._base._checks import LEAST_MPP, MOST_MPP, check_mpp, check_n_domains, check_option_names, check_positive
from histoquilt._base._coordinate_columns import coordinate_columns, depth_column, is_embedding
from histoquilt._base._keys import Keys
from histoquilt._base._optional import is_installed, require
from histoquilt._base._protocols import PatchEncoder, SlideImage
from histoquilt._base._read_options import DEFAULT_READ_OPTIONS, ReadOptions, is_samples_table
from histoquilt._base._registry import (
    DEFAULT_ENCODER,
    DOMAIN_MODELS,
    ENCODERS,
    EXPORTERS,
    EXPRESSION_MODELS,
    READERS,
    SECTION_FILES,
    STUDY_LAYOUTS,
    Registry,
)
from histoquilt._base._visible import visible
from histoquilt._base._words import (
    MissingKey,
    argument,
    at_a_command,
    close_matches,
    either,
    is_at_a_command,
    listed,
    message_of,
    printable,
)

__all__ = [
    "DEFAULT_ENCODER", "DEFAULT_READ_OPTIONS", "DOMAIN_MODELS", "ENCODERS", "EXPORTERS", "EXPRESSION_MODELS",
    "LEAST_MPP", "MOST_MPP", "READERS", "SECTION_FILES", "STUDY_LAYOUTS", "Keys", "MissingKey", "PatchEncoder",
    "ReadOptions", "Registry", "SlideImage", "argument", "at_a_command", "camera_bits", "check_mpp", "check_n_domains",
    "check_option_names", "check_positive", "close_matches", "coordinate_columns", "depth_column", "either",
    "is_at_a_command", "is_embedding", "is_installed", "is_samples_table", "listed", "message_of", "printable",
    "require", "visible",
]  # fmt: skip
