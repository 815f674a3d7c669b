"""Shape of the domains of a section, from their polygons."""

from typing import Any

import numpy as np

from histoquilt._base import require
from histoquilt.io import domain_polygons
from histoquilt.metrics import SHAPE_MEASURES

PURPOSE = "Shape of domains"


def domain_shapes(points: np.ndarray, codes: np.ndarray, n_domains: int) -> np.ndarray:
    """Return the shape of every domain.

    Parameters
    ----------
    points
        Spot centres ``(n_spots, 2)``, in the unit of the result.
    codes
        Domain of each spot ``(n_spots,)``, from 0; negative for none.
    n_domains
        Number of domains.

    Returns
    -------
    ``(n_domains, 5)`` float64 in the order of ``SHAPE_MEASURES``, NaN for domains without spots: area; perimeter
    with that of holes; elongation (long over short side of the smallest rectangle around a piece, mean over pieces
    weighted by area, at least 1); number of pieces; mean distance of the spots to the outer border of the tissue.
    """
    shapely = require("shapely", extra="export", purpose=PURPOSE)
    found = np.full((n_domains, len(SHAPE_MEASURES)), np.nan)
    distance = _border_distance(shapely, points)
    for code, domain in domain_polygons(points, codes).items():
        pieces = shapely.get_parts(domain)
        found[code] = (
            domain.area, domain.length, np.average(_elongation(shapely, pieces), weights=shapely.area(pieces)),
            len(pieces), distance[codes == code].mean(),
        )  # fmt: skip
    return found


def _elongation(shapely: Any, pieces: np.ndarray) -> np.ndarray:
    corners = shapely.get_coordinates(shapely.oriented_envelope(pieces)).reshape(len(pieces), 5, 2)
    sides = np.linalg.norm(np.diff(corners[:, :3], axis=1), axis=2)  # two neighbouring sides of each rectangle
    return sides.max(axis=1) / sides.min(axis=1)


def _border_distance(shapely: Any, points: np.ndarray) -> np.ndarray:
    """Return the distance of every spot to the outer border of the tissue; holes in it are no border."""
    tissue = domain_polygons(points, np.zeros(len(points), int))[0]
    rings = [shapely.get_coordinates(ring) for ring in shapely.get_exterior_ring(shapely.get_parts(tissue))]
    segments = np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
    tree = shapely.STRtree(shapely.linestrings(segments))
    _, distance = tree.query_nearest(shapely.points(points), return_distance=True, all_matches=False)
    return np.asarray(distance)
