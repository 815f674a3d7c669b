"""One adapter, so that an RGB array is taken wherever an opened slide is."""

from os import PathLike
from typing import Any

import numpy as np
from PIL import Image

from histoquilt._base import SlideImage, check_positive

WHITE = 255  # empty glass, and what lies outside an image
LEAST_MPP, MOST_MPP = 0.05, 20.0  # a 100x objective is about 0.06 um/px; beyond 20 no tissue structure is left


class ArraySlide:
    """Slide interface to an RGB array.

    Parameters
    ----------
    pixels
        Image, uint8 ``(height, width, 3)``; kept, not copied.
    name
        Name of the image in messages.
    mpp
        Microns per pixel, if known.
    """

    def __init__(self, pixels: np.ndarray, *, name: str = "array", mpp: float | None = None) -> None:
        self.pixels = pixels
        self.name = name
        self.height, self.width = pixels.shape[:2]
        self.mpp = mpp

    def read_region(
        self, x: float, y: float, width: float, height: float, *, out_px: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Return a rectangle as RGB uint8; see :class:`histoquilt._base._protocols.SlideImage`."""
        left, top = int(np.floor(x)), int(np.floor(y))
        if out_px is None:
            return self._window(left, top, round(width), round(height))
        # whole pixels around the rectangle; the fractions go to the resampler
        right, bottom = int(np.ceil(x + width)), int(np.ceil(y + height))
        window = self._window(left, top, right - left, bottom - top)
        return resample(window, out_px, box=(x - left, y - top, x + width - left, y + height - top))

    def _window(self, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Whole pixels: a view where all of them exist, else a copy on white."""
        rows = slice(max(top, 0), max(min(top + height, self.height), 0))
        columns = slice(max(left, 0), max(min(left + width, self.width), 0))
        inside = self.pixels[rows, columns]
        if inside.shape[:2] == (height, width):
            return inside
        window = np.full((height, width, 3), WHITE, dtype=np.uint8)
        if inside.size:
            window[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inside
        return window


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
        _check_rgb(image)
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


def _check_rgb(pixels: np.ndarray) -> None:
    shape = "x".join(map(str, pixels.shape))
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        remedy = {
            1: "A grey image is not H&E; with three equal channels it would be read, and mean nothing.",
            4: "It has an alpha channel: pass image[..., :3].",
        }.get(channels, "Channels come last: for (3, height, width) pass image.transpose(1, 2, 0).")
        raise ValueError(f"The image must be RGB, (height, width, 3), got an array of {shape}. {remedy}")
    if pixels.dtype != np.uint8:
        raise ValueError(
            f"The image must be uint8 with values 0 to 255, got {pixels.dtype}. For values 0 to 1 pass "
            "(255 * image).round().astype('uint8')."
        )
    if pixels.size == 0:
        raise ValueError(f"The image has no pixels ({shape}).")


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


def average_blocks(pixels: np.ndarray, step: int) -> np.ndarray:
    """Average blocks of ``step x step`` RGB pixels."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(step))
