"""Z-shaped (Morton) order of points, in which neighbours are near each other."""

import numpy as np

_BITS = 16  # 65,536 cells along the longer side


def z_order(points: np.ndarray) -> np.ndarray:
    """Return row numbers along a Z-shaped (Morton) walk, int64 ``(n_points,)``.

    Parameters
    ----------
    points
        Finite coordinates in any unit, ``(n_points, >= 2)``; only the first two columns are used. Points of one cell (a
        65,536th of the longer side) keep their order.

    Examples
    --------
    >>> import numpy as np
    >>> z_order(np.array([[0, 0], [9, 9], [1, 0], [9, 8]])).tolist()
    [0, 2, 3, 1]
    """
    plane = points[:, :2]
    low, span = plane.min(axis=0), np.ptp(plane, axis=0).max()
    cell = ((plane - low) * (2**_BITS - 1) / (span or 1.0)).astype(np.uint64)
    walk = np.zeros(len(points), dtype=np.uint64)
    for bit in range(_BITS):
        for axis in (0, 1):
            walk |= ((cell[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(2 * bit + axis)
    return np.argsort(walk, kind="stable")
