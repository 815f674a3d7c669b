"""JPEG and PNG slides: decoded once and held, as they cannot be read by region."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from histoquilt.io._files import unpacked_bytes
from histoquilt.io.slides._depth import depth_of, to_8_bit
from histoquilt.io.slides._mpp import from_resolution
from histoquilt.io.slides._slide import Slide, damaged
from histoquilt.runtime import warn_user

MOST_DECODED = 600_000_000  # pixels: 1.8 GB held, twice that while decoding
# Called by name, these skip the check of Image.open, which refuses images of this size as attacks.
_READERS: dict[str, Any] = {"jpeg": JpegImagePlugin.JpegImageFile, "png": PngImagePlugin.PngImageFile}
_ORIENTATION = 0x0112
_BAND = 1024  # rows

TO_PYRAMID = "Convert it to a tiled pyramid: vips tiffsave IMAGE out.tif --tile --pyramid --compression jpeg --bigtiff"


class PictureSlide(Slide):
    """JPEG or PNG, perhaps gzip-compressed; one level, decoded when the first pixel is read."""

    def __init__(self, path: Path, kind: str, mpp: float | None) -> None:
        is_packed = path.suffix.lower() == ".gz"
        self._file: Path | bytes = unpacked_bytes(path) if is_packed else path
        try:
            self._image: Image.Image | None = _READERS[kind](_source(self._file))
        except (OSError, SyntaxError, ValueError) as error:
            raise OSError(
                f"{path} could not be opened as {kind.upper()} ({error}). Copy or download it again."
            ) from error
        width, height = self._image.size
        if width * height > MOST_DECODED:
            self._image.close()
            raise ValueError(
                f"{path} has {width:,} x {height:,} px. A {kind.upper()} has to be decoded whole, and more than "
                f"{MOST_DECODED:,} px do not fit. {TO_PYRAMID}"
            )
        _check_colours(self._image, path)
        if kind == "jpeg" and self._image.getexif().get(_ORIENTATION, 1) != 1:
            warn_user(
                f"{path.name} is to be shown rotated by its EXIF data; coordinates are those of the pixels as stored."
            )
        dpi = self._image.info.get("dpi")
        if mpp is None and dpi:
            mpp = from_resolution(float(dpi[0]), float(dpi[1]), 2, path.name)
        super().__init__(path, [(width, height)], mpp)
        if is_packed:
            self.name = Path(self.name).stem
        self._pixels: np.ndarray | None = None

    def check(self) -> None:
        """Decode the image, which fails if it is truncated."""
        self._decoded()

    def _decoded(self) -> np.ndarray:
        if self._pixels is None:
            assert self._image is not None  # gone only once decoded or closed
            try:
                deep = _is_deep(self._image)
                self._pixels = _decode_deep(self._image, self._file, self.path) if deep else _decode(self._image)
            except (OSError, SyntaxError, ValueError) as error:  # PIL reports a broken PNG chunk as SyntaxError
                raise damaged(self.path, f"{error} ({self.path.stat().st_size:,} bytes)") from error
            self._image.close()
            self._image = None
        return self._pixels

    def _read(self, level: int, x: int, y: int, width: int, height: int) -> np.ndarray:
        return self._decoded()[y : y + height, x : x + width]

    def close(self) -> None:
        """Free the pixels."""
        super().close()
        if self._image is not None:
            self._image.close()
        self._image = self._pixels = None


def _check_colours(image: Image.Image, path: Path) -> None:
    if image.mode in ("RGB", "RGBA", "P"):  # P: a palette of colours
        return
    other = "grey of 16 bits or more per channel" if image.mode.startswith(("I", "F")) else f"mode {image.mode}"
    known = {"L": "grey", "LA": "grey with alpha", "1": "black and white", "CMYK": "CMYK"}
    image.close()
    raise ValueError(
        f"{path} is not RGB: it is {known.get(image.mode, other)}. An H&E image in 8-bit colour is needed; save it as "
        "such, or choose the stained image rather than a mask or a fluorescence channel."
    )


def _decode(image: Image.Image) -> np.ndarray:
    """Decode to RGB uint8 in bands, which halves the memory; transparent pixels become white."""
    image.load()
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top in range(0, image.height, _BAND):
        band = image.crop((0, top, image.width, min(image.height, top + _BAND)))
        if image.mode == "RGBA" or "transparency" in image.info:
            band = band.convert("RGBA")
            band = Image.alpha_composite(Image.new("RGBA", band.size, "white"), band)
        pixels[top : top + _BAND] = np.asarray(band if band.mode == "RGB" else band.convert("RGB"))
    return pixels


def _is_deep(image: Image.Image) -> bool:
    """Return whether a PNG has 16 bits per colour, of which Pillow would keep the upper eight."""
    return image.format == "PNG" and image.mode in ("RGB", "RGBA") and _raw_mode(image).endswith(";16B")


def _raw_mode(image: Any) -> str:
    arguments = image.tile[0][3] if image.tile else ""
    return arguments if isinstance(arguments, str) else str(arguments[0])


def _source(file: Path | bytes) -> Path | BytesIO:
    return BytesIO(file) if isinstance(file, bytes) else file


def _decode_deep(image: Any, file: Path | bytes, path: Path) -> np.ndarray:
    """Decode 16 bits per colour to RGB uint8; the upper and lower bytes are read one after the other."""
    with _READERS["png"](_source(file)) as again:
        again.tile = [(*tile[:3], f"{again.mode};16L") for tile in again.tile]  # the other byte of each value
        low = np.asarray(again)
    values = np.asarray(image).astype(np.uint16)
    values <<= 8
    values |= low
    pixels = to_8_bit(values, depth_of(int(values[..., :3].max()), path))
    if image.mode == "RGB":
        return pixels
    paper = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(paper, Image.fromarray(pixels)).convert("RGB"))
