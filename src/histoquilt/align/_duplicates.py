"""Spots in the overlap of two pieces of a tissue, which were measured twice."""

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from histoquilt.study import spot_pitch


def match_duplicate_spots(microns: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Return for each spot its own row, or that of the spot of an earlier piece at the same place, ``(n_spots,)`` int.

    Spots are at the same place if they are mutual nearest neighbours within half a pitch. Spots with their own row
    cover the tissue once. Centres are ``(n_spots, 2)`` in the common frame of the pieces, whose names appear in order.

    Pitch 10, three spots each; the second piece begins near where the first ends.

    >>> x = np.array([0.0, 10, 20, 21, 31, 41])
    >>> match_duplicate_spots(np.stack([x, 0 * x], axis=1), np.repeat(["a", "b"], 3)).tolist()
    [0, 1, 2, 2, 4, 5]
    """
    codes, names = pd.factorize(piece)
    rows_of = [np.flatnonzero(codes == code) for code in range(len(names))]
    near = min(spot_pitch(microns[rows]) for rows in rows_of) / 2
    source = np.arange(len(microns))
    kept = rows_of[0]
    for rows in rows_of[1:]:
        distance, forth = cKDTree(microns[kept]).query(microns[rows])
        back = cKDTree(microns[rows]).query(microns[kept])[1]
        twin = (distance <= near) & (back[forth] == np.arange(len(rows)))
        source[rows[twin]] = kept[forth[twin]]
        kept = np.concatenate([kept, rows[~twin]])
    return source
