"""Slides of scanners, read with openslide, and other images, read with libvips."""

from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from histoquilt._base import require
from histoquilt.io._files import one_line
from histoquilt.io.slides._depth import depth_of
from histoquilt.io.slides._mpp import as_number, plausible
from histoquilt.io.slides._slide import Slide, damaged

# Formats by the ending of their name; openslide also reads some TIFFs, see open_slide.
SCANNER_SUFFIXES = (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide", ".dcm", ".czi")


class OpenSlideSlide(Slide):
    """Slide of Aperio, Hamamatsu, 3DHISTECH, Leica, Ventana, Zeiss, DICOM, ..., read with openslide."""

    def __init__(self, path: Path, mpp: float | None) -> None:
        openslide = require("openslide", extra="wsi", purpose=f"Reading {path.suffix} slides")
        self._errors = (openslide.OpenSlideError, OSError, ValueError)
        try:
            self._slide: Any = openslide.OpenSlide(path)
        except self._errors as error:
            raise OSError(f"{path} could not be opened by openslide (truncated?): {error}. Copy it again.") from error
        if mpp is None:
            x, y = (as_number(self._slide.properties.get(f"openslide.mpp-{axis}")) for axis in "xy")
            mpp = plausible(x, y, path.name, "scanner's metadata")
        super().__init__(path, self._slide.level_dimensions, mpp)

    def check(self) -> None:
        """Read one pixel, which fails if the tables are complete and the pixels are not."""
        self._read(len(self.levels) - 1, 0, 0, 1, 1)

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        downsample = self._slide.level_downsamples[level]
        try:
            region = self._slide.read_region((round(x * downsample), round(y * downsample)), level, (width, height))
        except self._errors as error:
            raise damaged(self.path, f"level {level} at {x:,}, {y:,} cannot be read ({error})") from error
        glass = Image.new("RGBA", region.size, "white")  # scanners leave out tiles without tissue
        return np.asarray(Image.alpha_composite(glass, region).convert("RGB"))

    def close(self) -> None:
        """Close the file."""
        super().close()
        self._slide.close()


class VipsSlide(Slide):
    """Other image that libvips opens; one level, read by region."""

    def __init__(self, path: Path, mpp: float | None) -> None:
        pyvips = require("pyvips", extra="wsi", purpose=f"Reading {path.suffix or path.name} images")
        self._errors = (pyvips.Error, OSError)
        try:
            self._image: Any = pyvips.Image.new_from_file(str(path), fail_on="error")
        except self._errors as error:
            raise OSError(f"{path} could not be opened by libvips: {one_line(error)}.") from error
        image = self._image
        if image.format == "ushort" and image.interpretation == "rgb16" and image.bands in (3, 4):
            bits = depth_of(int(image.extract_band(0, n=3).max()), path)
            image = self._image = (image >> (bits - 8)).cast("uchar").copy(interpretation="srgb")
        if image.format != "uchar" or image.bands not in (3, 4) or image.interpretation not in ("srgb", "rgb"):
            raise ValueError(
                f"{path} is not RGB: {image.bands} channel(s) of {image.format}, {image.interpretation}. An H&E image "
                "in 8-bit colour is needed; export it so, or choose the stained image."
            )
        if image.hasalpha():
            self._image = image.flatten(background=255)
        super().__init__(path, [(image.width, image.height)], mpp)
        self._region: Any = pyvips.Region.new(self._image)
        self._lock = Lock()  # a region serves one thread at a time

    def check(self) -> None:
        """Read the last pixel, which fails if the file is truncated."""
        self._read(0, self.width - 1, self.height - 1, 1, 1)

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        try:
            with self._lock:
                data = self._region.fetch(x, y, width, height)
        except self._errors as error:
            raise damaged(self.path, one_line(error)) from error
        return np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)

    def close(self) -> None:
        """Free the image."""
        super().close()
        self._image = self._region = None
