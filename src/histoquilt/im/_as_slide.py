"""Images as the functions of this room take them: opened slides, or RGB arrays."""

from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from histoquilt._base import SlideImage, check_positive
from histoquilt.io import ArraySlide

LEAST_MPP, MOST_MPP = 0.05, 20.0  # a 100x objective is about 0.06 um/px; beyond 20 no tissue structure is left


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


def check_mpp(mpp: float) -> float:
    """Return ``mpp`` as a float, or raise ``ValueError`` where no microscope has it."""
    check_positive(mpp, "mpp")
    if not LEAST_MPP <= mpp <= MOST_MPP:
        raise ValueError(
            f"mpp is {mpp:g} microns per pixel; slides have {LEAST_MPP:g} to {MOST_MPP:g} (20x is about 0.5). "
            "Pass microns per pixel, not pixels per micron or a magnification."
        )
    return float(mpp)


def resample(
    pixels: np.ndarray, out_px: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resample a rectangle ``(left, top, right, bottom)`` of RGB pixels to ``(width, height)``.

    Bilinear, with the filter widened where the image shrinks, so that nothing is skipped; strong shrinking first
    averages whole blocks, which is the same to the eye and several times faster.
    """
    source = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(source.resize(out_px, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))
