"""Reduce a slide block by block, so that no large slide is held in memory."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from histoquilt._base import SlideImage
from histoquilt.io import ArraySlide

BLOCK_PX = 4096  # full-resolution pixels read at a time: 50 MB where a file has no pyramid


@dataclass(frozen=True)
class Thumbnail:
    """A reduced slide; pixel ``(row, column)`` begins at full-resolution pixel ``step_px * (column, row)``."""

    pixels: np.ndarray  # uint8 (rows, columns, 3)
    step_px: int  # full-resolution pixels per pixel


def thumbnail(slide: SlideImage, step_px: int) -> Thumbnail:
    """Average blocks of ``step_px x step_px`` pixels, padded with white."""
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
