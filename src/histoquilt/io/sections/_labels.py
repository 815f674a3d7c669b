"""Region labels of a section: from a column of its ``obs``, or from a table as pathologists and authors publish it."""

import csv
import gzip
from pathlib import Path

import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, MissingKey, listed
from histoquilt.io._files import is_gzip, table_errors
from histoquilt.io.instruments._visium_positions import match_barcodes
from histoquilt.runtime import logger
from histoquilt.study import declare_foreign, keep_foreign

_NAMES = ("label", "labels")  # column with the labels, if a table has several and none is named
_MISSING = {"", "na", "nan", "<na>", "none"}


def is_label_file(cell: str) -> bool:
    """Return whether a cell of the column ``labels`` is meant as a path, not as a column of ``obs``."""
    return "/" in cell or "\\" in cell or cell.lower().endswith((".csv", ".tsv", ".txt", ".gz"))


def attach_labels(adata: AnnData, labels: str, *, path: Path | None, column: str | None, section: str) -> None:
    """Write the region labels of a section to ``obs["labels"]``; spots without a label are missing values.

    Parameters
    ----------
    labels
        Column of ``obs``, or name of the file as written by the user.
    path
        Path of the file, if it is one.
    column
        Column of the file with the labels.
    section
        Name of the section, by which rows of a file of several sections are selected.
    """
    if path is None:
        if labels not in adata.obs:
            raise MissingKey(labels, "adata.obs", adata.obs.columns, "Name a column of the section, or a file.")
        found = adata.obs[labels].astype(object)
    else:
        found = _labels_of_file(adata, path, column, section)
    if labels != Keys.LABELS:
        keep_foreign(adata, "obs", Keys.LABELS, warn=False)
    declare_foreign(adata, "obs", Keys.LABELS)
    text = [None if pd.isna(value) or str(value).strip().lower() in _MISSING else str(value).strip() for value in found]
    adata.obs[Keys.LABELS] = pd.Categorical(text)
    n_labelled = adata.obs[Keys.LABELS].notna().sum()
    logger.info("%s: %d of %d spots are labelled", section, n_labelled, adata.n_obs)


def _labels_of_file(adata: AnnData, path: Path, column: str | None, section: str) -> pd.Series:
    """Return the label of every spot."""
    table = _read(path, adata.obs_names)
    spots = _spot_names(table, adata.obs_names)
    if spots is None:
        raise ValueError(
            f"None of the spots of section {section!r} (named like {listed(adata.obs_names[:2])}) is in {path.name}; "
            f"its columns are {listed(table.columns)}. Are the labels of this section?"
        )
    table = _rows_of(table, section)
    spots = spots.loc[table.index]
    name = _label_column(table, spots, path, column, adata)
    found = pd.DataFrame({"label": table[name].to_numpy()}, index=pd.Index(spots.to_numpy(), name="spot"))
    found = match_barcodes(found, adata.obs_names)
    found = found[found.index.isin(adata.obs_names)]
    twice = found.index[found.index.duplicated(keep=False)]
    if len(twice):
        raise ValueError(f"{path.name} labels spots more than once: {listed(twice.unique(), 3)}.")
    if found.empty:
        raise ValueError(f"{path.name} holds no spot of section {section!r}. Are the labels of this section?")
    return found["label"].reindex(adata.obs_names)


def _read(path: Path, spots: pd.Index) -> pd.DataFrame:
    """Read all cells as text; columns are numbered if the first line is a spot, not a header."""
    with table_errors(path):
        is_packed = path.suffix == ".gz" and is_gzip(path)
        opened = gzip.open(path, "rt", encoding="utf-8-sig", newline="") if is_packed else None
        with opened or path.open(encoding="utf-8-sig", newline="") as stream:
            lines = stream.read().splitlines()
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise ValueError(f"{path} is empty; expected spots with their labels.")
    separator = next((mark for mark in "\t,;" if mark in lines[0]), " ")
    rows = list(csv.reader(lines, delimiter=separator, skipinitialspace=separator == " "))
    known = set(spots) | {name.rpartition("-")[0] for name in spots}
    if known & set(rows[0]):
        header, body = [str(number) for number in range(len(rows[0]))], rows
    else:
        header, body = rows[0], rows[1:]
    if body and len(header) == len(body[0]) - 1:  # R leaves the corner out
        header = ["", *header]
    ragged = [number for number, row in enumerate(body) if len(row) != len(header)]
    if ragged:
        line = ragged[0] + 1 + len(rows) - len(body)
        raise ValueError(
            f"{path.name}: line {line} has {len(body[ragged[0]])} cells, and {len(header)} are expected. Is it "
            "truncated?"
        )
    return pd.DataFrame(body, columns=header, dtype=object)


def _spot_names(table: pd.DataFrame, spots: pd.Index) -> pd.Series | None:
    """Return the spot of every row: the column that names spots, or the rounded array position of legacy ST."""
    bare = {name.rpartition("-")[0] for name in spots if "-" in name}
    share = {at: table.iloc[:, at].isin(set(spots) | bare).mean() for at in range(table.shape[1])}
    best = max(share, key=share.__getitem__)
    if share[best] > 0:
        return table.iloc[:, best]
    if not {"x", "y"} <= set(table.columns):
        return None
    x, y = (pd.to_numeric(table[name], errors="coerce").round() for name in ("x", "y"))
    names = pd.Series([f"{left:.0f}x{right:.0f}" for left, right in zip(x, y, strict=True)], index=table.index)
    return names if names.isin(set(spots)).any() else None


def _rows_of(table: pd.DataFrame, section: str) -> pd.DataFrame:
    """Return the rows of a section, if a column of the table names sections."""
    for at in range(table.shape[1]):
        rows = table[table.iloc[:, at] == section]
        if len(rows):
            return rows
    return table


def _label_column(table: pd.DataFrame, spots: pd.Series, path: Path, column: str | None, adata: AnnData) -> str:
    """Return the column with the labels: the one named, the only one, or one called ``label``."""
    if column is not None:
        if column not in table:
            raise MissingKey(column, path.name, table.columns, "Correct the column label_column of samples.csv.")
        return column
    at_others = [at for at in range(table.shape[1]) if not table.iloc[:, at].equals(spots)]
    others = [table.columns[at] for at in at_others]
    varied = [table.columns[at] for at in at_others if len(set(table.iloc[:, at])) > 1]
    candidates = [
        [name for name in varied if name.lower() in _NAMES],
        [name for name in others if name.lower() in _NAMES],  # a section may be of one region
        varied,
        others,
    ]
    chosen = next((names for names in candidates if len(names) == 1), None)
    if chosen is None:
        raise ValueError(
            f"{path.name} has {len(others)} columns besides the spots ({listed(others)}), and none is called 'label'. "
            "Name the one with the labels in the column label_column of samples.csv."
        )
    return str(chosen[0])
