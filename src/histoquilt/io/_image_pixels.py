"""Coordinates in pixels of the image that a viewer shows: unit and scale."""

from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.runtime import warn_user
from histoquilt.study import Section


def recorded_image_scale(adata: AnnData) -> float:
    """Return coordinate pixels per pixel of the attached image; 1 if there is none."""
    return float(adata.uns.get(Keys.UNS, {}).get(Keys.IMAGE, {}).get("image_scale", 1.0))


def check_in_pixels(section: Section, remedy: str, *, known: bool) -> None:
    """Raise ``ValueError`` if coordinates are no pixels, and warn if their unit is not recorded.

    Microns are accepted if ``known``, the size of a pixel; otherwise ``remedy`` is the advice.
    """
    if section.unit == "array":
        raise ValueError(
            f"Coordinates of section {section.name!r} are rows and columns of the array, not pixels. Read the section "
            "with its spot positions."
        )
    if section.unit == "micron" and not known:
        raise ValueError(
            f"Coordinates of section {section.name!r} are microns, and viewers of images need pixels. {remedy}"
        )
    if section.unit == "unknown" and Keys.IMAGE not in section.adata.uns.get(Keys.UNS, {}):
        warn_user(
            f"The unit of the coordinates of section {section.name!r} is not recorded; they are taken as pixels of the "
            "full-resolution image. If they are not: histoquilt.io.record_coordinates."
        )
