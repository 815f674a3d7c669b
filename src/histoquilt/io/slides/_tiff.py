"""TIFF and OME-TIFF slides, tiled or in strips, with or without a pyramid, decoded tile by tile."""

import struct
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import tifffile

from histoquilt.io.slides._depth import depth_of, to_8_bit
from histoquilt.io.slides._slide import Slide, damaged
from histoquilt.io.slides._tiff_layout import (
    channel_names,
    check_colours,
    check_compression,
    check_segments,
    main_series,
    ome_image,
    planes_of,
    series_mpp,
)

CACHE_BYTES = 64 << 20  # of decoded tiles: neighbouring fields share tiles
_MOST_LOOKED_AT = 50_000_000  # pixels, for the range of 16-bit values
_BAND = 256  # rows
_DAMAGED = (tifffile.TiffFileError, ValueError, KeyError, IndexError, TypeError, struct.error, OSError)


class TiffSlide(Slide):
    """TIFF read by tifffile, tile by tile."""

    def __init__(self, path: Path, mpp: float | None) -> None:
        try:
            self._file: Any = tifffile.TiffFile(path)
        except _DAMAGED as error:
            raise OSError(f"{path} could not be opened as TIFF (truncated?): {error}. Copy it again.") from error
        try:
            series, self._planes = self._find_scan(path)
            for pages in self._planes:
                check_colours(pages, path)
                check_compression(pages[0].keyframe, path)
                check_segments(pages, path)
            mpp = mpp if mpp is not None else series_mpp(self._file, series, path.name)
        except BaseException:
            self._file.close()
            raise
        shapes = [pages[0].keyframe for pages in self._planes]
        super().__init__(path, [(shape.imagewidth, shape.imagelength) for shape in shapes], mpp)
        self._lock = Lock()
        self._depth_lock = Lock()
        self._depth: int | None = None  # bits of 16-bit values, once determined
        self._cache: OrderedDict[tuple[int, int, int], np.ndarray] = OrderedDict()
        self._cached_bytes = 0

    def _find_scan(self, path: Path) -> tuple[Any, list[list[Any]]]:
        """Return the series of the scan, and the pages of each level (one, or one per colour)."""
        try:
            series = main_series(self._file, path)
            names = channel_names(ome_image(self._file, series))
            return series, [planes_of(level, names, path) for level in series.levels]
        except _DAMAGED as error:
            if isinstance(error, ValueError) and str(path) in str(error):
                raise
            raise OSError(f"{path} is damaged: its pages cannot be listed ({error}). Copy it again.") from error

    def check(self) -> None:
        """Compare the positions of the tiles with the length of the file."""
        size = self.path.stat().st_size
        for pages in self._planes:
            for page in pages:
                end = max((a + b for a, b in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
                if end > size:
                    raise OSError(
                        f"{self.path} is truncated ({size:,} bytes; its tiles go to byte {end:,}). "
                        "Copy or download it again."
                    )
        self._bits()

    def _bits(self) -> int:
        """Return the bits per colour: 8, or those of 16-bit values in the coarsest level, whatever region is read."""
        if self._planes[0][0].keyframe.dtype == np.uint8:
            return 8
        with self._depth_lock:
            if self._depth is None:
                self._depth = depth_of(self._highest(len(self._planes) - 1), self.path)
            return self._depth

    def _highest(self, level: int) -> int:
        """Return the highest value of a level; of a large one in pieces spread evenly over it."""
        shape = self._planes[level][0].keyframe
        every = max(1, shape.imagewidth * shape.imagelength // _MOST_LOOKED_AT)
        planes = range(len(self._planes[level]))
        return max((int(part[..., :3].max()) for i in planes for part in self._pieces(level, i, every)), default=0)

    def _pieces(self, level: int, plane: int, every: int) -> Iterator[np.ndarray]:
        """Yield every ``every``-th piece of the colours of a page, without those missing from the file."""
        page = self._planes[level][plane]
        shape = page.keyframe
        if page.is_contiguous and shape.compression == 1:
            pixels = self._mapped(page)
            yield from (pixels[top : top + _BAND] for top in range(0, len(pixels), _BAND * every))
            return
        n_pieces = len(page.dataoffsets)
        if shape.planarconfig == 2 and shape.samplesperpixel > 3:
            n_pieces = n_pieces * 3 // shape.samplesperpixel  # the last are transparency
        for index in range(0, n_pieces, every):
            if (part := self._segment(level, plane, index)) is not None:
                yield part

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        pages, bits = self._planes[level], self._bits()
        planes = [self._read_page(level, plane, x, y, width, height) for plane in range(len(pages))]
        planes = [pixels if pixels.dtype == np.uint8 else to_8_bit(pixels, bits) for pixels in planes]
        return _to_rgb(planes[0] if len(planes) == 1 else np.concatenate(planes, axis=2), pages[0].keyframe)

    def _read_page(self, level: int, plane: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Return a rectangle of one page, ``(height, width, n_samples)``."""
        page = self._planes[level][plane]
        shape = page.keyframe
        if page.is_contiguous and shape.compression == 1:
            return self._mapped(page)[y : y + height, x : x + width]
        tall, wide = (shape.tilelength, shape.tilewidth) if shape.is_tiled else (shape.rowsperstrip, shape.imagewidth)
        down, across = -(-shape.imagelength // tall), -(-shape.imagewidth // wide)
        separate = shape.samplesperpixel if shape.planarconfig == 2 else 1
        result = np.empty((height, width, shape.samplesperpixel), dtype=shape.dtype)
        for row in range(y // tall, (y + height - 1) // tall + 1):
            for column in range(x // wide, (x + width - 1) // wide + 1):
                y0, y1 = max(y, row * tall), min(y + height, (row + 1) * tall)
                x0, x1 = max(x, column * wide), min(x + width, (column + 1) * wide)
                for sample in range(separate):
                    index = (sample * down + row) * across + column
                    part = self._segment(level, plane, index)
                    target = result[y0 - y : y1 - y, x0 - x : x1 - x]
                    if separate > 1:
                        target = target[..., sample : sample + 1]
                    if part is None:  # scanners leave out tiles without tissue
                        target[...] = np.iinfo(shape.dtype).max
                    else:
                        target[...] = part[y0 - row * tall : y1 - row * tall, x0 - column * wide : x1 - column * wide]
        return result

    def _mapped(self, page: Any) -> np.ndarray:
        """Return uncompressed pixels of a page as a memory map."""
        shape = page.keyframe
        dtype = shape.dtype.newbyteorder(self._file.byteorder)
        size = (shape.imagelength, shape.imagewidth, shape.samplesperpixel)
        offset = page.dataoffsets[0]
        if shape.planarconfig == 2 and shape.samplesperpixel > 1:
            planar = np.memmap(self.path, dtype, "r", offset, (size[2], *size[:2]))
            return planar.transpose(1, 2, 0)
        return np.memmap(self.path, dtype, "r", offset, size)

    def _segment(self, level: int, plane: int, index: int) -> np.ndarray | None:
        """Return one decoded tile or strip ``(rows, columns, samples)``, or None if the file holds none."""
        key = (level, plane, index)
        page = self._planes[level][plane]
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            count = page.databytecounts[index] if index < len(page.databytecounts) else 0
            if count == 0:
                return None
            handle = self._file.filehandle
            handle.seek(page.dataoffsets[index])
            data = handle.read(count)
        try:
            decoded = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.keyframe.jpegheader)[0]
        except Exception as error:  # every codec raises its own type
            raise damaged(self.path, f"tile {index} of level {level} cannot be decoded ({error})") from error
        if decoded is None:
            return None
        part = np.ascontiguousarray(decoded[0])
        with self._lock:
            if key not in self._cache:
                self._cache[key] = part
                self._cached_bytes += part.nbytes
            while self._cached_bytes > CACHE_BYTES and len(self._cache) > 1:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return part

    def close(self) -> None:
        """Close the file and clear the cache."""
        super().close()
        self._cache.clear()
        self._cached_bytes = 0
        self._file.close()


def _to_rgb(pixels: np.ndarray, page: Any) -> np.ndarray:
    """Drop the alpha channel, if there is one; transparent pixels become white."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:4].astype(np.uint16)
    colour = pixels[..., :3].astype(np.uint16)
    if int(page.extrasamples[0]) != 1:  # 1: the colours were multiplied by alpha already
        colour = (colour * alpha + 127) // 255
    return np.minimum(colour + (255 - alpha), 255).astype(np.uint8)
