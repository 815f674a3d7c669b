"""Pairs of tables that imaging platforms write: counts of every cell, and a row about every cell."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix, vstack

from histoquilt._base import Keys, argument, listed, visible
from histoquilt.io._files import contents, read_delimited, table_errors
from histoquilt.io._tables import section_of_counts
from histoquilt.runtime import logger, warn_user

_CHUNK_VALUES = 20_000_000  # values read at a time as a dense table: 80 MB
_ENDINGS = (".csv", ".csv.gz")
_NAME_PAIR = tuple[pd.Series, pd.Series]


@dataclass(frozen=True)
class CellCounts:
    """Table of counts, one row per cell."""

    ids: pd.DataFrame  # the columns that name the cells, as text
    matrix: csr_matrix  # float32, (n_cells, n_genes)
    genes: list[str]


def find_pair(folder: Path, label: str, kinds: tuple[str, str], counts_file: str | None = None) -> tuple[Path, Path]:
    """Return the tables of counts and of cells in a folder, whatever their names begin and end with."""
    counts, cells = (_tables_of(folder, kind) for kind in kinds)
    if counts_file is not None:
        counts = {key: path for key, path in counts.items() if path.name == (folder / counts_file).name}
        if not counts:
            raise FileNotFoundError(
                f"{folder} has no {counts_file!r} ({argument('counts_file')}). It holds: {contents(folder)}."
            )
    for tables, kind in ((counts, kinds[0]), (cells, kinds[1])):
        if not tables:
            raise FileNotFoundError(
                f"{folder} is not a complete {label} output: it has no {kind}.csv or .csv.gz, with or without a name "
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
    """Return the tables of a kind by what their names have before and after it; plain files before compressed ones."""
    tables: dict[tuple[str, str], Path] = {}
    for ending in _ENDINGS:
        for path in sorted(visible(folder, f"*{kind}*{ending}")):
            before, after = path.name.removesuffix(ending).rsplit(kind, 1)
            if path.is_file():
                tables.setdefault((before, after), path)
    return tables


def read_cell_counts(path: Path, id_columns: Iterable[str]) -> CellCounts:
    """Read counts, one row per cell, in chunks, as the dense table may not fit into memory.

    ``id_columns`` name or describe the cells, if present; every other column is a gene.
    """
    head = read_delimited(path, sep=",", header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    names = [str(name) for name in head.iloc[0]]
    ids = [column for column, name in enumerate(names) if name in set(id_columns)]
    text = _text_columns(path, len(names), ids)
    if text:
        warn_user(
            f"Columns of {path.name} that hold text are not read as genes: {listed(names[column] for column in text)}."
        )
    genes = [column for column in range(len(names)) if column not in {*ids, *text}]
    blocks: list[csr_matrix] = []
    cells: list[pd.DataFrame] = []
    try:
        for chunk in _chunks(path, ids, genes):
            values = chunk[genes].to_numpy(dtype=np.float32)
            missing = np.isnan(values).any(axis=0)
            if missing.any():
                name = names[genes[int(missing.argmax())]]
                raise ValueError(f"{path} has no number for some cells in column {name!r}. Save it again.")
            blocks.append(csr_matrix(values))
            cells.append(chunk[ids])
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} holds something else than counts: {str(error).rstrip('. ')}.") from error
    table = pd.concat(cells, ignore_index=True).set_axis([names[column] for column in ids], axis="columns")
    return CellCounts(table.apply(_plain_ids), vstack(blocks, format="csr"), [names[column] for column in genes])


def _text_columns(path: Path, n_columns: int, ids: list[int]) -> list[int]:
    """Return the positions of columns without any number in the first rows."""
    rows = read_delimited(path, sep=",", header=None, skiprows=1, nrows=20, encoding="utf-8-sig")
    if rows.shape[1] != n_columns:
        raise ValueError(f"{path} has {n_columns:,} column names and {rows.shape[1]:,} columns. Save it again.")
    mixed = [
        column for column in range(n_columns) if column not in ids and not pd.api.types.is_numeric_dtype(rows[column])
    ]
    return [column for column in mixed if pd.to_numeric(rows[column], errors="coerce").isna().all()]


def _chunks(path: Path, ids: list[int], genes: list[int]) -> Iterator[pd.DataFrame]:
    """Yield some rows of a table at a time; columns by position, as gene names may be repeated."""
    dtype: dict[int, Any] = dict.fromkeys(ids, str) | dict.fromkeys(genes, np.float32)
    rows = max(1, _CHUNK_VALUES // len(dtype))
    with table_errors(path):
        yield from pd.read_csv(
            path, header=None, skiprows=1, usecols=list(dtype), dtype=dtype, chunksize=rows, encoding="utf-8-sig"
        )


def read_cells(path: Path, id_columns: Iterable[str]) -> pd.DataFrame:
    """Read the table of cells; columns that name cells as text, for their numbers have more digits than a float."""
    text = [*id_columns, "Unnamed: 0"]  # pandas' name for a first column without one
    table = read_delimited(path, sep=",", dtype=dict.fromkeys(text, str), low_memory=False, encoding="utf-8-sig")
    for name in table.columns.intersection(text):
        table[name] = _plain_ids(table[name])
    return table.rename(columns={"Unnamed: 0": ""})


def _plain_ids(column: pd.Series) -> pd.Series:
    """Return names of cells as text, without the ``.0`` of numbers that were floats; ``""`` if missing."""
    return column.fillna("").astype(str).str.strip().str.replace(r"\.0$", "", regex=True)


def match_cells(
    pairs: list[_NAME_PAIR], tables: tuple[pd.DataFrame, pd.DataFrame], paths: tuple[Path, Path], columns: str
) -> _NAME_PAIR:
    """Return the first pair of names, of counts and of cells, that are unique and have cells in common.

    ``tables``, ``paths`` and the ``columns`` that were looked for are for messages.
    """
    (counts_path, cells_path), repeated = paths, ""
    for pair in pairs:
        if not pair[0].isin(pair[1]).any():
            continue
        problems = [
            f"{path} lists cells more than once: {listed(names[names.duplicated()].unique(), 3)}"
            for path, names in zip(paths, pair, strict=True)
            if names.duplicated().any()
        ]
        if not problems:
            return pair
        repeated = repeated or problems[0]
    if repeated:
        raise ValueError(f"{repeated}. Each cell has one row; give several slides each a folder of its own.")
    if not pairs:
        raise ValueError(
            f"{counts_path.name} and {cells_path.name} in {counts_path.parent} have no columns in common that name the "
            f"cells ({columns}). Found: {listed(tables[0].columns, 5)}; {listed(tables[1].columns, 5)}."
        )
    raise ValueError(
        f"No cell of {counts_path.name} (named like {listed(pairs[0][0][:2])}) is in {cells_path.name} (named like "
        f"{listed(pairs[0][1][:2])}). Are they of the same slide? Spreadsheets cut identifiers of 18 digits short."
    )


def join_cells(
    counts: CellCounts, cells: pd.DataFrame, centres: np.ndarray, names: _NAME_PAIR, *, like_counts: bool
) -> AnnData:
    """Return the cells that both tables have, joined by ``names`` (:func:`match_cells`), never by order.

    ``centres`` are the positions of the rows of ``cells``. The result is in the order of the counts or of ``cells``.
    """
    rows = pd.Index(names[0]).get_indexer(pd.Index(names[1]))
    shared = np.flatnonzero(rows >= 0)
    if like_counts:
        shared = shared[np.argsort(rows[shared], kind="stable")]
    for n_left, what in ((len(cells), "position but no counts"), (len(counts.ids), "no position")):
        if n_left > len(shared):
            logger.info("%s cells have %s and are left out", f"{n_left - len(shared):,}", what)
    obs = cells.drop(columns="", errors="ignore").iloc[shared]
    obs.index = pd.Index(names[1].iloc[shared].to_numpy(dtype=object))
    adata = section_of_counts(counts.matrix[rows[shared]], obs, counts.genes)
    adata.obsm[Keys.SPATIAL] = np.asarray(centres, dtype=np.float64)[shared]
    return adata
