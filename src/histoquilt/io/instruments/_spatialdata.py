"""SpatialData stores: a table becomes an AnnData with the positions of the elements that it annotates."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix, issparse

from histoquilt._base import Keys, MissingKey, argument, listed, require
from histoquilt.io._controls import finish_genes
from histoquilt.io._coordinate_table import centres_of_columns
from histoquilt.io._files import PathLike, contents, existing_folder
from histoquilt.io._writable import make_plain
from histoquilt.runtime import logger
from histoquilt.study import Unit, check_adata, check_spatial, record_coordinates, spot_centres, write_result

if TYPE_CHECKING:
    from spatialdata import SpatialData

_ATTRS = "spatialdata_attrs"  # uns: which element a table annotates
_SHARED = "global"  # the coordinate system that spatialdata puts every element into
_OWN = "histoquilt_own"  # a name for the coordinates as stored in the element

# Units of the coordinates as each reader of spatialdata-io stores them; it writes its name into the zarr
_READER_UNITS: dict[str, Unit] = {
    "codex": "pixel", "cosmx": "pixel", "dbit": "array", "mcmicro": "pixel", "merscope": "micron", "seqfish": "micron",
    "stereoseq": "pixel", "visium": "pixel", "visium_hd": "pixel", "xenium": "micron",
}  # fmt: skip


def read_spatialdata(
    path: PathLike,
    *,
    table: str | None = None,
    region: str | None = None,
    unit: Unit | None = None,
    spatial_columns: tuple[str, str] | None = None,
) -> AnnData:
    """Read one table of a SpatialData zarr store, with the positions of the spots or cells that it annotates.

    Positions are ``obsm["spatial"]`` of the table if present, else the centroids of the annotated shapes, points or
    labels, in the element's own coordinates. A table that annotates several elements is read whole, in the coordinate
    system ``"global"`` that they share, and ``obs["section"]`` distinguishes them.

    Parameters
    ----------
    path
        Path of the ``.zarr`` folder.
    table
        Name of the table; required if there are several (one per bin size in Visium HD).
    region
        Name of an element; only rows that annotate it are kept.
    unit
        Unit of the coordinates. By default the one that the reader that wrote the zarr is known to store, else
        ``"unknown"``.
    spatial_columns
        Columns of ``obs`` with x and y, used instead of positions in the store.

    Returns
    -------
    AnnData of the table (``X`` as CSR), with ``obsm["spatial"]`` float64 and the gene columns of
    :func:`annotate_genes`. The scale of ``X`` is not declared.

    Raises
    ------
    ImportError
        spatialdata is not installed (extra ``spatial``).
    FileNotFoundError
        The folder does not exist.
    KeyError
        The table or region does not exist.
    ValueError
        The folder is not a SpatialData zarr store, it holds several tables and none was named, or rows of the table
        have no position.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.io.read_spatialdata("study.zarr", table="table")  # doctest: +SKIP
    >>> hq.io.read_spatialdata("no.zarr")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FileNotFoundError: no.zarr does not exist; expected a SpatialData .zarr folder. ...
    """
    folder = existing_folder(path, "a SpatialData .zarr folder")
    with quiet_reader():  # importing it warns, too
        spatialdata = require("spatialdata", extra="spatial", purpose="Reading a SpatialData .zarr")
    if not any((folder / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs")):
        raise ValueError(f"{folder} is not a zarr store (no zarr.json or .zgroup). It holds: {contents(folder)}.")
    try:
        with quiet_reader():
            sdata = spatialdata.read_zarr(folder)
    except Exception as error:  # zarr and ome-zarr raise many types on damaged stores
        raise ValueError(f"{folder} could not be read as a SpatialData zarr: {error}") from error
    return section_from_spatialdata(sdata, str(folder), table, region, unit, spatial_columns)


@contextmanager
def quiet_reader() -> Iterator[None]:
    """Silence spatialdata and spatialdata-io while they read.

    They print, log to stdout and warn about every file that they were told to leave out.
    """
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def section_from_spatialdata(
    sdata: "SpatialData",
    name: str,
    table: str | None = None,
    region: str | None = None,
    unit: Unit | None = None,
    spatial_columns: tuple[str, str] | None = None,
) -> AnnData:
    """Convert a table of a SpatialData object to an AnnData; parameters as in :func:`read_spatialdata`."""
    adata = sdata.tables[_choose_table(sdata, name, table)].copy()
    attrs = adata.uns.pop(_ATTRS, {})
    annotated = attrs.get("region") or []
    regions = [annotated] if isinstance(annotated, str) else list(annotated)
    if region is not None:
        if region not in regions:
            raise KeyError(f"{region!r} is annotated by no row of the table in {name} (found: {listed(regions)}).")
        adata = adata[(adata.obs[attrs["region_key"]] == region).to_numpy()].copy()
        regions = [region]
    make_plain(adata)
    check_adata(adata)
    several = len(regions) > 1 and _SHARED not in adata.obsm
    if several:
        write_result(adata, "obs", Keys.SECTION, pd.Categorical(adata.obs[attrs["region_key"]].astype(str)))
        logger.info("obs[%r] distinguishes %d annotated elements", Keys.SECTION, len(regions))
    if spatial_columns is not None:
        positions = centres_of_columns(adata, spatial_columns)
    elif _SHARED in adata.obsm:  # CosMx: positions on the slide, next to those in the field of view
        positions = spot_centres(adata, _SHARED)
    elif several:
        positions = _centroids(sdata, adata, attrs, regions, _SHARED)
    elif Keys.SPATIAL in adata.obsm:
        positions = spot_centres(adata)
    elif regions:
        positions = _centroids(sdata, adata, attrs, regions, _OWN)
    else:
        try:
            positions = check_spatial(adata, remedy="file")
        except MissingKey as error:
            raise ValueError(
                f"The table in {name} annotates no element and has no obsm['spatial'], so its rows have no position. "
                f"{error.remedy}"
            ) from error
    adata.obsm[Keys.SPATIAL] = np.asarray(positions, dtype=np.float64)
    adata.X = adata.X.tocsr() if issparse(adata.X) else csr_matrix(adata.X)
    adata = finish_genes(adata)
    if unit is not None or Keys.COORDINATES not in adata.uns[Keys.UNS]:
        record_coordinates(adata, unit or _READER_UNITS.get(str(sdata.attrs.get("spatialdata_io_reader")), "unknown"))
    return adata


def _choose_table(sdata: "SpatialData", name: str, table: str | None) -> str:
    """Return the name of the requested table, or of the only one."""
    tables = list(sdata.tables)
    if not tables:
        raise ValueError(f"{name} has no table, so there are no counts. It holds: {listed(_elements(sdata))}.")
    if table is None:
        if len(tables) > 1:
            raise ValueError(f"{name} has {len(tables)} tables: {listed(tables)}. Choose one with {argument('table')}.")
        return tables[0]
    if table not in tables:
        raise KeyError(f"{table!r} is not a table of {name} (found: {listed(tables)}). Pass {argument('table')}.")
    return table


def _elements(sdata: "SpatialData") -> list[str]:
    """Return the names of all elements except tables."""
    return [name for kind, name, _ in sdata.gen_elements() if kind != "tables"]


def _centroids(sdata: "SpatialData", adata: AnnData, attrs: dict, regions: list[str], system: str) -> np.ndarray:
    """Return the centroid ``(x, y)`` of the shape, point or label that each row annotates, ``(n_rows, 2)``."""
    from spatialdata import get_centroids
    from spatialdata.transformations import Identity, get_transformation, set_transformation

    region_of = adata.obs[attrs["region_key"]].astype(str).to_numpy()
    instance_of = adata.obs[attrs["instance_key"]].to_numpy()
    positions = np.full((adata.n_obs, 2), np.nan)
    for region in regions:
        if region not in sdata:
            raise ValueError(
                f"The table annotates {region!r}, which is not in the SpatialData object (found: "
                f"{listed(_elements(sdata))}), so its rows have no position."
            )
        element = sdata[region]
        if system == _OWN:
            set_transformation(element, Identity(), _OWN)  # in memory only
        elif system not in get_transformation(element, get_all=True):
            raise ValueError(
                f"{region!r} has no coordinate system {system!r} in common with the other elements that the table "
                "annotates. Read one element: histoquilt.io.read_spatialdata(path, region=...)."
            )
        centroids = get_centroids(element, coordinate_system=system).compute()
        rows = np.flatnonzero(region_of == region)
        instances = instance_of[rows]
        if centroids.index.dtype != object:
            instances = instances.astype(centroids.index.dtype)
        positions[rows] = centroids[["x", "y"]].reindex(instances).to_numpy()
    lost = np.isnan(positions).any(axis=1)
    if lost.any():
        raise ValueError(
            f"{lost.sum():,} of {adata.n_obs:,} rows of the table annotate no existing shape or label in "
            f"{listed(regions)}, first: {listed(adata.obs_names[lost], 3)}."
        )
    return positions
