"""Spot positions of Visium: ``tissue_positions`` as written by Space Ranger or saved again by other programs."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

from histoquilt._base import listed
from histoquilt.io._files import CUT_OFF, check_unique, read_delimited, read_parquet

_COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
# the names of the same columns in Seurat
_OTHER_NAMES = {
    "barcodes": "barcode",
    **dict(zip(("tissue", "row", "col", "imagerow", "imagecol"), _COLUMNS[1:], strict=True)),
}
_TRUTH = {"true": "1", "false": "0", "t": "1", "f": "0", "yes": "1", "no": "0"}
_SUFFIX = r"-\d+$"  # the GEM well of a barcode


def read_positions(path: Path) -> pd.DataFrame:
    """Read spot positions, indexed by barcode.

    The three forms of Space Ranger are read, with or without the row numbers that pandas and R add, and separated by
    commas, semicolons or tabs.
    """
    table = read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    missing = [column for column in _COLUMNS if column not in table]
    if missing:
        raise ValueError(
            f"{path} is not a table of Visium spot positions: it lacks {listed(missing)}; expected the columns "
            f"{', '.join(_COLUMNS)}, found {listed(table.columns)}. Copy it again from the Space Ranger output."
        )
    table = table[_COLUMNS].set_index("barcode")
    check_unique(table.index, path, "barcodes")
    numbers = table.apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=np.float64))
    if bad.any():
        rows, columns = bad.any(axis=1), table.columns[bad.any(axis=0)]
        first = table.loc[rows, columns[0]].iloc[0]
        raise ValueError(
            f"{path}: {rows.sum():,} of {len(bad):,} positions are not numbers, first: {listed(table.index[rows], 3)} "
            f"(column {columns[0]!r}, e.g. {first!r})."
        )
    return numbers


def match_barcodes(positions: pd.DataFrame, barcodes: pd.Index) -> pd.DataFrame:
    """Rename the positions as in the matrix if only one of the two has barcodes with the suffix ``-1``."""
    if barcodes.isin(positions.index).all():
        return positions
    names = positions.index.astype(str)
    plain, wanted = names.str.replace(_SUFFIX, "", regex=True), barcodes.str.replace(_SUFFIX, "", regex=True)
    # two different suffixes are two different capture areas, and every area has the same barcodes
    one_has_none = (plain == names).all() or (wanted == barcodes).all()
    if not one_has_none or plain.has_duplicates or wanted.has_duplicates or not wanted.isin(plain).all():
        return positions
    spelled = dict(zip(wanted, barcodes, strict=True))
    return positions.set_axis(pd.Index([spelled.get(name, name) for name in plain], name=positions.index.name))


def _read_text(path: Path) -> pd.DataFrame:
    """Read the table as text, with named columns."""
    separator = _separator(path)
    cells = read_delimited(path, sep=separator, header=None, dtype=str, encoding="utf-8-sig")
    table = _named(cells)
    for column in table.columns.intersection(_COLUMNS):
        table[column] = table[column].str.strip()
    if "in_tissue" in table:
        table["in_tissue"] = table["in_tissue"].str.lower().map(_TRUTH).fillna(table["in_tissue"])
    if separator == ";":  # spreadsheets that separate by semicolons write decimals with a comma
        for column in table.columns.intersection(_COLUMNS[1:]):
            table[column] = table[column].str.replace(",", ".", regex=False)
    return table


def _separator(path: Path) -> str:
    """Return the separator of the first line."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            line = stream.readline(4096)
    except CUT_OFF:
        return ","  # reading the table raises the error
    return max(",;\t", key=lambda separator: line.count(separator.encode()))


def _named(cells: pd.DataFrame) -> pd.DataFrame:
    """Name the columns by the first line, or as Space Ranger does if that has no names."""
    first = [_OTHER_NAMES.get(name, name) for name in cells.iloc[0].fillna("").str.strip().str.lower()]
    if "barcode" not in first and "in_tissue" in first and first[0] in ("", "unnamed: 0", "index"):
        first[0] = "barcode"  # the barcodes were the row names
    if "barcode" in first:
        return cells.iloc[1:].set_axis(first, axis=1)
    if first[1:] == [str(number) for number in range(len(first) - 1)]:  # pandas numbers columns without names
        cells = cells.iloc[1:]
    if cells.shape[1] == len(_COLUMNS) + 1 and cells[0].str.fullmatch(r"\d+").all():  # and rows
        cells = cells.iloc[:, 1:]
    if cells.shape[1] == len(_COLUMNS):
        return cells.set_axis(_COLUMNS, axis=1)
    return cells.set_axis(first, axis=1)
