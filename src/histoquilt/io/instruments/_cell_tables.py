"""Pairs of tables that imaging platforms write: counts of every cell, and a row about every cell."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix, vstack

from histoquilt._base import argument, listed
from histoquilt.io._controls import set_controls_aside
from histoquilt.io._files import contents, read_delimited, table_errors
from histoquilt.runtime import logger, warn_user
from histoquilt.study import annotate_genes, check_adata, declare_scale, quiet_duplicates

_CHUNK_VALUES = 20_000_000  # read at a time as a dense table: 80 MB
_ENDINGS = (".csv", ".csv.gz")


@dataclass(frozen=True)
class CellCounts:
    """A table of counts as read: one row a cell."""

    ids: pd.DataFrame  # the columns that name the cells, as text
    matrix: csr_matrix  # float32, (n_cells, n_genes)
    genes: list[str]


def find_pair(folder: Path, label: str, kinds: tuple[str, str], counts_file: str | None = None) -> tuple[Path, Path]:
    """Return the tables of counts and of cells in a folder, whatever stands before and behind their names.

    Raises
    ------
    FileNotFoundError
        One of them is missing, or there is no ``counts_file``.
    ValueError
        There are several, and none was named.
    """
    counts, cells = (_tables_of(folder, kind) for kind in kinds)
    if counts_file is not None:
        named = (folder / counts_file).name
        counts = {key: path for key, path in counts.items() if path.name == named}
        if not counts:
            raise FileNotFoundError(
                f"{folder} has no {counts_file!r} ({argument('counts_file')}). It holds: {contents(folder)}."
            )
    for found, kind in ((counts, kinds[0]), (cells, kinds[1])):
        if not found:
            raise FileNotFoundError(
                f"{folder} is no complete {label} output: it has no {kind}.csv or .csv.gz, with or without a name "
                f"before it. It holds: {contents(folder)}."
            )
    if len(counts) > 1:
        raise ValueError(
            f"{folder} holds several {label} outputs: {listed(path.name for path in counts.values())}. Choose one "
            f"with {argument('counts_file')}, or give each section a folder of its own."
        )
    [(key, path)] = counts.items()
    if key not in cells and len(cells) > 1:
        raise ValueError(
            f"{folder} holds several tables of cells ({listed(item.name for item in cells.values())}), and none is "
            f"named like {path.name}. Leave the one that belongs to it."
        )
    return path, cells.get(key) or next(iter(cells.values()))


def _tables_of(folder: Path, kind: str) -> dict[tuple[str, str], Path]:
    """Return the tables of a kind by what stands before and behind it in their names; unpacked before packed."""
    found: dict[tuple[str, str], Path] = {}
    for ending in _ENDINGS:
        for path in sorted(folder.glob(f"*{kind}*{ending}")):
            before, behind = path.name.removesuffix(ending).rsplit(kind, 1)
            if path.is_file() and not path.name.startswith("."):
                found.setdefault((before, behind), path)
    return found


def header(path: Path) -> list[str]:
    """Return the column names of a table, as written."""
    line = read_delimited(path, sep=",", header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    return [str(name) for name in line.iloc[0]]


def read_cell_counts(path: Path, id_columns: Iterable[str]) -> CellCounts:
    """Read counts by chunks, which a table of many cells and genes would not allow as a whole.

    Parameters
    ----------
    path
        A ``.csv`` or ``.csv.gz``, one row a cell.
    id_columns
        Columns that name the cells or describe them, as far as they are there. Every other column is a gene.

    Raises
    ------
    ValueError
        The file is truncated, or a count is missing or not a number.
    """
    names = header(path)
    wanted = set(id_columns)
    ids = [at for at, name in enumerate(names) if name in wanted]
    text = _text_columns(path, len(names), ids)
    if text:
        warn_user(f"Columns of {path.name} that hold text are not read as genes: {listed(names[at] for at in text)}.")
    genes = [at for at in range(len(names)) if at not in {*ids, *text}]
    blocks: list[csr_matrix] = []
    cells: list[pd.DataFrame] = []
    try:
        for chunk in _chunks(path, ids, genes):
            values = chunk[genes].to_numpy(dtype=np.float32)
            missing = np.isnan(values).any(axis=0)
            if missing.any():
                column = names[genes[int(missing.argmax())]]
                raise ValueError(f"{path} has no number for some cells in column {column!r}. Save it again.")
            blocks.append(csr_matrix(values))
            cells.append(chunk[ids])
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} holds something else than counts: {str(error).rstrip('. ')}.") from error
    table = pd.concat(cells, ignore_index=True).set_axis([names[at] for at in ids], axis="columns")
    return CellCounts(table.apply(plain_ids), vstack(blocks, format="csr"), [names[at] for at in genes])


def _text_columns(path: Path, n_columns: int, ids: list[int]) -> list[int]:
    """Positions of columns without any number in the first rows."""
    first = read_delimited(path, sep=",", header=None, skiprows=1, nrows=20, encoding="utf-8-sig")
    if first.shape[1] != n_columns:
        raise ValueError(f"{path} has {n_columns:,} column names and {first.shape[1]:,} columns. Save it again.")
    mixed = [at for at in range(n_columns) if at not in ids and not pd.api.types.is_numeric_dtype(first[at])]
    return [at for at in mixed if pd.to_numeric(first[at], errors="coerce").isna().all()]


def _chunks(path: Path, ids: list[int], genes: list[int]) -> Iterator[pd.DataFrame]:
    """Rows of a table, a few at a time; columns by position, for names of genes may be repeated."""
    dtype: dict[int, Any] = {at: str for at in ids} | {at: np.float32 for at in genes}
    rows = max(1, _CHUNK_VALUES // (len(ids) + len(genes)))
    with table_errors(path):
        yield from pd.read_csv(
            path, header=None, skiprows=1, usecols=list(dtype), dtype=dtype, chunksize=rows, encoding="utf-8-sig"
        )


def read_cells(path: Path, id_columns: Iterable[str]) -> pd.DataFrame:
    """Read the table of cells; columns that name cells as text, for their numbers have more digits than a float."""
    names = ["Unnamed: 0" if at == 0 and not name else name for at, name in enumerate(header(path))]
    text = {name: str for name in [*id_columns, "Unnamed: 0"] if name in names}
    table = read_delimited(path, sep=",", dtype=text, low_memory=False, encoding="utf-8-sig")
    for name in text:
        table[name] = plain_ids(table[name])
    return table.rename(columns={"Unnamed: 0": ""})


def plain_ids(column: pd.Series) -> pd.Series:
    """Return names of cells as text, without the ``.0`` of numbers that were floats once; ``""`` where missing."""
    return column.fillna("").astype(str).str.strip().str.replace(r"\.0$", "", regex=True)


def join_cells(
    counts: CellCounts, of_counts: pd.Series, cells: pd.DataFrame, of_cells: pd.Series, *, like_counts: bool
) -> AnnData:
    """Return the cells that both tables have, joined by name, never by order.

    Parameters
    ----------
    counts, cells
        Counts of the cells, and the table of their positions.
    of_counts, of_cells
        Unique cell names of the rows of each.
    like_counts
        If true, rows of the result are in the order of the counts, else in that of the other table.
    """
    at = pd.Index(of_counts).get_indexer(of_cells)
    both = np.flatnonzero(at >= 0)
    if like_counts:
        both = both[np.argsort(at[both], kind="stable")]
    for left, what in ((len(cells) - len(both), "position but no counts"), (len(of_counts) - len(both), "no position")):
        if left:
            logger.info("%s cells have %s and are left out", f"{left:,}", what)
    obs = cells.iloc[both].set_axis(pd.Index(of_cells.iloc[both].to_numpy(dtype=object)), axis="index")
    adata = AnnData(counts.matrix[at[both]], obs=obs)
    with quiet_duplicates():
        adata.var_names = pd.Index(counts.genes, dtype=object)
    check_adata(adata)
    adata = set_controls_aside(adata)
    annotate_genes(adata)
    declare_scale(adata, "X", "counts")
    return adata
