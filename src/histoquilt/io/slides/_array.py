"""An RGB array in memory as a slide, so that it is read as a file of the same pixels is."""

from pathlib import Path

import numpy as np

from histoquilt.io.slides._slide import Slide


class ArraySlide(Slide):
    """RGB array as a slide of one level; functions that take a slide make one of an array by themselves.

    Parameters
    ----------
    pixels
        Image, uint8 ``(height, width, 3)``; kept, not copied.
    name
        Name of the image in messages and keys.
    mpp
        Microns per pixel, if known.

    Raises
    ------
    ValueError
        The array is not RGB uint8, or empty.

    Examples
    --------
    >>> slide = ArraySlide(np.full((300, 400, 3), 240, dtype=np.uint8), mpp=0.5)
    >>> slide.read_region(0, 0, 400, 300, out_px=(40, 30)).shape
    (30, 40, 3)
    """

    def __init__(self, pixels: np.ndarray, *, name: str = "array", mpp: float | None = None) -> None:
        _check_rgb(pixels)
        super().__init__(Path(name), [(pixels.shape[1], pixels.shape[0])], mpp)
        self.path = None  # type: ignore[assignment]  # no file
        self.name = name
        self.pixels = pixels

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        return self.pixels[y : y + height, x : x + width]


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
