"""Chunks of spots, so that memory does not grow with their number."""

from collections.abc import Iterator

_CHUNK_VALUES = 2**22  # of one dense chunk: 16 MB as float32, of which a few copies exist at a time


def row_chunks(n_spots: int, n_columns: int) -> Iterator[slice]:
    """Yield slices that cover all spots, in order; ``n_columns`` is the width of the dense array of a chunk.

    Examples
    --------
    >>> from histoquilt.study import row_chunks
    >>> [(rows.start, rows.stop) for rows in row_chunks(1_000, 10_000)]
    [(0, 419), (419, 838), (838, 1000)]
    """
    size = max(1, _CHUNK_VALUES // max(n_columns, 1))
    for start in range(0, n_spots, size):
        yield slice(start, min(start + size, n_spots))
