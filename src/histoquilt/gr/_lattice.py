"""What kind of lattice spots lie on."""

import numpy as np
from scipy.spatial import cKDTree

_ASKED_ABOVE = 50_000  # spots; of more of them so many are asked for their neighbours


def lattice_neighbors(coordinates: np.ndarray) -> int | None:
    """Return 6 for a hexagonal lattice (Visium), 4 for a square one (legacy ST), ``None`` for anything else.

    On a lattice the nearest spot is equally far from nearly every spot; scattered cells differ in that. The number
    of spots within 1.25 pitches then tells the two lattices apart: on squares it is never above 4, on hexagons it is,
    also in small and ragged sections where most spots lie at a border. Legacy ST spots that were measured rather than
    counted off jitter by some percent.

    Parameters
    ----------
    coordinates
        ``(n_spots, 2)``, pixels or microns. Visium's array coordinates are squeezed (a row is 1.73 columns high) and
        are not taken for hexagons.
    """
    coordinates = np.unique(coordinates, axis=0)  # a spot is no neighbour of its own double
    if len(coordinates) < 10:
        return None
    asked = coordinates
    if len(coordinates) > _ASKED_ABOVE:  # all spots stay to be found
        asked = coordinates[np.linspace(0, len(coordinates) - 1, _ASKED_ABOVE).astype(int)]
    distances, _ = cKDTree(coordinates).query(asked, k=7)
    pitch = np.median(distances[:, 1])
    if np.mean(np.abs(distances[:, 1] / pitch - 1) < 0.15) < 0.8:
        return None
    n_near = (distances[:, 1:] <= 1.25 * pitch).sum(axis=1)
    for n_neighbors, is_inner in ((6, n_near > 4), (4, n_near == 4)):
        if np.mean(is_inner) > 0.2:
            return n_neighbors
    return None
