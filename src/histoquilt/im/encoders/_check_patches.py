"""Check of the input of all encoders."""

from typing import Any

import numpy as np


def check_patches(patches: Any, input_px: int) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless patches are uint8 RGB ``(n_patches, input_px, input_px, 3)``."""
    dtype = getattr(patches, "dtype", None)
    if not isinstance(patches, np.ndarray) or dtype != np.uint8:
        found = type(patches).__name__ if dtype is None else f"{type(patches).__name__} of {dtype}"
        raise TypeError(
            f"Patches must be a uint8 RGB array with values 0 to 255, got {found}. Cut them with "
            "histoquilt.im.embed_patches, or convert: (255 * patches).astype(np.uint8) where values lie in 0 to 1."
        )
    if patches.ndim != 4 or patches.shape[1:] != (input_px, input_px, 3):
        raise ValueError(
            f"Patches must have shape (n_patches, {input_px}, {input_px}, 3), got {patches.shape}. This encoder takes "
            f"squares of {input_px} px: resize the patches, or let histoquilt.im.embed_patches cut them."
        )
