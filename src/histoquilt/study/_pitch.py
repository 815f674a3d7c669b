"""Distance between neighbouring spots."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from histoquilt.study._coordinates import Lattice, find_lattice

_EXAMINED = 20_000  # spots; a part of a larger section shows its lattice


def spot_pitch(centres: np.ndarray) -> float:
    """Return the centre-to-centre distance of neighbouring spots.

    On a square or hexagonal lattice, also with displaced spots as in legacy ST, this is the median length of the
    lattice's links; for scattered cells, the median distance to the third nearest cell, which is close to the pitch of
    a lattice of the same density (the nearest cell is half as far).

    Parameters
    ----------
    centres
        Spot centres ``(n_spots, 2)``. Spots at one place count once.

    Returns
    -------
    Distance in the unit of ``centres``; 1 if all spots are at one place.

    Examples
    --------
    >>> x, y = np.meshgrid(np.arange(8.0), np.arange(8.0))
    >>> spot_pitch(100 * np.column_stack([x.ravel(), y.ravel()]))
    100.0
    """
    places = np.unique(centres, axis=0)
    if len(places) < 2:
        return 1.0
    lattice = lattice_of(places)
    if lattice is not None:
        return lattice.pitch
    neighbour = 3 if len(places) > 9 else 1
    asked = places[:: max(1, len(places) // _EXAMINED)]
    distance, _ = cKDTree(places).query(asked, k=[neighbour + 1])  # the first is the place itself
    return float(np.median(distance))


def lattice_of(places: np.ndarray) -> Lattice | None:
    """Return the lattice of spots at different places ``(n_spots, 2)``, or None; of a large section, that of a part.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import lattice_of
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> lattice_of(adata.obsm["spatial"])
    Lattice(kind='hexagonal', pitch=100.0)
    """
    return find_lattice(_part(places))


def nominal_pitch(record: Mapping[str, Any], measured: float) -> float:
    """Return the recorded pitch in microns, else the measured one rounded to 10.

    Examples
    --------
    >>> from histoquilt.study import nominal_pitch
    >>> nominal_pitch({}, 98.7), nominal_pitch({"pitch_um": 55}, 98.7)
    (100.0, 55.0)
    """
    return float(record.get("pitch_um") or 10 * round(measured / 10))


def nearest_distance(centres: np.ndarray) -> float:
    """Return the median distance to the nearest other place; 1 if there is only one.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.study import nearest_distance
    >>> nearest_distance(np.array([[0, 0], [3, 4], [3, 9], [3, 9]]))  # of three places, 5 apart
    5.0
    """
    places = np.unique(centres, axis=0)
    return float(np.median(cKDTree(places).query(places, k=2)[0][:, 1])) if len(places) > 1 else 1.0


def _part(places: np.ndarray) -> np.ndarray:
    """Return the places nearest to the middle one, at most ``_EXAMINED``."""
    if len(places) <= _EXAMINED:
        return places
    distance = np.abs(places - places[len(places) // 2]).max(axis=1)
    return places[np.argpartition(distance, _EXAMINED)[:_EXAMINED]]
