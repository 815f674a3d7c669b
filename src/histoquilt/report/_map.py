"""Map of one section on a page: spots, positions and image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData

from histoquilt.draw import microns_per_unit, tissue_image
from histoquilt.metrics import z_order
from histoquilt.report._encode import image_uri, packed
from histoquilt.study import spot_pitch

_GRID = 60_000  # longer side of a map; positions are stored as uint16


def fair_shares(sizes: Sequence[int], total: int) -> list[int]:
    """Share a total among sections: small ones get their size, large ones the same number each.

    >>> fair_shares([500, 10, 90], 300)
    [200, 10, 90]
    """
    shares = [0] * len(sizes)
    smallest_first = sorted(range(len(sizes)), key=sizes.__getitem__)
    for done, i in enumerate(smallest_first):
        shares[i] = min(sizes[i], max(total // (len(sizes) - done), 1))
        total -= shares[i]
    return shares


def even_sample(rows: np.ndarray, points: np.ndarray, limit: int) -> np.ndarray:
    """Choose rows at positions ``(n_rows, 2)`` that cover the tissue evenly: equal steps along a Morton walk."""
    if len(rows) <= limit:
        return rows
    every = np.linspace(0, len(rows) - 1, limit).round().astype(int)
    return np.sort(rows[z_order(points)[every]])


def even_samples(rows_of: Mapping[str, np.ndarray], points: np.ndarray, limit: int) -> dict[str, np.ndarray]:
    """Return section name -> rows to draw, at most ``limit`` in all."""
    limits = fair_shares([len(rows) for rows in rows_of.values()], limit)
    pairs = zip(rows_of.items(), limits, strict=True)
    return {name: even_sample(rows, points[rows], share) for (name, rows), share in pairs}


def spot_names(adata: AnnData, rows: np.ndarray) -> str:
    """Return names of spots, one per line."""
    return "\n".join(" ".join(str(name).split()) for name in adata.obs_names[rows])


def section_map(adata: AnnData, all_points: np.ndarray, points: np.ndarray, section_key: str | None) -> dict[str, Any]:
    """Return the positions of one section on a grid, its image and its scale.

    ``all_points`` ``(n_spots, 2)`` are those of the whole section, for pitch and frame; ``points`` are drawn.
    """
    low, high = map_frame(all_points)
    unit = _unit(low, high)
    image = tissue_image(adata, library_key=section_key)
    cut = image_uri(image, (*low, *high)) if image is not None else None
    um_per_unit = microns_per_unit(adata, library_key=section_key)
    if cut is not None:
        left, top, width, height = cut[1]
        box = [(left - low[0]) * unit, (top - low[1]) * unit, width * unit, height * unit]
    return {
        **spot_map(all_points, points, low, high),
        "image": None if cut is None else {"src": cut[0], "box": [round(float(edge), 1) for edge in box]},
        "um": None if um_per_unit is None else um_per_unit / unit,
    }


def spot_map(all_points: np.ndarray, points: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """Return the positions of the drawn ``points`` in the frame from ``low`` to ``high``, and their pitch."""
    # the spots of a sample are drawn larger and slightly overlapping, so that they cover the same tissue
    sampled = len(all_points) / len(points)
    drawn_pitch = spot_pitch(all_points) * (1.3 * sampled**0.5 if sampled > 1 else 1.0)
    unit = _unit(low, high)
    place = np.rint((points - low) * unit)
    return {
        "x": packed(place[:, 0], "u2"),
        "y": packed(place[:, 1], "u2"),
        "size": [round(side) for side in (high - low) * unit],
        "pitch": round(drawn_pitch * unit, 2),
    }


def map_frame(*sections: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest ``(x, y)`` of a map of one or several sections, with a margin."""
    margin = 1.5 * max(spot_pitch(points) for points in sections)
    low = np.min([points.min(axis=0) for points in sections], axis=0)
    high = np.max([points.max(axis=0) for points in sections], axis=0)
    return low - margin, high + margin


def _unit(low: np.ndarray, high: np.ndarray) -> float:
    """Return whole numbers of the grid per coordinate unit."""
    return _GRID / float((high - low).max())
