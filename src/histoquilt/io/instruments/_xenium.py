"""Xenium: counts, positions and outlines of cells as Xenium Onboard Analysis writes them, read without images."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, either, is_installed, listed
from histoquilt.io._cell_polygons import polygons_of_cells, store_polygons
from histoquilt.io._files import check_unique, contents, first_file, read_delimited, read_parquet
from histoquilt.io.instruments._tenx import read_10x_h5, read_10x_mtx, read_10x_zarr
from histoquilt.runtime import logger
from histoquilt.study import record_coordinates

_CELL, _XY, _VERTEX = "cell_id", ["x_centroid", "y_centroid"], ["vertex_x", "vertex_y"]
_PIECE = "label_id"  # of an outline; a cell may have several
_SPECS, _MATRIX = "experiment.xenium", "cell_feature_matrix"


def read_xenium(folder: Path, *, polygons: bool = True) -> AnnData:
    """Read the cells of a run in the order of the count matrix; positions and outlines are in microns.

    ``polygons=False`` leaves out the outlines of cells (``cell_boundaries.parquet`` or ``.csv.gz``).
    """
    pixel_um = _pixel_size(folder)
    cells_path = _table_file(folder, "cells")
    if cells_path is None:
        raise FileNotFoundError(
            f"{folder} is not a complete Xenium output: cells.parquet and cells.csv.gz are missing, so the cells have "
            f"no positions. It holds: {contents(folder)}."
        )
    cells = _read_cells(cells_path)
    adata = _read_counts(folder)
    del adata.uns["10x"]
    absent = ~adata.obs_names.isin(cells.index)
    if absent.any():
        raise ValueError(
            f"{absent.sum():,} of {adata.n_obs:,} cells in {_MATRIX} are not in {cells_path.name}, first: "
            f"{listed(adata.obs_names[absent], 2)} (its cells are named like {listed(cells.index[:1])}). Are the files "
            "of the same run?"
        )
    if len(cells) > adata.n_obs:
        logger.info("%s cells have a position but no counts and are left out", f"{len(cells) - adata.n_obs:,}")
    cells = cells.loc[adata.obs_names]
    adata.obsm[Keys.SPATIAL] = cells[_XY].to_numpy(dtype=np.float64)
    adata.obs = cells.drop(columns=_XY)
    adata.obs.insert(0, _CELL, adata.obs_names.to_numpy())
    record_coordinates(adata, "micron", image_mpp=pixel_um)
    if polygons:
        _add_polygons(adata, folder)
    return adata


def _pixel_size(folder: Path) -> float | None:
    """Return microns per pixel of the morphology image; None if the file does not say."""
    path = folder / _SPECS
    try:
        specs = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder} is not a complete Xenium output: {_SPECS} is missing. It holds: {contents(folder)}."
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Copy it again from the Xenium output.") from error
    size = specs.get("pixel_size") if isinstance(specs, dict) else None
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size < np.inf:
        raise ValueError(
            f"{path}: pixel_size must be a positive number (microns per pixel, such as 0.2125), got {size!r}. Correct "
            "it, or copy the file again from the Xenium output."
        )
    return float(size)


def _read_counts(folder: Path) -> AnnData:
    """Read the count matrix: ``.h5``, or else the folder with ``matrix.mtx``, or else ``.zarr.zip``."""
    if (folder / f"{_MATRIX}.h5").is_file():
        return read_10x_h5(folder / f"{_MATRIX}.h5")
    if (folder / _MATRIX).is_dir():
        return read_10x_mtx(folder / _MATRIX)
    if (folder / f"{_MATRIX}.zarr.zip").is_file():
        return read_10x_zarr(folder / f"{_MATRIX}.zarr.zip")
    raise FileNotFoundError(
        f"{folder} is not a complete Xenium output: {_MATRIX}.h5, {_MATRIX}.zarr.zip and the folder {_MATRIX}/ are "
        f"missing. Copy one of them from the Xenium output. It holds: {contents(folder)}."
    )


def _table_file(folder: Path, name: str) -> Path | None:
    """Return a table, as parquet if that can be read, else as CSV."""
    csv, parquet = first_file(folder, (f"{name}.csv",)), folder / f"{name}.parquet"
    return parquet if parquet.is_file() and (csv is None or is_installed("pyarrow")) else csv


def _read_cells(path: Path) -> pd.DataFrame:
    """Read the table of cells, indexed by name; the same types from parquet and CSV."""
    table = read_parquet(path) if path.suffix == ".parquet" else read_delimited(path, dtype={_CELL: str})
    _check_columns(table, [_CELL, *_XY], path)
    table = table.set_index(pd.Index(_names(table[_CELL]), dtype=object)).drop(columns=_CELL)
    check_unique(table.index, path, "cells")
    for name, column in table.items():
        if pd.api.types.is_integer_dtype(column.dtype):
            table[name] = column.astype(np.int64)
        elif pd.api.types.is_float_dtype(column.dtype):
            table[name] = column.astype(np.float64)
        elif not pd.api.types.is_bool_dtype(column.dtype):
            table[name] = pd.Categorical(_names(column))
    bad = ~np.isfinite(table[_XY].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{path}: {bad.sum():,} of {len(bad):,} cells have no finite position, first: "
            f"{listed(table.index[bad], 3)}."
        )
    return table


def _names(column: pd.Series) -> np.ndarray:
    """Return names as text: they are bytes or whole numbers in old files."""
    if len(column) and isinstance(column.iloc[0], bytes):
        column = column.str.decode("utf-8")
    return column.astype(str).to_numpy(dtype=object)


def _check_columns(table: pd.DataFrame, wanted: list[str], path: Path) -> None:
    missing = [name for name in wanted if name not in table]
    if missing:
        raise ValueError(f"{path} has no column {listed(missing)} (found: {listed(table.columns)}).")


def _add_polygons(adata: AnnData, folder: Path) -> None:
    """Keep the outlines of the cells, if the folder has them."""
    path = _table_file(folder, "cell_boundaries")
    if path is None:
        logger.info("%s has no cell_boundaries.parquet or .csv.gz; cells have no outlines", folder)
        return
    if path.suffix == ".parquet":  # names as categories: they are repeated for every vertex
        table = read_parquet(path, read_dictionary=[_CELL])
    else:
        table = read_delimited(path, dtype={_CELL: "category"})
    _check_columns(table, [_CELL, *_VERTEX], path)
    if table.empty:
        raise ValueError(f"{path} names columns, and holds no outline. {_outlines_remedy()}")
    column = table[_CELL].astype("category").cat
    cells = pd.Index(_names(pd.Series(column.categories)), dtype=object)
    vertices = table[_VERTEX].apply(pd.to_numeric, errors="coerce").to_numpy()
    pieces = pd.factorize(table[_PIECE])[0] if _PIECE in table else None
    outlines = polygons_of_cells(column.codes.to_numpy(), cells, vertices, adata.obs_names, pieces=pieces)
    n_without = int((~outlines.present).sum())
    if n_without == adata.n_obs:
        raise ValueError(
            f"No cell of {_MATRIX} (named like {listed(adata.obs_names[:1])}) has an outline in {path.name} "
            f"(named like {listed(cells[:1])}). Is it of the same run? {_outlines_remedy()}"
        )
    if n_without:
        logger.info(
            "%s of %s cells have no outline that can be drawn in %s", f"{n_without:,}", f"{adata.n_obs:,}", path.name
        )
    store_polygons(adata, outlines)


def _outlines_remedy() -> str:
    without = either("read without outlines: polygons=False", "move it elsewhere to read without outlines")
    return f"Copy it again from the Xenium output, or {without}."
