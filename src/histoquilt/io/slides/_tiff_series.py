"""Which image of a TIFF is the scan, and what the OME-XML says of it; the others are overviews and labels."""

import re
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from histoquilt.io.slides._mpp import from_aperio, from_ome, from_resolution
from histoquilt.runtime import logger

_EXTRAS = re.compile(
    r"(?<![a-z])(macro|label|thumb(?:nail)?s?|over[ _-]?view|preview|navigation|navcam)(?![a-z])", re.IGNORECASE
)
_MOST_SAID = 120  # characters: the description of a scan is long, that of a label is its name and size
_COARSE_UM = 4.0  # a 2.5x objective; what is coarser is an overview where the file holds anything finer


def main_series(file: Any, path: Path) -> Any:
    """Return the series of the scan.

    Macro images, labels, thumbnails and overviews are never the scan while there is anything else. Of the rest it is
    the pyramid; of several, or of none, the one with the finest pixels; of equals, the largest.
    """
    if len(file.series) == 1:
        return file.series[0]
    unnamed = [one for one in file.series if not any(_EXTRAS.search(name) for name in _names(file, one))]
    candidates = unnamed or list(file.series)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pixels of an overview that are not square: nothing depends on them
        microns = [series_mpp(file, one, f"{path.name} ({one.name or one.index})") for one in candidates]
    ranks = [_rank(one, mpp, microns) for one, mpp in zip(candidates, microns, strict=True)]
    scan = candidates[max(range(len(ranks)), key=ranks.__getitem__)]
    shape = scan.keyframe
    logger.info(
        "%s holds %d images; the scan is %s (%d x %d px)",
        path.name, len(file.series), scan.name or scan.index, shape.imagewidth, shape.imagelength,
    )  # fmt: skip
    return scan


def _rank(series: Any, mpp: float | None, microns: list[float | None]) -> tuple[bool, float, int]:
    """Return what the scan has most of: levels, fine pixels, size. ``microns`` are those of all candidates.

    Pixels of an unknown size may be finer than those of an overview, and coarser than those of a scan.
    """
    known = [value for value in microns if value is not None]
    compared = mpp is not None and (mpp <= _COARSE_UM or len(known) == len(microns))
    is_overview = mpp is not None and mpp > _COARSE_UM and (len(known) < len(microns) or min(known) <= _COARSE_UM)
    size = series.keyframe.imagewidth * series.keyframe.imagelength
    fineness = -round(mpp, 4) if mpp is not None and compared else -_COARSE_UM
    return len(series.levels) > 1 and not is_overview, fineness, size


def series_mpp(file: Any, series: Any, name: str) -> float | None:
    """Microns per pixel of one series, from what the file says of this one alone."""
    image = ome_image(file, series)
    if image is not None and (found := from_ome(image, name)):
        return found
    page = series.keyframe
    if found := from_aperio(page.description, name):
        return found
    x, y, unit = (page.tags.get(tag) for tag in ("XResolution", "YResolution", "ResolutionUnit"))
    if x is None or y is None:
        return None
    x, y = (tag.value[0] / tag.value[1] if tag.value[1] else 0.0 for tag in (x, y))
    return from_resolution(x, y, unit.value if unit is not None else 2, name)


def ome_image(file: Any, series: Any) -> ElementTree.Element | None:
    """Return the ``Image`` of the OME-XML that a series is, by its first page; ``None`` where there is no OME-XML."""
    if not file.is_ome:
        return None
    try:
        root = ElementTree.fromstring(file.ome_metadata)
    except ElementTree.ParseError as error:
        logger.info("%s: its OME-XML is damaged and is ignored: %s", file.filename, error)
        return None
    images = [node for node in root.iter() if tag_of(node) == "Image"]
    order = file.series.index(series)
    likely = images[order : order + 1]  # the same order, unless an image is stored nowhere
    first = next((page.index for page in series.pages if page is not None), -1)
    for image in likely + images:
        if any(_holds(data, first) for data in image.iter() if tag_of(data) == "TiffData"):
            return image
    return likely[0] if likely else None


def _holds(data: ElementTree.Element, page: int) -> bool:
    """Whether a ``TiffData`` says that it begins at a page of the file."""
    given = data.get("IFD")
    return given is not None and given.isdigit() and int(given) <= page < int(given) + int(data.get("PlaneCount", 1))


def tag_of(node: ElementTree.Element) -> str:
    """Return the name of an element without its namespace."""
    return node.tag.rpartition("}")[2]


def _names(file: Any, series: Any) -> list[str]:
    """Return what a series is called: by the file's format, by its OME-XML, or in its own tags."""
    page = series.keyframe
    image = ome_image(file, series)
    named = page.tags.get("PageName")
    said = "" if file.is_ome or len(page.description) > _MOST_SAID else page.description
    names = [series.name, image.get("Name") if image is not None else None, named.value if named else None, said]
    return [str(name).replace("_", " ") for name in names if name]
