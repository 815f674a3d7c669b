"""Folds of a user, read from a table."""

import csv
import io
from collections import Counter
from pathlib import Path

from histoquilt._base import Keys, listed
from histoquilt.train._splits import Split

SIDES = ("train", "test")
_COLUMNS = (Keys.FOLD, Keys.SECTION, "side")


def read_splits(path: str | Path, *, optimistic: bool = False) -> list[Split]:
    r"""Read folds from a table with one row for each fold and section.

    Parameters
    ----------
    path
        Path of a CSV file with the columns ``fold``, ``section`` and ``side`` (``train`` or ``test``). A section that a
        fold does not name is on neither side.
    optimistic
        If true, a fold may have the same patient or slide on both sides.

    Returns
    -------
    One split per fold, in the order of the table. Their sections are not checked here (:func:`check_split`).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The table cannot be read, lacks a column, has an empty cell or another side, or names a section twice.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "splits.csv"
    >>> _ = path.write_text("fold,section,side\n1,s1,train\n1,s2,train\n1,s3,test\n")
    >>> read_splits(path)
    [Split(fold='1', train=['s1', 's2'], test=['s3'], optimistic=False)]
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file of splits {path}. Check the path.")
    rows = _rows(path)
    twice = [pair for pair, n in Counter((fold, section) for fold, section, _ in rows).items() if n > 1]
    if twice:
        raise ValueError(f"{path}: fold {twice[0][0]!r} names the section {twice[0][1]!r} twice.")
    splits = []
    for fold in dict.fromkeys(fold for fold, *_ in rows):
        train, test = ([section for one, section, of in rows if one == fold and of == side] for side in SIDES)
        splits.append(Split(fold, train, test, optimistic))
    return splits


def _rows(path: Path) -> list[tuple[str, str, str]]:
    """Return fold, section and side of each row of a table, checked."""
    try:
        reader = csv.reader(
            io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), skipinitialspace=True, strict=True
        )
        cells = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} could not be read as a table: {' '.join(str(error).split())}.") from error
    if not cells:
        raise ValueError(f"{path} could not be read as a table: it is empty.")
    header = cells[0][1]
    missing = [name for name in _COLUMNS if name not in header]
    if missing or len(cells) < 2:
        raise ValueError(
            f"{path}: expected the columns {listed(_COLUMNS)} with a row for each fold and section; missing: "
            f"{listed(missing) if missing else 'rows'} (found: {listed(header)})."
        )
    if any(header.count(name) > 1 for name in _COLUMNS):
        raise ValueError(f"{path} names a column twice (found: {listed(header)}). Remove one of them.")
    found = []
    for line, row in cells[1:]:
        named = dict(zip(header, row, strict=False))
        fold, section, side = (named.get(name, "") for name in _COLUMNS)
        if not fold or not section or side not in SIDES or any(row[len(header) :]):
            raise ValueError(f"{path}, line {line}: expected a fold, a section, and train or test, got {listed(row)}.")
        found.append((fold, section, side))
    return found
