"""Options for reading sections."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReadOptions:
    """Options of all readers of sections; each applies to the formats that have a use for it.

    Attributes
    ----------
    keep_all_spots
        Keep array spots that do not lie on tissue: ``obs["in_tissue"]`` is 0, or a Visium folder says so.
    spatial_columns
        Columns of ``obs`` that hold x and y, for files without ``obsm["spatial"]``.
    table
        Name of the table to take from a SpatialData store that holds several.
    counts_file
        Name of the count matrix to take from a folder that holds several, relative to the folder.
    one_section
        Declaration that every file is one tissue, whatever its columns suggest.
    bin_size
        Size in microns of the bins of Visium HD, or ``"cells"`` for its segmented cells.

    Examples
    --------
    >>> from histoquilt._base import ReadOptions
    >>> options = ReadOptions(spatial_columns=("pxl_col", "pxl_row"))
    >>> options.spatial_columns, options.keep_all_spots
    (('pxl_col', 'pxl_row'), False)
    """

    keep_all_spots: bool = False
    spatial_columns: tuple[str, str] | None = None
    table: str | None = None
    counts_file: str | None = None
    one_section: bool = False
    bin_size: int | str | None = None


DEFAULT_READ_OPTIONS = ReadOptions()


def is_samples_table(path: Path) -> bool:
    """Whether an input is a ``samples.csv``; sections are never read from comma-separated tables.

    Examples
    --------
    >>> from pathlib import Path
    >>> from histoquilt._base import is_samples_table
    >>> is_samples_table(Path("samples.csv")), is_samples_table(Path("s1.h5ad"))
    (True, False)
    """
    return path.suffix.lower() == ".csv" and not path.is_dir()
