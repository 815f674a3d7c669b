"""A walk over the tissue that keeps neighbours near each other: what follows in it lies together."""

import numpy as np

_BITS = 16  # cells a side: 65,536


def z_order(points: np.ndarray) -> np.ndarray:
    """Return row numbers along a Z-shaped (Morton) walk, ``(n_points,)``, always the same.

    Parameters
    ----------
    points
        ``(n_points, >= 2)`` in any unit, finite; the first two coordinates count. Points of one cell (a 65,536th of the
        longer side) keep their order, and where all lie in one place, all do.
    """
    plane = points[:, :2]
    low, span = plane.min(axis=0), np.ptp(plane, axis=0).max()
    cell = ((plane - low) * (2**_BITS - 1) / (span or 1.0)).astype(np.uint64)
    walk = np.zeros(len(points), dtype=np.uint64)
    for bit in range(_BITS):
        for axis in (0, 1):
            walk |= ((cell[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(2 * bit + axis)
    return np.argsort(walk, kind="stable")
