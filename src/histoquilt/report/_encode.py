"""Arrays and images as text inside the page."""

import base64
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from histoquilt.draw import TissueImage, domain_palette

_LONGEST_PX = 1100  # longest side of an embedded image: sharp on a laptop, some 100 kB


def browser_colors(colors: Mapping[str, str]) -> dict[str, str]:
    """Return name -> hexadecimal colour, all of the palette if one is not: browsers lack names of matplotlib."""
    if all(re.fullmatch("#[0-9a-fA-F]{6}", color) for color in colors.values()):
        return dict(colors)
    return dict(zip(colors, domain_palette(len(colors)), strict=True))


def finite(value: Any) -> float | None:
    """Return a finite number, or None."""
    return float(value) if value is not None and np.isfinite(value) else None


def packed(values: np.ndarray, dtype: str) -> str:
    """Return an array as base64 of little-endian numbers, for a typed array."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def shades(values: np.ndarray, top: float) -> np.ndarray:
    """Return numbers from 0 to ``top`` as uint8 shades 0-254; 255 is NaN."""
    shade = np.rint(np.clip(np.nan_to_num(values) / top, 0, 1) * 254).astype(np.uint8)
    return np.where(np.isnan(values), np.uint8(255), shade)


def image_uri(image: TissueImage, box: tuple[float, float, float, float]) -> tuple[str, list[float]] | None:
    """Return a part of an image as JPEG data URI, and its left, top, width and height in coordinate units.

    ``box`` is left, top, right, bottom in coordinate units; the result is None if it lies outside the image.
    """
    height, width = image.pixels.shape[:2]
    left, top = (max(int(np.floor(edge * image.scale)), 0) for edge in box[:2])
    right = min(int(np.ceil(box[2] * image.scale)), width)
    bottom = min(int(np.ceil(box[3] * image.scale)), height)
    if right <= left or bottom <= top:
        return None
    picture = Image.fromarray(np.ascontiguousarray(image.pixels[top:bottom, left:right]))
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    shrink = _LONGEST_PX / max(picture.size)
    if shrink < 1:
        size = max(round(picture.width * shrink), 1), max(round(picture.height * shrink), 1)
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return uri, [edge / image.scale for edge in (left, top, right - left, bottom - top)]
