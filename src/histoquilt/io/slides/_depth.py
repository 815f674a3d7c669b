"""Sixteen-bit colour, as cameras write it, brought to the eight bits of every other image: one rule for all formats."""

from pathlib import Path

import numpy as np

from histoquilt._base import camera_bits
from histoquilt.runtime import logger, warn_user


def depth_of(highest: int, path: Path) -> int:
    """Bits that 16-bit values really have: the least that hold the brightest pixel, which in H&E is glass."""
    bits = camera_bits(highest)
    if bits == 16:
        logger.info("%s has 16 bits a colour; they are read as 8", path.name)
        return bits
    warn_user(
        f"{path.name} has 16 bits a colour, and no value above {highest:,}: it is read as an image of {bits} bits, "
        "brought to 8. Where that is too bright, save it as 8-bit colour."
    )
    return bits


def to_8_bit(values: np.ndarray, bits: int) -> np.ndarray:
    """Return uint16 values of so many bits as uint8."""
    return np.minimum(values >> (bits - 8), 255).astype(np.uint8)
