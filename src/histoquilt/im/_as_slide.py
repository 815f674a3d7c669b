"""Opened slides or RGB arrays behind one protocol."""

from os import PathLike
from typing import Any

import numpy as np
from anndata import AnnData
from PIL import Image

from histoquilt._base import SlideImage, check_mpp, check_positive
from histoquilt.io import ArraySlide
from histoquilt.study import check_adata, check_inside, check_spatial


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


def resample(
    pixels: np.ndarray, out_px: tuple[int, int], box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """Resample a rectangle ``(left, top, right, bottom)`` of RGB pixels to ``(width, height)``, with antialiasing.

    Strong shrinking first averages whole blocks, which looks the same and is several times faster.
    """
    source = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(source.resize(out_px, Image.Resampling.BILINEAR, box=box, reducing_gap=2.0))
