"""Images of a TIFF: which one is the scan, its metadata, the pages of its levels, and checks of their colour."""

import math
import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from histoquilt._base import is_installed, listed
from histoquilt.io.slides._mpp import from_aperio, from_ome, from_resolution
from histoquilt.io.slides._picture import TO_PYRAMID
from histoquilt.runtime import logger

_EXTRAS = re.compile(
    r"(?<![a-z])(macro|label|thumb(?:nail)?s?|over[ _-]?view|preview|navigation|navcam)(?![a-z])", re.IGNORECASE
)
_MOST_CHARACTERS = 120  # the description of a scan is long, that of a label is its name and size
_COARSE_UM = 4.0  # a 2.5x objective; a coarser image is an overview if the file holds a finer one
_RGB, _YCBCR = 2, 6  # PhotometricInterpretation
_JPEG = {6, 7, 34892, 33007}  # compressions whose decoder turns YCbCr into RGB
MOST_SEGMENT = 600_000_000  # pixels of one tile or strip, which can only be decoded whole
_NAMED = {"r", "g", "b", "red", "green", "blue", "rgb", "he", "h&e", "brightfield"}
_AXES = {"C": "channels", "Z": "focus planes", "T": "time points", "Q": "pages", "I": "pages"}
_NEED = "An H&E image in 8-bit colour (red, green, blue) is needed; export it so, or choose the stained image."


def main_series(file: Any, path: Path) -> Any:
    """Return the series of the scan.

    Macro images, labels, thumbnails and overviews are excluded unless nothing else is left. Of the rest it is the
    pyramid; of several, or of none, the image with the finest pixels; of equals, the largest.
    """
    if len(file.series) == 1:
        return file.series[0]
    scans = [series for series in file.series if not any(_EXTRAS.search(name) for name in _names(file, series))]
    candidates = scans or list(file.series)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pixels of an overview that are not square
        microns = [series_mpp(file, series, f"{path.name} ({series.name or series.index})") for series in candidates]
    ranks = [_rank(series, mpp, microns) for series, mpp in zip(candidates, microns, strict=True)]
    scan = candidates[max(range(len(ranks)), key=ranks.__getitem__)]
    shape = scan.keyframe
    logger.info(
        "%s holds %d images; the scan is %s (%d x %d px)",
        path.name, len(file.series), scan.name or scan.index, shape.imagewidth, shape.imagelength,
    )  # fmt: skip
    return scan


def _rank(series: Any, mpp: float | None, microns: list[float | None]) -> tuple[bool, float, int]:
    """Return the rank of a candidate by levels, fine pixels and size. ``microns`` are those of all candidates.

    Pixels of unknown size rank between those of an overview and those of a scan.
    """
    known = [value for value in microns if value is not None]
    compared = mpp is not None and (mpp <= _COARSE_UM or len(known) == len(microns))
    is_overview = mpp is not None and mpp > _COARSE_UM and (len(known) < len(microns) or min(known) <= _COARSE_UM)
    size = series.keyframe.imagewidth * series.keyframe.imagelength
    fineness = -round(mpp, 4) if mpp is not None and compared else -_COARSE_UM
    return len(series.levels) > 1 and not is_overview, fineness, size


def series_mpp(file: Any, series: Any, name: str) -> float | None:
    """Return microns per pixel of one series from its own metadata."""
    image = ome_image(file, series)
    if image is not None and (mpp := from_ome(image, name)):
        return mpp
    page = series.keyframe
    if mpp := from_aperio(page.description, name):
        return mpp
    x, y, unit = (page.tags.get(tag) for tag in ("XResolution", "YResolution", "ResolutionUnit"))
    if x is None or y is None:
        return None
    x, y = (tag.value[0] / tag.value[1] if tag.value[1] else 0.0 for tag in (x, y))
    return from_resolution(x, y, unit.value if unit is not None else 2, name)


def ome_image(file: Any, series: Any) -> ElementTree.Element | None:
    """Return the ``Image`` of a series in the OME-XML, by its first page; None if there is no OME-XML."""
    if not file.is_ome:
        return None
    try:
        root = ElementTree.fromstring(file.ome_metadata)
    except ElementTree.ParseError as error:
        logger.info("%s: its OME-XML is damaged and is ignored: %s", file.filename, error)
        return None
    images = root.findall(".//{*}Image")
    order = file.series.index(series)
    likely = images[order : order + 1]  # the same order, unless an image is not stored
    first = next((page.index for page in series.pages if page is not None), -1)
    for image in likely + images:
        if any(_holds(data, first) for data in image.findall(".//{*}TiffData")):
            return image
    return likely[0] if likely else None


def _holds(data: ElementTree.Element, page: int) -> bool:
    """Return whether a ``TiffData`` contains a page of the file."""
    given = data.get("IFD")
    return given is not None and given.isdigit() and int(given) <= page < int(given) + int(data.get("PlaneCount", 1))


def _names(file: Any, series: Any) -> list[str]:
    """Return the names of a series: by the file's format, by its OME-XML, and in its own tags."""
    page = series.keyframe
    image = ome_image(file, series)
    named = page.tags.get("PageName")
    description = "" if file.is_ome or len(page.description) > _MOST_CHARACTERS else page.description
    names = [series.name, image.get("Name") if image is not None else None, named.value if named else None, description]
    return [str(name).replace("_", " ") for name in names if name]


def planes_of(level: Any, names: list[str], path: Path) -> list[Any]:
    """Return the pages of one level: one with all colours, or one each for red, green and blue.

    ``names`` are those of the channels in the file, empty if it has none.
    """
    pages = [page for page in level.pages if page is not None]
    if len(pages) == 1 and level.keyframe.samplesperpixel >= 3:
        return pages
    others = {axis: size for axis, size in zip(level.axes, level.shape, strict=True) if axis not in "YXS"}
    n_planes = math.prod(others.values())
    if n_planes != 3 or len(pages) != 3 or level.keyframe.samplesperpixel != 1 or set(others) & {"Z", "T"}:
        sizes = " x ".join(f"{size} ({_AXES.get(axis, axis)})" for axis, size in others.items()) or "1"
        raise ValueError(
            f"{path} is not RGB: it holds planes {sizes} of {level.keyframe.samplesperpixel} channel(s) each. {_NEED}"
        )
    if names and not all(name.lower() in _NAMED for name in names):
        raise ValueError(f"{path} is not RGB: it is fluorescence with the channels {listed(names)}. {_NEED}")
    return pages


def channel_names(image: ElementTree.Element | None) -> list[str]:
    """Return the names of the channels of an ``Image`` of an OME-XML."""
    channels = [] if image is None else image.findall(".//{*}Channel")
    return [name for channel in channels if (name := channel.get("Name"))]


def check_colours(pages: list[Any], path: Path) -> None:
    """Raise ``ValueError`` unless the pages are colour of 8 or 16 bits."""
    page = pages[0].keyframe
    if page.dtype not in (np.uint8, np.uint16):
        kind = "floating-point" if page.dtype is not None and page.dtype.kind == "f" else "other"
        raise ValueError(f"{path} is not 8-bit: it holds {kind} values ({page.dtype}). {_NEED}")
    if len(pages) == 3:
        return
    colour = page.photometric == _RGB or (page.photometric == _YCBCR and page.compression in _JPEG)
    if page.samplesperpixel not in (3, 4) or not colour:
        kind = getattr(page.photometric, "name", page.photometric)
        raise ValueError(f"{path} is not RGB: {page.samplesperpixel} channel(s), photometric {kind}. {_NEED}")


def check_compression(page: Any, path: Path) -> None:
    """Raise ``ImportError`` or ``ValueError`` if the compression cannot be read."""
    name = getattr(page.compression, "name", page.compression)
    try:
        if page.compression != 1:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        if page.predictor != 1:
            tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError as error:
        if not is_installed("imagecodecs"):
            raise ImportError(
                f"{path} is compressed with {name}, which needs imagecodecs. Install it with: "
                "pip install 'histoquilt[wsi]'"
            ) from error
        raise ValueError(f"{path} is compressed with {name}, which cannot be read. {TO_PYRAMID}") from error


def check_segments(pages: list[Any], path: Path) -> None:
    """Raise ``ValueError`` if one tile or strip is too large to be decoded whole."""
    page = pages[0].keyframe
    if page.compression == 1 and all(plane.is_contiguous for plane in pages):
        return
    wide, tall = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    if wide * tall > MOST_SEGMENT:
        raise ValueError(
            f"{path} stores {wide:,} x {tall:,} px in one compressed piece, which would have to be decoded whole. "
            f"{TO_PYRAMID}"
        )
