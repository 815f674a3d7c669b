"""When a section is so large that it is worked through in chunks of spots, and which chunks."""

from collections.abc import Iterator

LARGE_SECTION = 50_000  # spots; up to here a section is handled whole
_CHUNK_VALUES = 2**22  # of one dense chunk: 16 MB as float32, and a few copies of it are alive at a time


def by_chunks(n_spots: int) -> bool:
    """Whether sections of this many spots in all are worked through in chunks."""
    return n_spots > LARGE_SECTION


def row_chunks(n_spots: int, n_columns: int) -> Iterator[slice]:
    """Yield slices that cover all spots, in order; one slice where the section is not large.

    ``n_columns`` is the width of the dense array that a chunk will become: wider ones get fewer spots.
    """
    size = max(1, _CHUNK_VALUES // max(n_columns, 1)) if by_chunks(n_spots) else max(n_spots, 1)
    for start in range(0, n_spots, size):
        yield slice(start, min(start + size, n_spots))
