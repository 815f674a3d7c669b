"""MERSCOPE: counts and positions of cells as Vizgen's software writes them, read without images."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import listed
from histoquilt.io.instruments._cell_tables import find_pair, join_cells, match_cells, read_cell_counts, read_cells
from histoquilt.study import record_coordinates

_IDS = ("EntityID", "cell", "cell_id", "")  # the first column has no name in older releases
_XY = ["center_x", "center_y"]


def read_merscope(folder: Path, *, counts_file: str | None = None) -> AnnData:
    """Read the cells of a region in the order of ``cell_by_gene``, joined by identifier; positions are in microns."""
    paths = find_pair(folder, "MERSCOPE", ("cell_by_gene", "cell_metadata"), counts_file)
    counts, cells = read_cell_counts(paths[0], _IDS), read_cells(paths[1], _IDS)
    missing = [name for name in _XY if name not in cells]
    if missing:
        raise ValueError(f"{paths[1]} has no {listed(missing)} (found: {listed(cells.columns)}).")
    of_counts, of_cells = ([table[name] for name in _IDS if name in table] for table in (counts.ids, cells))
    pairs = list(product(of_counts, of_cells))
    looked_for = "'cell', 'EntityID', 'cell_id' or a first column without name"
    names = match_cells(pairs, (counts.ids, cells), paths, looked_for)
    adata = join_cells(counts, cells, cells[_XY].to_numpy(dtype=np.float64), names, like_counts=True)
    region, slide = folder.resolve().name, folder.resolve().parent.name
    for column, value in {"region": region, "slide": slide, "dataset_id": f"{slide}_{region}"}.items():
        if column not in adata.obs:
            adata.obs[column] = pd.Categorical([value] * adata.n_obs)
    if "EntityID" not in adata.obs:
        adata.obs["EntityID"] = adata.obs_names.to_numpy()
    record_coordinates(adata, "micron")
    return adata
