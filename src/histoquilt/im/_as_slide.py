"""Opened slides or RGB arrays behind one protocol, and small images of whole slides."""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from anndata import AnnData
from PIL import Image

from histoquilt._base import SlideImage, check_mpp, check_positive
from histoquilt.io import ArraySlide
from histoquilt.study import check_adata, check_inside, check_spatial

BLOCK_PX = 4096  # full-resolution pixels read at a time: 50 MB where a file has no pyramid


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


@dataclass(frozen=True)
class Thumbnail:
    """A reduced slide; pixel ``(row, column)`` begins at full-resolution pixel ``step_px * (column, row)``."""

    pixels: np.ndarray  # uint8 (rows, columns, 3)
    step_px: int  # full-resolution pixels per pixel


def thumbnail(slide: SlideImage, step_px: int) -> Thumbnail:
    """Average blocks of ``step_px x step_px`` pixels, padded with white; a large slide is read in parts."""
    if step_px == 1 and isinstance(slide, ArraySlide):
        return Thumbnail(slide.pixels, 1)
    columns, rows = (-(-size // step_px) for size in (slide.width, slide.height))
    pixels = np.empty((rows, columns, 3), dtype=np.uint8)
    block = max(1, BLOCK_PX // step_px)
    for top in range(0, rows, block):
        for left in range(0, columns, block):
            height, width = min(block, rows - top), min(block, columns - left)
            place = left * step_px, top * step_px, width * step_px, height * step_px
            if isinstance(slide, ArraySlide):  # in half the time, rounded once instead of twice
                region = np.asarray(Image.fromarray(slide.read_region(*place)).reduce(step_px))
            else:
                region = slide.read_region(*place, out_px=(width, height))
            pixels[top : top + height, left : left + width] = region
    return Thumbnail(pixels, step_px)
