"""Kind of lattice of spots."""

import numpy as np
from scipy.spatial import cKDTree

_ASKED_ABOVE = 50_000  # spots examined, if there are more


def lattice_neighbors(coordinates: np.ndarray) -> int | None:
    """Return 6 for a hexagonal lattice (Visium), 4 for a square one (legacy ST), else ``None``.

    On a lattice the nearest spot is equally far from nearly every spot, unlike for scattered cells. On squares at most
    4 spots are within 1.25 pitches, on hexagons more, also in small and ragged sections.

    Parameters
    ----------
    coordinates
        ``(n_spots, 2)``, pixels or microns. Visium's array coordinates (a row is 1.73 columns high) are not recognised
        as hexagons.

    Examples
    --------
    >>> import numpy as np
    >>> lattice_neighbors(np.array([[x, y] for x in range(5) for y in range(5)], dtype=float))
    4
    """
    coordinates = np.unique(coordinates, axis=0)  # without doubles at distance 0
    if len(coordinates) < 10:
        return None
    asked = coordinates
    if len(coordinates) > _ASKED_ABOVE:
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
