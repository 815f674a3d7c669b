"""Images as the functions of this room take them: opened slides, or RGB arrays."""

from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from histoquilt._base import SlideImage
from histoquilt.io import ArraySlide


def as_slide(image: Any) -> SlideImage:
    """Return an opened slide as it is, and an RGB array behind the same protocol.

    Parameters
    ----------
    image
        Opened slide (:func:`histoquilt.io.open_slide`), or uint8 ``(height, width, 3)``.

    Raises
    ------
    TypeError
        It is neither: a path, an AnnData, a stack of patches.
    ValueError
        The array is not RGB uint8, or empty.
    """
    if isinstance(image, np.ndarray):
        return ArraySlide(image)
    if isinstance(image, str | PathLike):
        raise TypeError(
            f"Expected an opened slide or an RGB array, got a path. Use histoquilt.io.open_slide({image!r})."
        )
    if not isinstance(image, SlideImage):
        raise TypeError(
            f"Expected an opened slide (histoquilt.io.open_slide) or an RGB uint8 array (height, width, 3), got "
            f"{type(image).__name__}."
        )
    return image


def resample(
    pixels: np.ndarray, out_px: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resample a rectangle ``(left, top, right, bottom)`` of RGB pixels to ``(width, height)``.

    Bilinear, with the filter widened where the image shrinks, so that nothing is skipped; strong shrinking first
    averages whole blocks, which is the same to the eye and several times faster.
    """
    source = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(source.resize(out_px, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))
