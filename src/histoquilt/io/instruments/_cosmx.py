"""CosMx: flat files as AtoMx and earlier software export them; images and fields of view are not needed."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, listed
from histoquilt.io._files import contents
from histoquilt.io.instruments._cell_tables import CellCounts, find_pair, join_cells, read_cell_counts, read_cells
from histoquilt.study import Unit, record_coordinates

_LABEL = "CosMx"
_KINDS = ("exprMat_file", "metadata_file")
_FIELDS, _NUMBERS = ("fov", "FOV", "Fov"), ("cell_ID", "cell_id", "CellId", "cellID", "Cell_ID")
_NAMES = ("cell", "cell_id", "cell_ID", "")  # a name such as c_1_2_3: slide, field of view, cell
_IDS = tuple(dict.fromkeys([*_FIELDS, *_NUMBERS, *_NAMES]))
_BESIDE = ("slide_ID", "slide_ID_numeric", "slide_id", "Run_Tissue_name", "Unnamed: 0")  # of the counts, no genes
_PLACES: tuple[tuple[str, str, Unit, float], ...] = (
    ("CenterX_global_px", "CenterY_global_px", "pixel", 1.0),
    ("CenterX_global_mm", "CenterY_global_mm", "micron", 1000.0),
    ("x_slide_mm", "y_slide_mm", "micron", 1000.0),
)
_IN_FIELD, _CORNER = ("CenterX_local_px", "CenterY_local_px"), ("x_global_px", "y_global_px")
_XY = ("x on the slide", "y on the slide")


def read_cosmx(folder: Path, *, counts_file: str | None = None) -> AnnData:
    """Read the cells of a slide, joined by field of view and number.

    Cell 0 of each field is what lies outside of cells, and is left out. Positions are those on the slide, in pixels
    (where need be, those in the field and the place of the field), or in microns where the files have millimetres only.
    Cells lie in the order of the metadata.
    """
    counts_path, cells_path = find_pair(folder, _LABEL, _KINDS, counts_file)
    cells = read_cells(cells_path, _IDS)
    positions, unit = _positions(cells, folder, cells_path)
    cells = cells.assign(**dict(zip(_XY, positions.T, strict=True)))
    counts = read_cell_counts(counts_path, [*_IDS, *_BESIDE])
    inside = _are_cells(counts.ids)
    counts = CellCounts(counts.ids[inside], counts.matrix[inside.to_numpy()], counts.genes)
    cells = cells[_are_cells(cells)]
    of_counts, of_cells = _shared_names(counts.ids, cells, counts_path, cells_path)
    adata = join_cells(counts, of_counts, cells.drop(columns="", errors="ignore"), of_cells, like_counts=False)
    adata.obsm[Keys.SPATIAL] = adata.obs[list(_XY)].to_numpy()
    adata.obs = adata.obs.drop(columns=list(_XY))
    for name in _FIELDS:
        if name in adata.obs:
            adata.obs[name] = pd.Categorical(adata.obs[name])
    number = _number_column(adata.obs)
    if number is not None:
        adata.obs[number] = adata.obs[number].astype(np.int64)
    record_coordinates(adata, unit)
    return adata


def _positions(cells: pd.DataFrame, folder: Path, path: Path) -> tuple[np.ndarray, Unit]:
    """Return where cells lie on the slide, ``(n_cells, 2)``, and the unit."""
    for x, y, unit, factor in _PLACES:
        if x in cells and y in cells:
            return cells[[x, y]].to_numpy(dtype=np.float64) * factor, unit
    field = next((name for name in _FIELDS if name in cells), None)
    if field is None or any(name not in cells for name in _IN_FIELD):
        raise ValueError(
            f"{path} has no positions on the slide (looked for: "
            f"{listed(' and '.join(names[:2]) for names in _PLACES)}). Found: {listed(cells.columns, 12)}."
        )
    inside = cells[list(_IN_FIELD)].to_numpy(dtype=np.float64)
    if len(set(cells[field])) == 1:
        return inside, "pixel"
    found = sorted(folder.glob("*fov_positions_file*.csv*"))
    if not found:
        raise FileNotFoundError(
            f"{folder} is not a complete {_LABEL} output: {path.name} has positions in the fields of view only, and "
            f"*fov_positions_file.csv, which says where those lie, is missing. It holds: {contents(folder)}."
        )
    fields = read_cells(found[0], _FIELDS)
    of_field = next((name for name in _FIELDS if name in fields), None)
    if of_field is None or any(name not in fields for name in _CORNER):
        raise ValueError(
            f"{found[0]} must have the columns FOV, {_CORNER[0]} and {_CORNER[1]}; found: {listed(fields.columns)}."
        )
    corners = fields.set_index(of_field)[list(_CORNER)].reindex(cells[field]).to_numpy(dtype=np.float64)
    return inside + corners, "pixel"


def _number_column(table: pd.DataFrame) -> str | None:
    """Name of the column that counts the cells of a field; ``cell_id`` may be that, or a name for the whole slide."""
    return next((name for name in _NUMBERS if name in table and table[name].str.fullmatch(r"\d+").all()), None)


def _are_cells(table: pd.DataFrame) -> pd.Series:
    """Whether rows are cells, not the background of a field."""
    number = _number_column(table)
    if number is not None:
        return table[number].astype(np.int64) != 0
    names = _names(table)
    return ~names[0].str.fullmatch(r"c(_\d+)+_0") if names else pd.Series(True, index=table.index)


def _numbered(table: pd.DataFrame) -> list[pd.Series]:
    """Names made of the number of a cell and its field."""
    number, field = _number_column(table), next((name for name in _FIELDS if name in table), None)
    return [] if number is None or field is None else [table[number] + "_" + table[field]]


def _names(table: pd.DataFrame) -> list[pd.Series]:
    """Columns that name cells across fields."""
    return [table[name] for name in _NAMES if name in table and name != _number_column(table)]


def _shared_names(
    counts: pd.DataFrame, cells: pd.DataFrame, counts_path: Path, cells_path: Path
) -> tuple[pd.Series, pd.Series]:
    """Return names of the rows of both tables, alike for the same cell and unique in each."""
    pairs = [*product(_numbered(counts), _numbered(cells)), *product(_names(counts), _names(cells))]
    repeated = ""
    for of_counts, of_cells in pairs:
        if not of_counts.isin(of_cells).any():
            continue
        problems = [
            f"{path} lists cells more than once: {listed(names[names.duplicated()].unique(), 3)}"
            for path, names in ((counts_path, of_counts), (cells_path, of_cells))
            if names.duplicated().any()
        ]
        if not problems:
            return of_counts, of_cells
        repeated = repeated or problems[0]
    if repeated:
        raise ValueError(f"{repeated}. Each cell has one row; give several slides each a folder of its own.")
    if not pairs:
        raise ValueError(
            f"{counts_path.name} and {cells_path.name} in {counts_path.parent} have no columns in common that name the "
            f"cells (fov and cell_ID, or cell). Found: {listed(counts.columns)}; {listed(cells.columns, 5)}."
        )
    raise ValueError(
        f"No cell of {counts_path.name} (named like {listed(pairs[0][0][:2])}) is in {cells_path.name} (named like "
        f"{listed(pairs[0][1][:2])}). Are they of the same slide?"
    )
