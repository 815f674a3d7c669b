"""Base class of opened slides: rectangles at any resolution, read from the nearest finer level."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from histoquilt._base import check_positive
from histoquilt.io.slides._resample import resample

MOST_PIXELS = 300_000_000  # returned at once: 0.9 GB
WHITE = 255  # empty glass


@dataclass(frozen=True)
class Level:
    """One resolution of a slide; level 0 is the full one.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from PIL import Image
    >>> path = getfixture("tmp_path") / "he.png"
    >>> Image.fromarray(np.full((60, 80, 3), 200, np.uint8)).save(path)
    >>> with hq.io.open_slide(path) as slide:
    ...     slide.levels
    (Level(width=80, height=60, downsample=1.0),)
    """

    width: int
    height: int
    downsample: float  # full-resolution pixels per pixel of this level


def damaged(path: Path, detail: str) -> OSError:
    """Return the error about a file whose pixels cannot be read."""
    return OSError(f"{path} is truncated or damaged: {detail}. Copy or download it again.")


class Slide(ABC):
    """Image opened for reading by region (:func:`open_slide`), with the protocol ``SlideImage``.

    Use it in a ``with`` block, or call :meth:`close`.

    Attributes
    ----------
    name
        File name without extension.
    path
        Path of the file; ``None`` for an array (:class:`ArraySlide`).
    width, height
        Size of the full-resolution image in pixels.
    mpp
        Microns per full-resolution pixel, given to :func:`open_slide` or from the file's metadata, or None.
    levels
        Resolutions in the file, the full one first.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from PIL import Image
    >>> path = getfixture("tmp_path") / "he.png"
    >>> Image.fromarray(np.full((60, 80, 3), 200, np.uint8)).save(path)
    >>> with hq.io.open_slide(path, mpp=0.5) as slide:
    ...     slide.width, slide.height, slide.mpp
    ...     slide.read_region(70, 0, 20, 10)[0, [0, -1], 0].tolist()  # outside the image is white
    (80, 60, 0.5)
    [200, 255]
    """

    def __init__(self, path: Path, sizes: Sequence[tuple[int, int]], mpp: float | None) -> None:
        self.path = path
        self._called = path.name
        self.name = path.name.removesuffix(path.suffix).removesuffix(".ome")
        self.width, self.height = sizes[0]
        self.mpp = mpp
        self.levels = tuple(Level(*size, _downsample(sizes[0], size)) for size in sizes)
        self._closed = False

    @abstractmethod
    def _read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return pixels of one level, RGB uint8, read-only; the rectangle lies inside it."""

    def check(self) -> None:
        """Raise ``OSError`` if a quick check finds that the pixels cannot be read."""
        return

    def read_region(
        self, x: float, y: float, width: float, height: float, *, out_px: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Return a rectangle as RGB uint8 ``(rows, columns, 3)``.

        Parameters
        ----------
        x, y
            Upper left corner in full-resolution pixels. Pixels outside the image are white.
        width, height
            Size in full-resolution pixels.
        out_px
            Size ``(width, height)`` of the result, averaged down from the nearest finer level. By default full
            resolution, with the rectangle moved to whole pixels.

        Raises
        ------
        ValueError
            A number is not finite or not positive, more than 300 million pixels are requested at once, or the slide is
            closed.
        OSError
            The file is damaged there.
        """
        if self._closed:
            raise ValueError(f"The slide {self._called} is closed. Read inside its with block, or open it again.")
        check_positive(width, "width")
        check_positive(height, "height")
        if not (np.isfinite(x) and np.isfinite(y)):
            raise ValueError(f"x and y must be finite numbers of pixels, got {x} and {y}.")
        columns, rows = (max(1, round(width)), max(1, round(height))) if out_px is None else map(int, out_px)
        if columns < 1 or rows < 1:
            raise ValueError(f"out_px must be (width, height) of at least 1 x 1 pixels, got {out_px}.")
        if columns * rows > MOST_PIXELS:
            raise ValueError(
                f"{columns:,} x {rows:,} pixels of {self._called} were requested at once; at most {MOST_PIXELS:,} "
                "are returned. Read smaller regions, or pass out_px= for a coarser picture."
            )
        if out_px is None:
            return np.array(self._window(0, round(x), round(y), columns, rows))  # a copy, as the slide may hold it
        level = self._finer_level(min(width / columns, height / rows))
        scale = 1 / self.levels[level].downsample
        box = (x * scale, y * scale, (x + width) * scale, (y + height) * scale)
        return resample(partial(self._window, level), box, (columns, rows), self._extent(level))

    def _extent(self, level: int) -> tuple[int, int]:
        """Return the size of the image in pixels of a level, rounded up; writers of pyramids round down."""
        downsample = self.levels[level].downsample
        return int(np.ceil(self.width / downsample - 1e-6)), int(np.ceil(self.height / downsample - 1e-6))

    def _finer_level(self, downsample: float) -> int:
        """Return the coarsest level that is at least as fine as requested."""
        fine = [i for i, level in enumerate(self.levels) if level.downsample <= downsample * 1.01]
        return max(fine, key=lambda i: self.levels[i].downsample, default=0)

    def _window(self, level: int, left: int, top: int, width: int, height: int) -> np.ndarray:
        """Return a rectangle of one level, white outside the image."""
        stored = self.levels[level]
        if left >= 0 and top >= 0 and left + width <= stored.width and top + height <= stored.height:
            return self._read(level, left, top, width, height)
        pixels = np.full((height, width, 3), WHITE, dtype=np.uint8)
        x0, x1 = np.clip([left, left + width], 0, stored.width).tolist()
        y0, y1 = np.clip([top, top + height], 0, stored.height).tolist()
        if x0 == x1 or y0 == y1:
            return pixels
        rows, columns = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
        pixels[rows, columns] = self._read(level, x0, y0, x1 - x0, y1 - y0)
        # A level rounded down lacks a last fraction of a pixel of the image: repeat its last pixel.
        whole_x, whole_y = self._extent(level)
        if x1 == stored.width < whole_x and columns.stop < width:
            pixels[rows, columns.stop] = pixels[rows, columns.stop - 1]
        if y1 == stored.height < whole_y and rows.stop < height:
            pixels[rows.stop] = pixels[rows.stop - 1]
        return pixels

    def close(self) -> None:
        """Close the file and free its memory."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        scale = "mpp unknown" if self.mpp is None else f"{self.mpp:.4g} um/px"
        levels = "" if len(self.levels) == 1 else f", {len(self.levels)} levels"
        return f"{type(self).__name__}({self._called!r}, {self.width:,} x {self.height:,} px{levels}, {scale})"


def _downsample(full: tuple[int, int], size: tuple[int, int]) -> float:
    """Return full-resolution pixels per pixel of a level, a whole number if the sizes allow."""
    ratio = (full[0] / size[0] + full[1] / size[1]) / 2
    for whole in {round(full[0] / size[0]), round(full[1] / size[1])}:
        if whole >= 1 and all(abs(a / whole - b) <= 1 for a, b in zip(full, size, strict=True)):
            return float(whole)
    return ratio
