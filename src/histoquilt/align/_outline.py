"""Align sections by their outlines: iterated closest points from many starts.

The outline is where the distance to the nearest spot reaches a few pitches, so it does not depend on the rotation of
the lattice or single missing spots; holes are filled, and only large torn-off pieces count.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_fill_holes
from scipy.ndimage import label as label_pieces
from scipy.spatial import cKDTree

from histoquilt.align._transform import Similarity, procrustes

MARGIN_PITCHES = 1.5  # the outline runs this far outside the outermost spots; gaps below twice that are closed
LEAST_PIECE = 0.03  # smallest share of the tissue of a piece in the outline
MOST_CELLS = 400  # of the raster along the longer side: bounds work for millions of spots
THINNED = 5  # every fifth point, one per pitch, is matched to all points of the other outline
TRIM = 0.8  # share of closest matches that are used; the rest may be torn off or folded
MAX_STEPS = 200


@dataclass(frozen=True)
class Outline:
    """The border of a tissue and its centre.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.align import find_outline
    >>> square = np.array([[x, y] for x in range(0, 1001, 100) for y in range(0, 1001, 100)], dtype=float)
    >>> outline = find_outline(square, pitch=100)
    >>> outline.centre.round(-1).tolist(), len(outline.points)
    ([500.0, 500.0], 249)
    """

    points: np.ndarray  # (n, 2) microns, a fifth of a pitch apart
    centre: np.ndarray  # (2,) of the filled area


@dataclass(frozen=True)
class OutlineFit:
    """One transform of an outline onto another."""

    move: Similarity
    residual: float  # mean distance of the closest matches (TRIM), microns


def find_outline(points: np.ndarray, pitch: float) -> Outline:
    """Return the outline of a section, ``points`` ``(n_spots, 2)``, as fine as its ``pitch``.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.align import find_outline
    >>> square = np.array([[x, y] for x in range(0, 1001, 100) for y in range(0, 1001, 100)], dtype=float)
    >>> find_outline(square, pitch=100).centre.round(-1).tolist()
    [500.0, 500.0]
    """
    from skimage.measure import find_contours

    span = np.ptp(points, axis=0).max()
    pitch = max(pitch, 2 * span / MOST_CELLS)
    step, margin = pitch / 2, MARGIN_PITCHES * pitch
    start = points.min(axis=0) - margin - 2 * step
    n_x, n_y = np.ceil((points.max(axis=0) + margin + 2 * step - start) / step).astype(int) + 1
    x, y = start[0] + step * np.arange(n_x), start[1] + step * np.arange(n_y)
    grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)  # (n_x, n_y, 2)
    distance = cKDTree(points).query(grid.reshape(-1, 2), workers=-1)[0].reshape(n_x, n_y)
    inside = binary_fill_holes(distance < margin)
    pieces, n_pieces = label_pieces(inside)
    sizes = np.bincount(pieces.ravel(), minlength=n_pieces + 1)[1:]
    large = np.r_[False, sizes >= LEAST_PIECE * sizes.sum()][pieces]
    level = np.where(inside & (distance >= margin), 0.0, distance)  # a hole counts as tissue
    level[inside & ~large] = margin + step  # and a small piece does not
    contours = find_contours(level, margin)
    border = np.concatenate([_evenly(start + step * contour, pitch / THINNED) for contour in contours])
    return Outline(border, grid[large].mean(axis=0))


def _evenly(line: np.ndarray, spacing: float) -> np.ndarray:
    """Return points along a closed line, evenly spaced."""
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
    places = np.linspace(0, along[-1], max(int(along[-1] / spacing), 4), endpoint=False)
    return np.column_stack([np.interp(places, along, line[:, axis]) for axis in (0, 1)])


def fit_outlines(moving: Outline, fixed: Outline, *, n_angles: int, mirror: bool, pitch: float) -> list[OutlineFit]:
    """Fit ``moving`` to ``fixed`` from ``n_angles`` starting angles, also mirrored, and return different fits.

    The best comes first; fits that nowhere differ by more than ``pitch`` (microns) count as one.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.align import Similarity, find_outline, fit_outlines
    >>> corner = np.array([[x, y] for x in range(20) for y in range(14) if x < 8 or y < 5]) * 100.0
    >>> fixed, moving = (find_outline(points, 100) for points in (corner, Similarity.turn(0.5)(corner)))
    >>> fits = fit_outlines(moving, fixed, n_angles=8, mirror=False, pitch=100)
    >>> round(fits[0].move.angle_deg / 5) * 5  # -0.5 radians are -29 degrees
    -30
    """
    trees = cKDTree(moving.points), cKDTree(fixed.points)
    fits = []
    for mirrored in (False, True) if mirror else (False,):
        for angle in np.arange(n_angles) * 2 * np.pi / n_angles:
            turn = Similarity.turn(angle, mirrored=mirrored)
            start = Similarity(turn.matrix, fixed.centre - turn(moving.centre))
            fits.append(_closest_points(moving, fixed, trees, start, tolerance=1e-3 * pitch))
    different: list[OutlineFit] = []
    for fit in sorted(fits, key=lambda fit: fit.residual):
        moved = fit.move(moving.points)
        if all(np.linalg.norm(moved - known.move(moving.points), axis=1).max() > pitch for known in different):
            different.append(fit)
    return different


def outline_residual(move: Similarity, moving: Outline, fixed: Outline) -> float:
    """Return the mean distance between the outlines after a transform, both ways, of the closest points (TRIM).

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.align import Similarity, find_outline, outline_residual
    >>> square = np.array([[x, y] for x in range(0, 1001, 100) for y in range(0, 1001, 100)], dtype=float)
    >>> outline = find_outline(square, pitch=100)
    >>> outline_residual(Similarity.identity(), outline, outline)
    0.0
    >>> outline_residual(Similarity(np.eye(2), np.array([200.0, 0])), outline, outline) > 50
    True
    """
    return _matches(move, moving, fixed, (cKDTree(moving.points), cKDTree(fixed.points)))[2]


def _closest_points(
    moving: Outline, fixed: Outline, trees: tuple[cKDTree, cKDTree], move: Similarity, *, tolerance: float
) -> OutlineFit:
    """Iterate: match points to the closest of the other outline, both ways, and fit the best matches."""
    for _ in range(MAX_STEPS):
        source, target, residual = _matches(move, moving, fixed, trees)
        before, move = move, procrustes(source, target, mirrored=move.mirrored)
        if np.abs(move(moving.points) - before(moving.points)).max() < tolerance:
            break
    return OutlineFit(move, residual)


def _matches(
    move: Similarity, moving: Outline, fixed: Outline, trees: tuple[cKDTree, cKDTree]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the closest matches (TRIM) as points of ``moving`` and of ``fixed``, and their mean distance."""
    from_moving, from_fixed = moving.points[::THINNED], fixed.points[::THINNED]
    to_fixed, nearest_fixed = trees[1].query(move(from_moving))
    to_moving, nearest_moving = trees[0].query((from_fixed - move.shift) @ move.matrix)  # moved back
    distance = np.concatenate([to_fixed, to_moving])
    best = np.argsort(distance, kind="stable")[: max(3, int(TRIM * len(distance)))]
    source = np.concatenate([from_moving, moving.points[nearest_moving]])[best]
    target = np.concatenate([fixed.points[nearest_fixed], from_fixed])[best]
    return source, target, float(distance[best].mean())
