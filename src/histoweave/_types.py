"""Small protocols that two rooms share."""

from typing import Protocol

import numpy as np


class SlideImage(Protocol):
    """An image that is read by region, so that a slide of ten gigapixels is never decoded whole."""

    mpp: float | None  # microns per full-resolution pixel, None where the file does not say
    width: int  # full-resolution pixels
    height: int

    def read_region(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return RGB ``(height, width, 3)`` uint8; what lies outside the image is white."""
        ...
