"""Spot positions of Visium: ``tissue_positions``, as Space Ranger writes it and as other programs save it again."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

from histoquilt._base import listed, require
from histoquilt.io._files import CUT_OFF, read_delimited

COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]
# the names that Seurat gives to the same columns
_OTHER_NAMES = {
    "barcodes": "barcode",
    "tissue": "in_tissue",
    "row": "array_row",
    "col": "array_col",
    "imagerow": "pxl_row_in_fullres",
    "imagecol": "pxl_col_in_fullres",
}
_TRUTH = {"true": "1", "false": "0", "t": "1", "f": "0", "yes": "1", "no": "0"}
_SUFFIX = r"-\d+$"  # the GEM well behind a barcode


def read_positions(path: Path) -> pd.DataFrame:
    """Read spot positions, indexed by barcode.

    Read are the three forms of Space Ranger, with or without the row numbers that pandas and R put before them, and
    separated by commas, semicolons or tabs.
    """
    table = _read_parquet(path) if path.suffix == ".parquet" else _read_text(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise ValueError(
            f"{path} is not a table of Visium spot positions: it lacks {listed(missing)}; expected the columns "
            f"{', '.join(COLUMNS)}, found {listed(table.columns)}. Copy it again from the Space Ranger output."
        )
    table = table[COLUMNS].set_index("barcode")
    repeated = table.index[table.index.duplicated()].unique()
    if len(repeated):
        raise ValueError(f"{path} lists barcodes more than once: {listed(repeated, 3)}. Each spot has one position.")
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
    """Name the positions as the matrix does, where only one of the two has the suffix ``-1`` behind its barcodes."""
    if barcodes.isin(positions.index).all():
        return positions
    listed = positions.index.astype(str)
    plain, wanted = listed.str.replace(_SUFFIX, "", regex=True), barcodes.str.replace(_SUFFIX, "", regex=True)
    # two different suffixes are two different capture areas, and every area has the same barcodes
    one_has_none = (plain == listed).all() or (wanted == barcodes).all()
    if not one_has_none or plain.has_duplicates or wanted.has_duplicates or not wanted.isin(plain).all():
        return positions
    spelled = dict(zip(wanted, barcodes, strict=True))
    return positions.set_axis(pd.Index([spelled.get(name, name) for name in plain], name=positions.index.name))


def _read_parquet(path: Path) -> pd.DataFrame:
    require("pyarrow", extra="spatial", purpose=f"Reading {path.name}")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise ValueError(f"{path} could not be read as a parquet table (truncated?): {error}.") from error


def _read_text(path: Path) -> pd.DataFrame:
    """Return the table with its columns named; every cell is text."""
    separator = _separator(path)
    cells = read_delimited(path, sep=separator, header=None, dtype=str, encoding="utf-8-sig")
    table = _named(cells)
    for column in table.columns.intersection(COLUMNS):
        table[column] = table[column].str.strip()
    if "in_tissue" in table:
        said = table["in_tissue"].str.lower()
        table["in_tissue"] = said.map(_TRUTH).fillna(table["in_tissue"])
    if separator == ";":  # where a spreadsheet separates by semicolons, it writes decimals with a comma
        for column in table.columns.intersection(COLUMNS[1:]):
            table[column] = table[column].str.replace(",", ".", regex=False)
    return table


def _separator(path: Path) -> str:
    """Return the separator of the first line."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            line = stream.readline(4096)
    except CUT_OFF:
        return ","  # reading the table says that the file is cut off
    return max(",;\t", key=lambda separator: line.count(separator.encode()))


def _named(cells: pd.DataFrame) -> pd.DataFrame:
    """Take the names of the columns from the first line, or give Space Ranger's where it has none."""
    first = [_OTHER_NAMES.get(name, name) for name in cells.iloc[0].fillna("").str.strip().str.lower()]
    if "barcode" not in first and "in_tissue" in first and first[0] in ("", "unnamed: 0", "index"):
        first[0] = "barcode"  # the barcodes were the row names
    if "barcode" in first:
        return cells.iloc[1:].set_axis(first, axis=1)
    if first[1:] == [str(number) for number in range(len(first) - 1)]:  # pandas numbers columns without names
        cells = cells.iloc[1:]
    if cells.shape[1] == len(COLUMNS) + 1 and cells[0].str.fullmatch(r"\d+").all():  # and rows
        cells = cells.iloc[:, 1:]
    if cells.shape[1] == len(COLUMNS):
        return cells.set_axis(COLUMNS, axis=1)
    return cells.set_axis(first, axis=1)
