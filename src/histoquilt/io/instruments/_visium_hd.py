"""Visium HD: bins of one size, or the cells that Space Ranger 4 segments on the H&E image."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, argument, listed
from histoquilt.io._cell_polygons import polygons_of_cells, store_polygons
from histoquilt.io._files import check_unique, contents
from histoquilt.io.instruments._tenx import read_10x_h5, read_10x_mtx
from histoquilt.io.instruments._visium import add_library, read_visium
from histoquilt.io.instruments._visium_files import Counts
from histoquilt.runtime import logger
from histoquilt.study import record_coordinates

_DEFAULT_UM = 8
_CELLS = "cells"  # in place of a bin size
_MATRIX = "filtered_feature_cell_matrix"
_OUTLINES = ("cell_segmentations.geojson", "graphclust_annotated_cell_segmentations.geojson")


def read_visium_hd(
    folder: Path, *, bin_size: int | str | None = None, polygons: bool = True, **options: Any
) -> AnnData:
    """Read bins of one size, each with the layout of a Visium folder, or segmented cells.

    ``bin_size`` is in microns, or ``"cells"``; by default 8, or cells if there are no bins. ``polygons=False`` leaves
    out the outlines of cells.
    """
    bins, cells = folder / "binned_outputs", folder / "segmented_outputs"
    sizes = sorted(item.name for item in bins.glob("square_*um")) if bins.is_dir() else []
    if not cells.is_dir():
        cells = folder  # which may itself be the folder of cells
    has_cells = cells != folder or any(folder.glob("*_feature_cell_matrix*"))
    wanted = _wanted(_CELLS if bin_size is None and has_cells and not sizes else bin_size)
    if not sizes and (wanted != _CELLS or not has_cells):
        cells_only = f" Its segmented cells are read with {argument('bin_size', _CELLS)}." if has_cells else ""
        raise FileNotFoundError(
            f"{folder} is not a Visium HD output: it has no binned_outputs/square_*um"
            f"{'' if has_cells else ' and no segmented_outputs/'}. It holds: {contents(folder)}.{cells_only}"
        )
    if wanted == _CELLS:
        return _read_cells(cells, polygons=polygons, **options)
    if wanted not in sizes:
        others = listed([*sizes, *([_CELLS] if has_cells else [])])
        raise FileNotFoundError(f"{bins} has no {wanted} (found: {others}). Choose with {argument('bin_size')}.")
    logger.info("Visium HD: %s is read (there are %s)", wanted, ", ".join(sizes))
    return read_visium(bins / wanted, **{"library_id": folder.resolve().name, **options})


def _wanted(bin_size: int | str | None) -> str:
    """Return the name of the folder of a bin size, or ``"cells"``."""
    text = str(_DEFAULT_UM if bin_size is None else bin_size).strip().lower().removesuffix("um").removesuffix(".0")
    if text == _CELLS:
        return _CELLS
    if not text.isdigit() or int(text) == 0:
        raise ValueError(f"{argument('bin_size')} must be a size in microns (2, 8, 16) or 'cells', got {bin_size!r}.")
    return f"square_{int(text):03d}um"


def _read_cells(
    folder: Path,
    *,
    counts_file: str | None = None,
    keep_all_spots: bool = False,
    load_images: bool = True,
    library_id: str | None = None,
    polygons: bool,
) -> AnnData:
    """Read segmented cells: positions are the centres of their outlines, in full-resolution pixels.

    All cells lie in tissue, so ``keep_all_spots`` changes nothing.
    """
    matrix = folder / (counts_file or f"{_MATRIX}.h5")
    if counts_file is None and not matrix.is_file():
        matrix = folder / _MATRIX
    path = next((folder / name for name in _OUTLINES if (folder / name).is_file()), folder / _OUTLINES[0])
    missing = [item.name for item in (matrix, path) if not item.exists()]
    if missing:
        raise FileNotFoundError(
            f"{folder} is not a complete output of segmented cells by Space Ranger 4: {listed(missing)} missing "
            f"(counts in {_MATRIX}.h5, outlines in {_OUTLINES[0]}). It holds: {contents(folder)}."
        )
    adata = read_10x_h5(matrix) if matrix.is_file() else read_10x_mtx(matrix)
    codes, cells, vertices, pieces = _outlines(path)
    outlines = polygons_of_cells(codes, cells, vertices, adata.obs_names, pieces=pieces)
    if not outlines.present.any():
        raise ValueError(
            f"No cell of {matrix.name} (named like {listed(adata.obs_names[:1])}) has an outline in {path.name}. Are "
            "they of the same sample?"
        )
    adata.obsm[Keys.SPATIAL] = outlines.centroids()
    if polygons:
        store_polygons(adata, outlines)
    if not outlines.present.all():
        n_lost = int((~outlines.present).sum())
        logger.info("%s of %s cells have no outline and are left out", f"{n_lost:,}", f"{adata.n_obs:,}")
        adata = adata[outlines.present].copy()
    source = adata.uns.pop("10x")
    above = folder.resolve().parent if folder.name == "segmented_outputs" else folder.resolve()
    library, spatial = library_id or above.name, folder / "spatial"
    factors = add_library(adata, library, spatial, Counts(matrix), source["metadata"], images=load_images)
    record_coordinates(adata, "pixel", mpp=factors.get("microns_per_pixel"))
    return adata


def _outlines(path: Path) -> tuple[np.ndarray, pd.Index, np.ndarray, np.ndarray]:
    """Return the number of the cell of each vertex, names of cells, vertices in pixels, and numbers of their pieces.

    Holes are left out.
    """
    names: list[str] = []
    rings: list[np.ndarray] = []
    of_ring: list[int] = []
    try:
        for feature in _features(path):
            geometry = feature["geometry"] or {"type": "Polygon", "coordinates": []}
            pieces = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
            if any(pieces):
                names.append(_barcode(feature["properties"]["cell_id"]))
                found = [np.array(piece[0], dtype=np.float64)[:, :2] for piece in pieces if piece]
                rings += found
                of_ring += [len(names) - 1] * len(found)
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise ValueError(
            f"{path} could not be read as outlines of cells (GeoJSON polygons with cell_id; truncated?): "
            f"{type(error).__name__}: {error}. Copy it again from the Space Ranger output."
        ) from error
    cells = pd.Index(names, dtype=object)
    check_unique(cells, path, "cells")
    lengths = [len(ring) for ring in rings]
    vertices = np.concatenate(rings) if rings else np.empty((0, 2))
    return np.repeat(np.array(of_ring, int), lengths), cells, vertices, np.repeat(np.arange(len(rings)), lengths)


def _barcode(cell: Any) -> str:
    """Return the name of a cell in the count matrix.

    >>> _barcode(7), _barcode("cellid_000000007-1")
    ('cellid_000000007-1', 'cellid_000000007-1')
    """
    if isinstance(cell, float) and not cell.is_integer():
        raise ValueError(f"cell_id {cell} is no whole number")
    return cell if isinstance(cell, str) and not cell.isdigit() else f"cellid_{int(cell):09d}-1"


def _features(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the features of a collection one by one; as objects of Python, all would take many times the memory."""
    text = path.read_text(encoding="utf-8")
    decoder = json.JSONDecoder()
    at = text.index("[", text.index('"features"')) + 1
    while True:
        while text[at] in " \t\r\n,":
            at += 1
        if text[at] == "]":
            return
        feature, at = decoder.raw_decode(text, at)
        yield feature
