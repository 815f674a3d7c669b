"""Coordinates in pixels of the image that a viewer shows: unit and scale."""

from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.runtime import warn_user
from histoquilt.study import Section, coordinate_record


def recorded_image_scale(adata: AnnData) -> float:
    """Return coordinate units per pixel of the attached image, else of the instrument's own; 1 if there is neither."""
    own = coordinate_record(adata).get("image_mpp", 1.0)  # only of coordinates in microns
    return float(adata.uns.get(Keys.UNS, {}).get(Keys.IMAGE, {}).get("image_scale", own))


def check_in_pixels(section: Section, remedy: str, *, known: bool) -> None:
    """Raise ``ValueError`` if coordinates are no pixels, and warn if their unit is not recorded.

    Microns are accepted if the size of a pixel is ``known`` or recorded; otherwise ``remedy`` is the advice.
    """
    if section.unit == "array":
        raise ValueError(
            f"Coordinates of section {section.name!r} are rows and columns of the array, not pixels. Read the section "
            "with its spot positions."
        )
    if section.unit == "micron" and not known and "image_mpp" not in section.coordinates:
        raise ValueError(
            f"Coordinates of section {section.name!r} are microns, and viewers of images need pixels. {remedy}"
        )
    if section.unit == "unknown" and Keys.IMAGE not in section.adata.uns.get(Keys.UNS, {}):
        warn_user(
            f"The unit of the coordinates of section {section.name!r} is not recorded; they are taken as pixels of the "
            "full-resolution image. If they are not: histoquilt.io.record_coordinates."
        )
