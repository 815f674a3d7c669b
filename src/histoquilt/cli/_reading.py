"""Options of reading sections, as the commands take them."""

from histoquilt._base import ReadOptions
from histoquilt.cli._errors import CommandError


def parse_read_options(
    keep_all_spots: bool,
    spatial_columns: str | None,
    table: str | None,
    counts_file: str | None,
    one_section: bool = False,
) -> ReadOptions:
    """Return the options of reading from the text of the command line.

    Raises
    ------
    CommandError
        ``--spatial-columns`` does not name two columns.

    Examples
    --------
    >>> parse_read_options(False, "x_um, y_um", None, None).spatial_columns
    ('x_um', 'y_um')
    """
    columns = None
    if spatial_columns is not None:
        names = [name.strip() for name in spatial_columns.split(",")]
        if len(names) != 2 or not all(names) or names[0] == names[1]:
            raise CommandError(
                f"--spatial-columns is two columns of obs, x first (array_x,array_y), got {spatial_columns!r}."
            )
        columns = (names[0], names[1])
    return ReadOptions(keep_all_spots, columns, table, counts_file, one_section)
