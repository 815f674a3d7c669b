"""What kind of lattice spots lie on."""

import numpy as np
from scipy.spatial import cKDTree


def lattice_neighbors(coordinates: np.ndarray) -> int | None:
    """Return 6 for a hexagonal lattice (Visium), 4 for a square one (legacy ST), ``None`` for anything else.

    A spot of a lattice has 6 (or exactly 4) others within 1.25 times its nearest distance; most spots must agree, since
    those at the border have fewer. Legacy ST spots that were measured rather than counted off jitter by some percent.

    Parameters
    ----------
    coordinates
        ``(n_spots, 2)``, any unit.
    """
    if len(coordinates) < 10:
        return None
    distances, _ = cKDTree(coordinates).query(coordinates, k=7)
    nearest = np.median(distances[:, 1])
    if nearest == 0:
        return None
    n_near = (distances[:, 1:] <= 1.25 * nearest).sum(axis=1)
    for n_neighbors in (6, 4):
        if np.mean(n_near == n_neighbors) > 0.5:
            return n_neighbors
    return None
