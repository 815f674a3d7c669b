"""Arrays and images as text inside the page."""

import base64
from io import BytesIO

import numpy as np
from PIL import Image

from histoquilt.draw import TissueImage

_LONGEST_PX = 1100  # of an embedded image: sharp on a laptop, some 100 kB


def packed(values: np.ndarray, dtype: str) -> str:
    """Return an array as base64 of little-endian numbers, which a page reads as a typed array."""
    return base64.b64encode(np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def shades(values: np.ndarray, top: float) -> np.ndarray:
    """Return numbers from 0 to ``top`` as shades 0-254, uint8; 255 stands for NaN."""
    shade = np.rint(np.clip(np.nan_to_num(values) / top, 0, 1) * 254).astype(np.uint8)
    return np.where(np.isnan(values), np.uint8(255), shade)


def image_uri(image: TissueImage, box: tuple[float, float, float, float]) -> tuple[str, list[float]] | None:
    """Cut a box out of an image and encode it as a JPEG data URI.

    Parameters
    ----------
    image
        The tissue image of a section.
    box
        Left, top, right, bottom in coordinate units.

    Returns
    -------
    The URI, and left, top, width and height of what it shows in coordinate units; ``None`` where the box lies outside
    the image.
    """
    height, width = image.pixels.shape[:2]
    left, top = (max(int(np.floor(edge * image.scale)), 0) for edge in box[:2])
    right = min(int(np.ceil(box[2] * image.scale)), width)
    bottom = min(int(np.ceil(box[3] * image.scale)), height)
    if right <= left or bottom <= top:
        return None
    picture = _rgb(image.pixels[top:bottom, left:right])
    shrink = _LONGEST_PX / max(picture.size)
    if shrink < 1:
        size = max(round(picture.width * shrink), 1), max(round(picture.height * shrink), 1)
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    uri = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return uri, [edge / image.scale for edge in (left, top, right - left, bottom - top)]


def _rgb(pixels: np.ndarray) -> Image.Image:
    """Turn uint8 or float in [0, 1], with or without transparency, into RGB on white."""
    if pixels.dtype != np.uint8:
        top = np.iinfo(pixels.dtype).max if np.issubdtype(pixels.dtype, np.integer) else 1.0
        pixels = np.rint(np.clip(pixels / top, 0, 1) * 255).astype(np.uint8)
    if pixels.shape[2] < 4:
        return Image.fromarray(
            np.ascontiguousarray(pixels[:, :, :3] if pixels.shape[2] == 3 else pixels[:, :, [0] * 3])
        )
    paper = Image.new("RGBA", pixels.shape[1::-1], "white")
    return Image.alpha_composite(paper, Image.fromarray(np.ascontiguousarray(pixels[:, :, :4]))).convert("RGB")
