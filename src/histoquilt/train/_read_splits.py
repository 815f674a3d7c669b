"""Folds of a user, read from a table."""

from pathlib import Path

import pandas as pd

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
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skipinitialspace=True)
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} could not be read as a table: {' '.join(str(error).split())}.") from error
    missing = [name for name in _COLUMNS if name not in table]
    if missing or table.empty:
        raise ValueError(
            f"{path}: expected the columns {listed(_COLUMNS)} with a row for each fold and section; missing: "
            f"{listed(missing) if missing else 'rows'} (found: {listed(table.columns)})."
        )
    table = table[list(_COLUMNS)].apply(lambda column: column.str.strip())
    for line, row in zip(table.index + 2, table.itertuples(index=False), strict=True):
        if not row.fold or not row.section or row.side not in SIDES:
            raise ValueError(f"{path}, line {line}: expected a fold, a section, and train or test, got {listed(row)}.")
    twice = table[table.duplicated([Keys.FOLD, Keys.SECTION])]
    if len(twice):
        first = twice.iloc[0]
        raise ValueError(f"{path}: fold {first['fold']!r} names the section {first['section']!r} twice.")
    splits = []
    for fold, rows in table.groupby(Keys.FOLD, sort=False):
        train, test = (rows.loc[rows["side"] == side, Keys.SECTION].tolist() for side in SIDES)
        splits.append(Split(str(fold), train, test, optimistic))
    return splits
