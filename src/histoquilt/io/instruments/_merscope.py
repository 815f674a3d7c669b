"""MERSCOPE: counts and positions of cells as Vizgen's software writes them; images are not needed."""

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, listed
from histoquilt.io.instruments._cell_tables import find_pair, join_cells, read_cell_counts, read_cells
from histoquilt.study import record_coordinates

_LABEL = "MERSCOPE"
_KINDS = ("cell_by_gene", "cell_metadata")
_IDS = ("EntityID", "cell", "cell_id", "")  # the first column has no name in older releases
_X, _Y = "center_x", "center_y"


def read_merscope(folder: Path, *, counts_file: str | None = None) -> AnnData:
    """Read the cells of a region, joined by their identifiers.

    Positions are microns. Cells lie in the order of ``cell_by_gene``.
    """
    counts_path, cells_path = find_pair(folder, _LABEL, _KINDS, counts_file)
    counts = read_cell_counts(counts_path, _IDS)
    cells = read_cells(cells_path, _IDS)
    missing = [name for name in (_X, _Y) if name not in cells]
    if missing:
        raise ValueError(f"{cells_path} has no {listed(missing)} (found: {listed(cells.columns)}).")
    of_counts, of_cells = _shared_ids(counts.ids, cells, counts_path, cells_path)
    for names, path in ((of_counts, counts_path), (of_cells, cells_path)):
        repeated = names[names.duplicated()].unique()
        if len(repeated):
            raise ValueError(f"{path} lists cells more than once: {listed(repeated, 3)}. Each cell has one row.")
    plain = cells.drop(columns="", errors="ignore")
    adata = join_cells(counts, of_counts, plain, of_cells, like_counts=True)
    adata.obsm[Keys.SPATIAL] = adata.obs[[_X, _Y]].to_numpy(dtype=np.float64)
    region, slide = folder.resolve().name, folder.resolve().parent.name
    for column, value in {"region": region, "slide": slide, "dataset_id": f"{slide}_{region}"}.items():
        if column not in adata.obs:
            adata.obs[column] = pd.Categorical([value] * adata.n_obs)
    if "EntityID" not in adata.obs:
        adata.obs["EntityID"] = adata.obs_names.to_numpy()
    record_coordinates(adata, "micron")
    return adata


def _shared_ids(
    counts: pd.DataFrame, cells: pd.DataFrame, counts_path: Path, cells_path: Path
) -> tuple[pd.Series, pd.Series]:
    """Return the columns of the two tables that name the same cells."""
    of_counts = [counts[name] for name in _IDS if name in counts]
    of_cells = [cells[name] for name in _IDS if name in cells]
    for ours in of_counts:
        for theirs in of_cells:
            if ours.isin(theirs).any():
                return ours, theirs
    if not of_counts or not of_cells:
        path, table = (cells_path, cells) if of_counts else (counts_path, counts)
        raise ValueError(
            f"{path} has no column that names its cells (looked for: 'cell', 'EntityID', 'cell_id' or a first column "
            f"without name). It is needed to join counts and positions. Found: {listed(table.columns, 5)}."
        )
    raise ValueError(
        f"No cell of {counts_path.name} (named like {listed(of_counts[0][:2])}) is in {cells_path.name} (named like "
        f"{listed(of_cells[0][:2])}). Are they of the same region? Spreadsheets cut identifiers of 18 digits short."
    )
