"""Images of any depth and type, converted to 8 bits for drawing."""

from typing import Any

import numpy as np

from histoquilt._base import camera_bits


def drawable(image: Any) -> np.ndarray:
    """Return an image as uint8 ``(height, width, 3 or 4)``, scaled by the range of its values, or raise ValueError."""
    pixels = np.asarray(image)
    if pixels.dtype.kind not in "buif":
        raise ValueError(f"values of type {pixels.dtype}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError("expected (height, width, 3), colours last")
    if not pixels.size:
        raise ValueError("no pixels")
    if pixels.dtype != np.uint8:
        pixels = _to_8_bit(pixels)
    return pixels if pixels.shape[2] > 1 else np.repeat(pixels, 3, axis=2)


def _to_8_bit(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype.kind == "f":
        pixels = np.nan_to_num(pixels, nan=np.inf, posinf=np.inf)  # missing values are drawn as glass
    finite = pixels[..., :3][np.isfinite(pixels[..., :3])]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if low < -0.01 * max(high, 1e-9) or high >= 2**16:
        raise ValueError(f"values from {low:.4g} to {high:.4g}")
    if pixels.dtype.kind == "f" and high <= 1.5:  # interpolation goes a little beyond 1
        top = 1.0
    else:
        top = float(2 ** camera_bits(high)) - 1
    scaled = np.rint(np.clip(pixels * np.float32(255 / top), 0, 255)).astype(np.uint8)
    if pixels.shape[2] == 4 and high > 0:
        opaque = pixels[..., 3] >= pixels[..., 3].max()  # transparency may have another range
        scaled[..., 3][opaque] = 255
    return scaled
