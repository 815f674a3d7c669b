"""Spots in drawn regions, and the scale at which regions that miss them would fit."""

from collections.abc import Iterator

import numpy as np

from histoquilt._base import either
from histoquilt.io._image_pixels import recorded_image_scale
from histoquilt.io.annotations._annotations import Annotations
from histoquilt.runtime import warn_user
from histoquilt.study import Section, scale_factors, spot_pitch

_FITS, _MISSES = 0.9, 0.5  # shares of the corners of all regions that lie on the tissue or beside it
_FILLED = 0.4  # least spots per square pitch of the regions; a hexagonal lattice has 1.15, a border of glass none
_BESIDE = 3  # pitches around the spots, in which people draw outlines of the tissue
_LIKE = 0.3  # difference of the scales of x and y up to which a scale is named that no record knows


def inside(regions: np.ndarray | None, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers of regions and of the points ``(n_points, 2)`` in them, as pairs; the largest region first."""
    import shapely

    tree = shapely.STRtree(shapely.points(points))
    region, point = tree.query(regions, predicate="intersects")
    order = np.lexsort((-region, -shapely.area(regions)[region]))  # of equal regions the first one counts
    return region[order], point[order]


def check_on_tissue(section: Section, annotations: Annotations, scale: float, *, n_inside: int) -> None:
    """Raise ``ValueError`` if regions hold no spot, or lie beside the tissue and on it at another scale, named then.

    Regions that lie beside the tissue at any known scale are warned of: an image may show other sections, too.
    """
    points, head = section.centres / scale, f"The annotations of {annotations.path.name}"
    beside = _share_beside(annotations, points)
    if n_inside and beside >= _MISSES:
        return
    if not n_inside:
        head += (
            f" cover none of the {len(points):,} spots of section {section.name!r}: they span "
            f"{_span(_corners(annotations))}, the spots {_span(points)}, in pixels of {_image_words(section, scale)}."
        )
    else:
        head += f" lie mostly outside the tissue of section {section.name!r}."
    for what, factor in _fitting(section, annotations, scale):
        if factor is None:
            raise ValueError(f"{head} They fit with x and y exchanged: {what}.")
        remedy = either(f"image_scale={factor:.6g}", f"--annotations-scale {factor:.6g}")
        raise ValueError(f"{head} They fit {what}: pass {remedy}.")
    guess = _guess(section, annotations, scale)
    another = "another image?"
    if guess is not None:
        remedy = either(f"image_scale={guess:.2g}", f"--annotations-scale {guess:.2g}")
        another = f"an image of another size? About {remedy} would bring them onto the tissue."
    if not n_inside:
        raise ValueError(f"{head} Were they drawn on {another}")
    if n_inside < _MISSES * len(points):  # else a large region holds the tissue
        warn_user(f"{head} Does the image show other sections, too, or were they drawn on {another}")


def _guess(section: Section, annotations: Annotations, scale: float) -> float | None:
    """Return the scale at which the regions would reach as far as the spots; None if x and y disagree about it."""
    ratio = section.centres.max(axis=0) / np.maximum(_corners(annotations).max(axis=0), 1e-9)
    guess = float(np.sqrt(np.abs(ratio.prod())))
    return guess if abs(ratio[0] / ratio[1] - 1) < _LIKE and abs(guess / scale - 1) > _LIKE else None


def _fitting(section: Section, annotations: Annotations, scale: float) -> Iterator[tuple[str, float | None]]:
    """Yield other scales with which the regions lie on the tissue; None if they do with x and y exchanged."""
    known = [("pixels of the full-resolution image", 1.0)]
    known += [(f"pixels of the image of {name}", 1 / factor) for name, factor in scale_factors(section.adata)]
    known.append(("pixels of the attached image", recorded_image_scale(section.adata)))
    try:
        mpp = section.mpp
    except ValueError:
        mpp = None
    if mpp is not None:
        known.append(("microns", 1 / mpp))
    for what, other in known:
        if abs(other / scale - 1) > 1e-6 and _fits(annotations, section.centres / other):
            yield what, other
    if _fits(annotations, section.centres[:, ::-1] / scale):
        yield "obsm['spatial'] must be (x, y), not (row, column)", None


def _fits(annotations: Annotations, points: np.ndarray) -> bool:
    """Return whether regions lie beside the points and hold about as many as their area has room for."""
    import shapely

    room = shapely.union_all(annotations.regions).area / spot_pitch(points) ** 2
    n_inside = len(np.unique(inside(annotations.regions, points)[1]))
    return _share_beside(annotations, points) >= _FITS and n_inside >= max(1, _FILLED * room)


def _share_beside(annotations: Annotations, points: np.ndarray) -> float:
    """Return the share of corners inside the bounding box of the spots, with a margin."""
    margin = _BESIDE * spot_pitch(points)
    corners, low, high = _corners(annotations), points.min(axis=0) - margin, points.max(axis=0) + margin
    return float(((corners >= low) & (corners <= high)).all(axis=1).mean())


def _corners(annotations: Annotations) -> np.ndarray:
    import shapely

    return np.asarray(shapely.get_coordinates(annotations.regions))


def _span(points: np.ndarray) -> str:
    low, high = points.min(axis=0), points.max(axis=0)
    return f"x {low[0]:,.0f} to {high[0]:,.0f} and y {low[1]:,.0f} to {high[1]:,.0f}"


def _image_words(section: Section, scale: float) -> str:
    if scale == 1:
        return "the full-resolution image"
    if scale == recorded_image_scale(section.adata):
        return "the instrument's own image" if section.unit == "micron" else "the attached image"
    return f"an image with {scale:g} coordinate units per pixel"
