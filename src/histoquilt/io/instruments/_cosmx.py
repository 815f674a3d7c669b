"""CosMx: flat files as AtoMx and earlier software export them, read without images."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import listed, visible
from histoquilt.io._files import contents
from histoquilt.io.instruments._cell_tables import (
    CellCounts,
    find_pair,
    join_cells,
    match_cells,
    read_cell_counts,
    read_cells,
)
from histoquilt.study import Unit, record_coordinates

_FIELDS, _NUMBERS = ("fov", "FOV", "Fov"), ("cell_ID", "cell_id", "CellId", "cellID", "Cell_ID")
_NAMES = ("cell", "cell_id", "cell_ID", "")  # a name such as c_1_2_3: slide, field of view, cell
_IDS = tuple(dict.fromkeys([*_FIELDS, *_NUMBERS, *_NAMES]))
# further columns of the counts that are not genes
_DESCRIPTIONS = ("slide_ID", "slide_ID_numeric", "slide_id", "Run_Tissue_name", "Unnamed: 0")
_PLACES: tuple[tuple[str, str, Unit, float], ...] = (
    ("CenterX_global_px", "CenterY_global_px", "pixel", 1.0),
    ("CenterX_global_mm", "CenterY_global_mm", "micron", 1000.0),
    ("x_slide_mm", "y_slide_mm", "micron", 1000.0),
)
_IN_FIELD, _CORNER = ["CenterX_local_px", "CenterY_local_px"], ["x_global_px", "y_global_px"]


def read_cosmx(folder: Path, *, counts_file: str | None = None) -> AnnData:
    """Read the cells of a slide, joined by field of view and number, in the order of the metadata.

    Cell 0 of each field is the background outside cells, and is left out. Positions are those on the slide, in pixels
    (if necessary computed from those in the field and the place of the field), or in microns if the files have
    millimetres only.
    """
    paths = find_pair(folder, "CosMx", ("exprMat_file", "metadata_file"), counts_file)
    cells = read_cells(paths[1], _IDS)
    centres, unit = _positions(cells, folder, paths[1])
    counts = read_cell_counts(paths[0], [*_IDS, *_DESCRIPTIONS])
    inside = _are_cells(counts.ids).to_numpy()
    counts = CellCounts(counts.ids[inside], counts.matrix[inside], counts.genes)
    inside = _are_cells(cells).to_numpy()
    cells, centres = cells[inside], centres[inside]
    pairs = [*product(_numbered(counts.ids), _numbered(cells)), *product(_named(counts.ids), _named(cells))]
    names = match_cells(pairs, (counts.ids, cells), paths, "fov and cell_ID, or cell")
    adata = join_cells(counts, cells, centres, names, like_counts=False)
    for name in adata.obs.columns.intersection(_FIELDS):
        adata.obs[name] = pd.Categorical(adata.obs[name])
    number = _number_column(adata.obs)
    if number is not None:
        adata.obs[number] = adata.obs[number].astype(np.int64)
    record_coordinates(adata, unit)
    return adata


def _positions(cells: pd.DataFrame, folder: Path, path: Path) -> tuple[np.ndarray, Unit]:
    """Return the positions of cells on the slide, ``(n_cells, 2)``, and their unit."""
    for x, y, unit, factor in _PLACES:
        if x in cells and y in cells:
            return cells[[x, y]].to_numpy(dtype=np.float64) * factor, unit
    field = _field_column(cells)
    if field is None or not set(_IN_FIELD) <= set(cells):
        raise ValueError(
            f"{path} has no positions on the slide (looked for: "
            f"{listed(' and '.join(names[:2]) for names in _PLACES)}). Found: {listed(cells.columns, 12)}."
        )
    local = cells[_IN_FIELD].to_numpy(dtype=np.float64)
    if len(set(cells[field])) == 1:
        return local, "pixel"
    fields_path = next(iter(sorted(visible(folder, "*fov_positions_file*.csv*"))), None)
    if fields_path is None:
        raise FileNotFoundError(
            f"{folder} is not a complete CosMx output: {path.name} has positions in the fields of view only, and "
            f"*fov_positions_file.csv, which has the positions of the fields, is missing. It holds: {contents(folder)}."
        )
    fields = read_cells(fields_path, _FIELDS)
    key = _field_column(fields)
    if key is None or not set(_CORNER) <= set(fields):
        raise ValueError(
            f"{fields_path} must have the columns FOV, {_CORNER[0]} and {_CORNER[1]}; found: {listed(fields.columns)}."
        )
    return local + fields.set_index(key)[_CORNER].reindex(cells[field]).to_numpy(dtype=np.float64), "pixel"


def _field_column(table: pd.DataFrame) -> str | None:
    return next((name for name in _FIELDS if name in table), None)


def _number_column(table: pd.DataFrame) -> str | None:
    """Return the column with the number of each cell in its field; ``cell_id`` may be that, or a name on the slide."""
    return next((name for name in _NUMBERS if name in table and table[name].str.fullmatch(r"\d+").all()), None)


def _are_cells(table: pd.DataFrame) -> pd.Series:
    """Return which rows are cells, not the background of a field."""
    number = _number_column(table)
    if number is not None:
        return table[number].astype(np.int64) != 0
    names = _named(table)
    return ~names[0].str.fullmatch(r"c(_\d+)+_0") if names else pd.Series(True, index=table.index)


def _numbered(table: pd.DataFrame) -> list[pd.Series]:
    """Return names made of the number of a cell and its field."""
    number, field = _number_column(table), _field_column(table)
    return [] if number is None or field is None else [table[number] + "_" + table[field]]


def _named(table: pd.DataFrame) -> list[pd.Series]:
    """Return the columns that name cells across fields."""
    return [table[name] for name in _NAMES if name in table and name != _number_column(table)]
