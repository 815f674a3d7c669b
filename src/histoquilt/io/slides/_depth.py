"""Conversion of 16-bit colour of cameras to 8 bits, the same for all formats."""

from pathlib import Path

import numpy as np

from histoquilt._base import camera_bits
from histoquilt.runtime import logger, warn_user


def depth_of(highest: int, path: Path) -> int:
    """Return the least bits that hold the highest value of 16-bit colour, in H&E that of glass; warn below 16."""
    bits = camera_bits(highest)
    if bits == 16:
        logger.info("%s has 16 bits per colour, converted to 8", path.name)
        return bits
    warn_user(
        f"{path.name} has 16 bits per colour, and no value above {highest:,}: it is read as an image of {bits} bits, "
        "converted to 8. If that is too bright, save it as 8-bit colour."
    )
    return bits


def to_8_bit(values: np.ndarray, bits: int) -> np.ndarray:
    """Convert uint16 values with a number of bits to uint8."""
    return np.minimum(values >> (bits - 8), 255).astype(np.uint8)
