"""Averaging a rectangle of pixels down to a given size, in bands, so that the source is never held whole."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

_BAND_PX = 16_000_000  # source pixels held at once: 48 MB, and 64 MB inside Pillow
_SLACK = 1e-6  # rounding error of whole numbers of pixels

Box = tuple[float, float, float, float]


def resample(
    window: Callable[[int, int, int, int], np.ndarray], box: Box, out_px: tuple[int, int], extent: tuple[int, int]
) -> np.ndarray:
    """Return the rectangle ``box`` of source pixels as RGB uint8 of size ``out_px`` ``(width, height)``.

    Whole factors are exact means of blocks of pixels; others are weighted means (a Hamming window of two output
    pixels), and enlarging interpolates. ``window(left, top, width, height)`` returns source pixels. The weights reach
    beyond the box, but beyond the ``extent`` (width, height) of the source only if the box does.
    """
    x0, y0, x1, y1 = (round(edge) if abs(edge - round(edge)) < _SLACK else edge for edge in box)
    columns, rows = out_px
    scale_x, scale_y = (x1 - x0) / columns, (y1 - y0) / rows
    if scale_x == scale_y == 1 and x0 == int(x0) and y0 == int(y0):
        return np.array(window(int(x0), int(y0), columns, rows))
    method, reach = _filter((x0, y0, scale_x, scale_y))
    left, right = _padded(x0, x1, math.ceil(reach * max(scale_x, 1)), extent[0])
    per_band = max(1, int(_BAND_PX / ((right - left) * scale_y)))
    result = np.empty((rows, columns, 3), dtype=np.uint8)
    for first in range(0, rows, per_band):
        last = min(rows, first + per_band)
        upper, lower = y0 + first * scale_y, y0 + last * scale_y
        if last == rows:
            lower = y1
        top, bottom = _padded(upper, lower, math.ceil(reach * max(scale_y, 1)), extent[1])
        pixels = Image.fromarray(window(left, top, right - left, bottom - top))
        part = (x0 - left, upper - top, min(x1 - left, right - left), min(lower - top, bottom - top))
        result[first:last] = np.asarray(pixels.resize((columns, last - first), method, box=part))
    return result


def _filter(numbers: tuple[float, ...]) -> tuple[Image.Resampling, int]:
    """Return Pillow's filter, and its reach beyond an output pixel in output pixels."""
    if all(abs(number - round(number)) < _SLACK for number in numbers):
        return Image.Resampling.BOX, 0
    if min(numbers[2:]) < 0.99:
        return Image.Resampling.BILINEAR, 1
    return Image.Resampling.HAMMING, 1


def _padded(start: float, stop: float, reach: int, extent: int) -> tuple[int, int]:
    """Return whole pixels around an interval, extended by ``reach`` on both sides within the image."""
    low, high = math.floor(start + _SLACK), math.ceil(stop - _SLACK)
    return min(low, max(low - reach, 0)), max(high, min(high + reach, extent))
