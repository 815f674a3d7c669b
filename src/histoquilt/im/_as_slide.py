"""Opened slides or RGB arrays behind one protocol."""

from os import PathLike
from typing import Any

import numpy as np
from anndata import AnnData
from PIL import Image

from histoquilt._base import SlideImage, check_positive
from histoquilt.io import ArraySlide
from histoquilt.study import check_adata, check_inside, check_spatial

LEAST_MPP, MOST_MPP = 0.05, 20.0  # a 100x objective is about 0.06 um/px; beyond 20 no tissue structure is left


def as_slide(image: Any) -> SlideImage:
    """Return an opened slide unchanged, an RGB array as a slide; raise ``TypeError`` or ``ValueError`` for others."""
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


def check_placed(
    adata: AnnData, image: Any, mpp: float, image_scale: float, spatial_key: str
) -> tuple[SlideImage, np.ndarray]:
    """Return the slide of a section, and spot centres in its pixels ``(n_spots, 2)``, after checking all arguments."""
    check_adata(adata)
    slide = as_slide(image)
    check_mpp(mpp)
    check_positive(image_scale, "image_scale")
    centres = check_spatial(adata, spatial_key)[:, :2] / image_scale
    check_inside(adata, slide, centres, image_scale=image_scale)
    return slide, centres


def check_mpp(mpp: float) -> float:
    """Return ``mpp`` as a float; raise ``ValueError`` outside the range of microscopes."""
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
    """Resample a rectangle ``(left, top, right, bottom)`` of RGB pixels to ``(width, height)``, with antialiasing.

    Strong shrinking first averages whole blocks, which looks the same and is several times faster.
    """
    source = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(source.resize(out_px, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))
