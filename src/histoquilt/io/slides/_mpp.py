"""Microns per pixel of an image: from its metadata, and checked for plausibility and against the spots."""

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
from anndata import AnnData

from histoquilt._base import LEAST_MPP, MOST_MPP, check_mpp, check_positive, either
from histoquilt.runtime import logger, warn_user
from histoquilt.study import coordinate_record, estimate_mpp

TOLERANCE = 0.05  # the pitch of real sections agrees with the scanner's mpp to 1-2 %

_APERIO = re.compile(r"\bMPP\s*=\s*([0-9.eE+-]+)")
_OME_UNIT_UM = {
    "um": 1.0, "µm": 1.0, "μm": 1.0, "nm": 1e-3, "mm": 1e3, "cm": 1e4, "m": 1e6, "in": 25_400.0, "pm": 1e-6, "Å": 1e-4,
}  # fmt: skip
_RESOLUTION_UNIT_UM = {2: 25_400.0, 3: 10_000.0}  # TIFF: inch, centimetre; 1 is "no unit"


def check_slide_mpp(adata: AnnData, mpp: float, *, image_scale: float = 1.0, name: str = "the image") -> float | None:
    """Compare microns per pixel of an image with the distance between the spots that lie on it.

    Parameters
    ----------
    adata
        One section; its ``obsm["spatial"]`` is compared. Nothing is written.
    mpp
        Microns per pixel of the image, e.g. ``open_slide(path).mpp``.
    image_scale
        Coordinate pixels per pixel of the image.
    name
        Name of the image in messages.

    Returns
    -------
    Microns per pixel of the image by the distance between spots, or ``None`` if that cannot be determined
    (:func:`estimate_mpp`: single cells, beads, or coordinates that are not pixels).

    Raises
    ------
    ValueError
        ``mpp`` is not between 0.05 and 20, or ``image_scale`` is not positive.

    Warns
    -----
    UserWarning
        The two are more than 5 % apart.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata, image = hq.datasets.toy_slide(n_spots=100, mpp=2)
    >>> round(hq.io.check_slide_mpp(adata, 2.0), 2)
    2.0
    """
    check_mpp(mpp, f"mpp of {name}")
    check_positive(image_scale, "image_scale")
    try:
        by_spots = estimate_mpp(adata) * image_scale
    except ValueError as error:
        logger.info("mpp of %s, %g, is not compared with the spots: %s", name, mpp, error)
        return None
    apart = abs(by_spots / mpp - 1)
    if apart > TOLERANCE:
        remedy = either("pass image_scale=", "fill the column image_scale of a samples.csv")
        warn_user(
            f"mpp of {name} is {mpp:.4g}, and {by_spots:.4g} by the distance between spots ({apart:.0%} apart). Were "
            f"the coordinates measured on this image? If on one of another size, {remedy} (coordinate pixels per "
            "image pixel)."
        )
    return by_spots


def recorded_mpp(adata: AnnData) -> float | None:
    """Return microns per coordinate pixel from the section's record, else by the spot pitch, else None."""
    recorded = coordinate_record(adata).get("mpp")
    if recorded is not None:
        return float(recorded)
    try:
        return estimate_mpp(adata)
    except ValueError:
        return None


def plausible(x: float | None, y: float | None, name: str, source: str) -> float | None:
    """Return microns per pixel from metadata, or None if they are missing or implausible."""
    if x is None or not np.isfinite(x) or x <= 0:
        return None
    if not LEAST_MPP <= x <= MOST_MPP:
        what = "is not that of a microscope (often a default for printing) and is not used"
        logger.info("%s: %.4g um per pixel in its %s %s", name, x, source, what)
        return None
    if y is not None and np.isfinite(y) and abs(y / x - 1) > 0.01:
        warn_user(
            f"{name}: its pixels are {x:.4g} x {y:.4g} um by its {source}, not square. The width is used; resample "
            "the image to square pixels if that matters."
        )
    logger.info("%s: %.4g um/px by its %s", name, x, source)
    return float(x)


def from_resolution(x: float, y: float, unit: int, name: str) -> float | None:
    """Return microns per pixel from pixels per inch (unit 2) or centimetre (3) of a TIFF, JPEG or PNG."""
    microns = _RESOLUTION_UNIT_UM.get(int(unit))
    if microns is None or x <= 0 or y <= 0:
        return None
    return plausible(microns / x, microns / y, name, "resolution tags")


def from_aperio(description: str, name: str) -> float | None:
    """Return microns per pixel from the ``MPP = `` that Aperio scanners write into the image description."""
    match = _APERIO.search(description)
    return plausible(as_number(match[1] if match else None), None, name, "MPP in the image description")


def from_ome(image: ElementTree.Element, name: str) -> float | None:
    """Return microns per pixel of one ``Image`` of an OME-XML."""
    pixels = image.find(".//{*}Pixels")
    if pixels is None:
        return None
    return plausible(_ome_um(pixels, "X"), _ome_um(pixels, "Y"), name, "OME-XML")


def _ome_um(pixels: Any, axis: str) -> float | None:
    unit, size = (
        _OME_UNIT_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm")),
        as_number(pixels.get(f"PhysicalSize{axis}")),
    )
    return None if unit is None or size is None else size * unit


def as_number(text: str | None) -> float | None:
    """Return the number in a text of the metadata, or None."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
