"""Tiles of neighbouring spots, and the rings of spots around them that a graph network needs."""

import numpy as np
from scipy.sparse import csr_matrix


def spatial_tiles(centres: np.ndarray, tile_spots: int = 4096, *, sections: np.ndarray | None = None) -> np.ndarray:
    """Divide spots into compact tiles of nearly equal size, by repeated halving along the longer side.

    Parameters
    ----------
    centres
        ``(n_spots, n_dimensions)``, any unit.
    tile_spots
        Maximum number of spots in a tile.
    sections
        ``(n_spots,)`` section of every spot; tiles do not span sections.

    Returns
    -------
    ``(n_spots,)`` int32: the tile of every spot, 0 to ``n_tiles - 1``. Tiles with close numbers are close.

    Raises
    ------
    ValueError
        ``tile_spots`` is less than 1, or ``sections`` has another length.

    Examples
    --------
    >>> import numpy as np
    >>> tile = spatial_tiles(np.random.default_rng(0).random((100, 2)), tile_spots=30)
    >>> np.bincount(tile).tolist()
    [25, 25, 25, 25]
    """
    if tile_spots < 1:
        raise ValueError(f"tile_spots must be at least 1, got {tile_spots!r}.")
    if sections is not None and len(sections) != len(centres):
        raise ValueError(f"sections names {len(sections):,} spots, centres has {len(centres):,}; give one per spot.")
    tile = np.zeros(len(centres), np.int32)
    n_tiles = 0
    codes = np.zeros(len(centres), int) if sections is None else np.unique(sections, return_inverse=True)[1]
    for code in range(codes.max(initial=-1) + 1):
        for rows in _halved(np.asarray(centres), np.flatnonzero(codes == code), tile_spots):
            tile[rows] = n_tiles
            n_tiles += 1
    return tile


def _halved(centres: np.ndarray, rows: np.ndarray, tile_spots: int) -> list[np.ndarray]:
    """Split the rows until each part is small enough; consecutive parts are close."""
    n_parts = -(-len(rows) // tile_spots)
    if n_parts <= 1:
        return [rows]
    own = centres[rows]
    along = own[:, np.ptp(own, axis=0).argmax()]
    middle = len(rows) * (n_parts // 2) // n_parts
    split = np.argpartition(along, middle)
    return [part for half in (split[:middle], split[middle:]) for part in _halved(centres, rows[half], tile_spots)]


def halo(adjacency: csr_matrix, core: np.ndarray, n_hops: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the spots within some hops of core spots, ring by ring.

    Parameters
    ----------
    adjacency
        ``(n_spots, n_spots)`` CSR, symmetric.
    core
        ``(n_core,)`` rows, each once.
    n_hops
        Number of rings.

    Returns
    -------
    rows : ``(n_rows,)`` int64, the core as given, then the spots one hop away (rising), two hops away ...
    ends : ``(n_hops + 1,)`` int64, ``rows[:ends[h]]`` lie within ``h`` hops.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.gr import radius_adjacency
    >>> line = radius_adjacency(np.array([[x, 0] for x in range(5)]), radius=1)
    >>> rows, ends = halo(line, np.array([0]), n_hops=2)
    >>> rows.tolist(), ends.tolist()
    ([0, 1, 2], [1, 2, 3])
    """
    seen = np.zeros(adjacency.shape[0], bool)
    seen[core] = True
    rings = [np.asarray(core, dtype=np.int64)]
    for _ in range(n_hops):
        _, around = entries_of(adjacency, rings[-1])
        ring = np.unique(around[~seen[around]]).astype(np.int64)
        seen[ring] = True
        rings.append(ring)
    return np.concatenate(rings), np.cumsum([len(ring) for ring in rings])


def among(adjacency: csr_matrix, rows: np.ndarray, n_inner: int) -> csr_matrix:
    """Return the adjacency of the first ``n_inner`` of ``rows``, ``(n_inner, len(rows))``, numbered as ``rows``.

    All neighbours of the inner rows must be among ``rows``, as in a :func:`halo` without its outermost ring.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.gr import among, halo, radius_adjacency
    >>> line = radius_adjacency(np.array([[x, 0] for x in range(5)]), radius=1)
    >>> rows, ends = halo(line, np.array([0, 1]), n_hops=1)
    >>> rows.tolist(), among(line, rows, int(ends[0])).toarray().tolist()
    ([0, 1, 2], [[0, 1, 0], [1, 0, 1]])
    """
    indptr, neighbours = entries_of(adjacency, rows[:n_inner])
    position = np.empty(adjacency.shape[0], np.int32)  # only positions of rows are written and read
    position[rows] = np.arange(len(rows), dtype=np.int32)
    local = csr_matrix((np.ones(len(neighbours), np.int8), position[neighbours], indptr), (n_inner, len(rows)))
    local.sort_indices()
    return local


def entries_of(adjacency: csr_matrix, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``indptr`` and ``indices`` of some rows, in time proportional to their entries."""
    starts = adjacency.indptr[rows].astype(np.int64)
    lengths = adjacency.indptr[np.asarray(rows) + 1] - starts
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return indptr, adjacency.indices[np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)]
