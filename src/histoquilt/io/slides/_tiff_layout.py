"""Layout of an image of a TIFF: the pages of a level, and checks of their colour and compression."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile

from histoquilt._base import is_installed, listed
from histoquilt.io.slides._picture import TO_PYRAMID
from histoquilt.io.slides._tiff_series import tag_of

_RGB, _YCBCR = 2, 6  # PhotometricInterpretation
_JPEG = {6, 7, 34892, 33007}  # compressions whose decoder turns YCbCr into RGB
MOST_SEGMENT = 600_000_000  # pixels of one tile or strip, which can only be decoded whole
_NAMED = {"r", "g", "b", "red", "green", "blue", "rgb", "he", "h&e", "brightfield"}


def planes_of(level: Any, names: list[str], path: Path) -> list[Any]:
    """Return the pages of one level: one with all colours, or one each for red, green and blue.

    ``names`` are those of the channels in the file, empty if it has none.
    """
    pages = [page for page in level.pages if page is not None]
    if len(pages) == 1 and level.keyframe.samplesperpixel >= 3:
        return pages
    others = {axis: size for axis, size in zip(level.axes, level.shape, strict=True) if axis not in "YXS"}
    n_planes = int(np.prod(list(others.values()))) if others else 1
    if n_planes != 3 or len(pages) != 3 or level.keyframe.samplesperpixel != 1 or set(others) & {"Z", "T"}:
        found = " x ".join(f"{size} ({_AXES.get(axis, axis)})" for axis, size in others.items()) or "1"
        raise ValueError(
            f"{path} is not RGB: it holds planes {found} of {level.keyframe.samplesperpixel} channel(s) each. {_NEED}"
        )
    if names and not all(name.lower() in _NAMED for name in names):
        raise ValueError(f"{path} is not RGB: it is fluorescence with the channels {listed(names)}. {_NEED}")
    return pages


_AXES = {"C": "channels", "Z": "focus planes", "T": "time points", "Q": "pages", "I": "pages"}
_NEED = "An H&E image in 8-bit colour (red, green, blue) is needed; export it so, or choose the stained image."


def channel_names(image: ElementTree.Element | None) -> list[str]:
    """Return the names of the channels of an ``Image`` of an OME-XML."""
    channels = [] if image is None else [node for node in image.iter() if tag_of(node) == "Channel"]
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
