"""Domains as polygons: merged outlines of cells, or Voronoi cells of the spots, cut off at about a pitch from them.

Points are added around the tissue and in its gaps, so that every cell of a spot is bounded: on a lattice at the places
of the missing neighbours, which makes border spots as regular as the others; among scattered cells on a fine grid at
1.5 to 2.5 pitches from the nearest cell. The border of a domain is then the set of Voronoi edges with the domain on one
side only, in rings. Neighbouring domains share their vertices exactly, and no cell has to be merged with another.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Voronoi, cKDTree

from histoquilt._base import require
from histoquilt.io._cell_polygons import CellPolygons
from histoquilt.study import lattice_of, spot_pitch

_CLEAR = 0.6  # of the pitch: a lattice place with no spot this near is free
_REACH, _STEP = 1.5, 0.5  # pitches: distance of added points from scattered cells, and of their grid
_GRID = 1e-3  # of the pitch: vertices are rounded to a power of ten below this
_SAME = 1e-2  # of the pitch: spots nearer than this are one place, so that no cell vanishes by rounding
PURPOSE = "Exporting domains as polygons"


def domain_polygons(centres: np.ndarray, codes: np.ndarray, *, tolerance: float = 0.0) -> dict[int, Any]:
    """Return the area of every domain.

    Parameters
    ----------
    centres
        Spot centres ``(n_spots, 2)``. Of several spots at one place the first decides.
    codes
        Domain of each spot ``(n_spots,)``, from 0; negative for none.
    tolerance
        Size of details that are left out, in the unit of ``centres`` (the square root of a triangle's area,
        Visvalingam-Whyatt). Neighbouring domains still share their border; where a spot would get into another domain,
        a quarter of it is used, else nothing is simplified.

    Returns
    -------
    dict from domain to shapely ``MultiPolygon``, for domains with spots. Polygons have holes and do not overlap.

    Raises
    ------
    ImportError
        shapely is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> centres = np.array([[x, y] for x in range(4) for y in range(4)], dtype=float)
    >>> areas = domain_polygons(centres, np.repeat([0, 1], 8))
    >>> {number: round(area.area) for number, area in areas.items()}
    {0: 8, 1: 8}
    """
    shapely = require("shapely", extra="export", purpose=PURPOSE)
    codes = np.asarray(codes)
    places = _thinned(centres, _SAME * spot_pitch(centres))
    rings = _rings(*_half_edges(centres[places], codes[places]))
    parts: dict[int, list[Any]] = {}
    for code, shell, holes in rings:
        parts.setdefault(code, []).append(shapely.Polygon(shell, holes))
    areas = {code: shapely.multipolygons(parts[code]) for code in sorted(parts)}
    for size in (tolerance, tolerance / 4) if tolerance > 0 and areas else ():
        simpler = shapely.coverage_simplify(np.array(list(areas.values()), dtype=object), size)
        simpler = {code: _as_multi(shapely, area) for code, area in zip(areas, simpler, strict=True)}
        if all(_hold(shapely, area, centres[places][codes[places] == code]) for code, area in simpler.items()):
            return simpler
    return areas


def merged_cells(cells: CellPolygons, codes: np.ndarray, *, tolerance: float = 0.0) -> dict[int, Any]:
    """Return the area of every domain, the union of its cells, as :func:`domain_polygons` does.

    Outlines are simplified before they are merged (Douglas-Peucker), which is much faster than simplifying the union.
    """
    shapely = require("shapely", extra="export", purpose=PURPOSE)
    shapes, codes = cells.shapes(), np.asarray(codes)[cells.present]
    if tolerance > 0:
        shapes = shapely.simplify(shapes, tolerance)
    invalid = ~shapely.is_valid(shapes)
    shapes[invalid] = shapely.make_valid(shapes[invalid])
    wanted = np.unique(codes[codes >= 0])
    areas = {int(code): shapely.disjoint_subset_union_all(shapes[codes == code]) for code in wanted}
    return {code: _as_multi(shapely, area) for code, area in areas.items()}


@dataclass(frozen=True)
class _HalfEdges:
    """Directed edges with the domain on their left."""

    points: np.ndarray  # vertices (n_vertices, 2)
    start: np.ndarray  # number of the first vertex
    end: np.ndarray
    part: np.ndarray  # connected part of the domain on the left


def _half_edges(places: np.ndarray, codes: np.ndarray) -> tuple[_HalfEdges, np.ndarray]:
    """Return the borders of all domains, and the domain of each connected part."""
    pitch = spot_pitch(places)
    middle = places.mean(axis=0)
    size = np.ptp(places, axis=0).max() + pitch
    far = 10 * size * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])  # so that no spot is at the outer edge
    diagram = Voronoi(np.concatenate([np.concatenate([places, _around(places, pitch)]) - middle, far]))
    pairs, ends = diagram.ridge_points, np.asarray(diagram.ridge_vertices)
    decimals = -int(np.floor(np.log10(_GRID * pitch)))
    rounded = np.round(diagram.vertices + middle, decimals) + 0.0  # no -0.0
    points, number = np.unique(rounded, axis=0, return_inverse=True)
    is_line = (ends >= 0).all(axis=1)
    edges = number.reshape(-1)[ends]
    is_line &= edges[:, 0] != edges[:, 1]
    pairs, ends, edges = pairs[is_line], ends[is_line], edges[is_line]
    domain = np.full(len(diagram.points), -1)
    domain[: len(places)] = np.maximum(codes, -1)
    alike = domain[pairs[:, 0]] == domain[pairs[:, 1]]
    links = coo_matrix((np.ones(alike.sum(), bool), tuple(pairs[alike].T)), shape=(len(domain),) * 2)
    n_parts, part = connected_components(links, directed=False)
    domain_of = np.empty(n_parts, int)
    domain_of[part] = domain
    start, end, left = [], [], []
    for side in (0, 1):
        own = pairs[~alike, side]
        a, b = edges[~alike].T
        from_a, to_b = diagram.vertices[ends[~alike].T]  # not rounded, which turns the shortest edges around
        along, towards = to_b - from_a, diagram.points[own] - from_a
        ahead = along[:, 0] * towards[:, 1] > along[:, 1] * towards[:, 0]
        inside = domain[own] >= 0
        start.append(np.where(ahead, a, b)[inside])
        end.append(np.where(ahead, b, a)[inside])
        left.append(part[own][inside])
    return _HalfEdges(points, *map(np.concatenate, (start, end, left))), domain_of


def _rings(edges: _HalfEdges, domain_of: np.ndarray) -> Iterator[tuple[int, np.ndarray, list[np.ndarray]]]:
    """Yield domain, outer ring and holes of every connected part."""
    follows, seen = _followers(edges).tolist(), np.zeros(len(edges.start), bool)
    shells: dict[int, np.ndarray] = {}
    holes: dict[int, list[np.ndarray]] = {}
    for first in range(len(follows)):
        if seen[first]:
            continue
        ring, at = [], first
        while not seen[at]:
            seen[at] = True
            ring.append(at)
            at = follows[at]
        points = edges.points[edges.start[[*ring, first]]]
        x, y = (points - points[0]).T
        part = int(edges.part[first])
        if x[:-1] @ y[1:] > x[1:] @ y[:-1]:  # anticlockwise: the area is inside
            shells[part] = points
        else:
            holes.setdefault(part, []).append(points)
    for part, shell in shells.items():
        yield int(domain_of[part]), shell, holes.get(part, [])


def _followers(edges: _HalfEdges) -> np.ndarray:
    """Return the edge that follows each edge in its ring.

    Where the rings of one part meet in a vertex, the next edge is the first one anticlockwise from where the ring came:
    rings then touch, and do not cross.
    """
    key = edges.part.astype(np.int64) * len(edges.points)
    order = np.argsort(key + edges.start, kind="stable")
    starts, ends = (key + edges.start)[order], key + edges.end
    low = np.searchsorted(starts, ends)
    high = np.searchsorted(starts, ends, side="right")
    follows = order[low]
    for edge in np.flatnonzero(high - low > 1):
        choice = order[low[edge] : high[edge]]
        here = edges.points[edges.end[edge]]
        back = edges.points[edges.start[edge]] - here
        away = edges.points[edges.end[choice]] - here
        turn = np.arctan2(away[:, 1], away[:, 0]) - np.arctan2(back[1], back[0])
        follows[edge] = choice[np.argmin(turn % (2 * np.pi))]
    return follows


def _thinned(points: np.ndarray, radius: float) -> np.ndarray:
    """Return the numbers of points without those that have an earlier one within a radius."""
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    return np.delete(np.arange(len(points)), np.unique(pairs.max(axis=1)) if len(pairs) else [])


def _around(places: np.ndarray, pitch: float) -> np.ndarray:
    """Return points around the tissue and in its gaps."""
    tree = cKDTree(places)
    lattice = lattice_of(places)
    if lattice is None:
        return _on_a_grid(places, tree, pitch)
    folds = 6 if lattice.kind == "hexagonal" else 4
    angles = _orientation(places, tree, pitch, folds) + 2 * np.pi * np.arange(folds) / folds
    steps = pitch * np.column_stack([np.cos(angles), np.sin(angles)])
    free = (places[:, None] + steps).reshape(-1, 2)
    free = free[tree.query(free)[0] > _CLEAR * pitch]
    return free[_thinned(free, _CLEAR * pitch / 2)]


def _orientation(places: np.ndarray, tree: cKDTree, pitch: float, folds: int) -> float:
    """Return the direction of the lattice's links, modulo their symmetry."""
    part = places[:: max(1, len(places) // 5000)]
    _, near = tree.query(part, k=min(folds, len(places) - 1) + 1, distance_upper_bound=1.2 * pitch)
    own, column = np.nonzero(near < len(places))
    links = places[near[own, column]] - part[own]
    links = links[np.abs(links).max(axis=1) > 0]
    return float(np.angle(np.exp(1j * folds * np.arctan2(links[:, 1], links[:, 0])).mean()) / folds)


def _on_a_grid(places: np.ndarray, tree: cKDTree, pitch: float) -> np.ndarray:
    """Return points of a grid whose nearest place is 1.5 to 2.5 pitches away."""
    reach, per_block = _REACH * pitch, round(_REACH / _STEP)
    blocks = np.unique(np.floor(places / reach).astype(np.int64), axis=0)
    near = np.array([(i, j) for i in range(-2, 3) for j in range(-2, 3)])
    blocks = np.unique((blocks[:, None] + near).reshape(-1, 2), axis=0)
    inside = np.array([(i, j) for i in range(per_block) for j in range(per_block)]) / per_block
    points = reach * (blocks[:, None] + inside).reshape(-1, 2)
    distance, _ = tree.query(points, distance_upper_bound=(_REACH + 1) * pitch)
    return points[(distance >= reach) & np.isfinite(distance)]


def _as_multi(shapely: Any, area: Any) -> Any:
    """Return a simplified area as a valid MultiPolygon."""
    area = area if shapely.is_valid(area) else shapely.make_valid(area)
    return shapely.multipolygons([part for part in shapely.get_parts(area) if part.geom_type == "Polygon"])


def _hold(shapely: Any, area: Any, points: np.ndarray) -> bool:
    """Return whether all points lie in an area."""
    shapely.prepare(area)
    return bool(shapely.contains_xy(area, *points.T).all())
