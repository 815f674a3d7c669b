"""Tables of cells as CosMx and MERSCOPE write them: counts and metadata, joined by the cell, never by order."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix, vstack

from histoweave._checks import _listed, check_adata
from histoweave._keys import Keys
from histoweave._runtime import logger, warn_user
from histoweave.io._coordinates import Unit, record_coordinates
from histoweave.io._files import contents, read_delimited
from histoweave.io._genes import annotate_genes

_CHUNK = 10_000  # cells read at a time
_UM_PER_MM = 1000.0
_COSMX_IDS = {"fov", "cell_id", "cell"}  # in lower case; all other columns of the counts are genes


def read_cosmx(folder: Path) -> AnnData:
    """Read the flat files of CosMx: counts and metadata, with positions on the slide.

    Cells are joined by ``fov`` and ``cell_ID``, else by a column ``cell``. ``cell_ID`` 0 is what lies in no cell, and
    is left out. Coordinates are pixels of the slide, or microns where the metadata has millimetres only.
    """
    metadata_file = find_table(folder, "metadata_file", "CosMx")
    counts_file = find_table(folder, "exprMat_file", "CosMx")
    obs = read_delimited(metadata_file, low_memory=False)
    header = read_delimited(counts_file, nrows=0).columns
    key = _cosmx_key(header, obs.columns, folder)
    counts, names, genes = _read_counts(counts_file, key, _COSMX_IDS)
    obs = obs[~_repeats_header(obs)].set_axis(key(obs), axis=0)
    positions, unit = _cosmx_positions(obs, folder)
    outside = _column(obs, "cell_ID")
    if outside is not None:
        obs = obs[(outside.astype(str) != "0").to_numpy()]
    fov = _column(obs, "fov")
    if fov is not None:
        obs[fov.name] = pd.Categorical(fov.astype(str))
    drop = [name for name in obs if str(name).lower().startswith(("centerx_", "centery_"))]
    return _joined(counts, names, genes, obs.drop(columns=drop), positions, unit, folder)


def read_merscope(folder: Path) -> AnnData:
    """Read the tables of MERSCOPE: counts and metadata, joined by the cell; positions are microns."""
    obs_file, counts_file = (find_table(folder, name, "MERSCOPE") for name in ("cell_metadata", "cell_by_gene"))
    header = read_delimited(obs_file, nrows=0).columns
    obs = read_delimited(obs_file, dtype={header[0]: str}).set_index(header[0])
    missing = [name for name in ("center_x", "center_y") if name not in obs]
    if missing:
        raise ValueError(f"{obs_file} has no columns {_listed(missing)} (found: {_listed(obs.columns, 12)}).")
    first = str(read_delimited(counts_file, nrows=0).columns[0])
    counts, names, genes = _read_counts(counts_file, lambda table: pd.Index(table[first]), {first.lower()}, text=first)
    positions = obs[["center_x", "center_y"]]
    here = folder.resolve()
    for column, value in (("region", here.name), (Keys.SLIDE, here.parent.name)):
        if column not in obs:
            obs[column] = pd.Categorical([value] * len(obs))
    return _joined(counts, names, genes, obs, positions, "micron", folder)


def find_table(folder: Path, name: str, label: str) -> Path:
    """Return the one table of a name, with any prefix, compressed or not."""
    found = sorted(path for ending in ("csv", "csv.gz") for path in folder.glob(f"*{name}.{ending}"))
    if not found:
        raise FileNotFoundError(
            f"{folder} is not a complete {label} output: *{name}.csv is missing. It holds: {contents(folder)}."
        )
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds {len(found)} tables *{name}.csv: {_listed(path.name for path in found)}. Give each sample "
            "a folder of its own."
        )
    return found[0]


def _read_counts(
    path: Path, key: Callable[[pd.DataFrame], pd.Index], ids: set[str], *, text: str | None = None
) -> tuple[csr_matrix, pd.Index, list[str]]:
    """Read counts by chunks: matrix, names of the cells, names of the genes."""
    options: dict[str, Any] = {"dtype": {text: str}} if text else {}
    header = read_delimited(path, nrows=0).columns
    genes = [name for name in header if str(name).lower() not in ids]
    blocks, names = [], []
    for chunk in cast("Iterable[pd.DataFrame]", read_delimited(path, chunksize=_CHUNK, **options)):
        try:
            blocks.append(csr_matrix(chunk[genes].to_numpy(dtype=np.float32)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} holds something else than counts: {error}.") from error
        names.append(key(chunk))
    if not blocks:
        raise ValueError(f"{path} holds no cell.")
    return vstack(blocks, format="csr"), names[0].append(names[1:]), genes


def _cosmx_key(counts: pd.Index, metadata: pd.Index, folder: Path) -> Callable[[pd.DataFrame], pd.Index]:
    """Return what names the cells of both tables."""
    both = [{str(name).lower(): str(name) for name in reversed(columns)} for columns in (counts, metadata)]
    exact = [set(map(str, columns)) for columns in (counts, metadata)]
    if all("fov" in names for names in both) and all("cell_ID" in names or "cell_id" in names for names in exact):

        def by_field(table: pd.DataFrame) -> pd.Index:
            fov, cell = _column(table, "fov"), _column(table, "cell_ID")
            assert fov is not None
            assert cell is not None
            return pd.Index(cell.astype(str).str.cat(fov.astype(str), sep="_").to_numpy(dtype=object))

        return by_field
    for name in ("cell", "cell_id"):
        if all(name in names for names in both):
            return lambda table: pd.Index(_column(table, name).astype(str).to_numpy(dtype=object))  # type: ignore[union-attr]
    raise ValueError(
        f"{folder} could not be read as CosMx: counts and metadata have no columns in common that name the cells "
        f"(looked for fov with cell_ID, or cell; counts begin with {_listed(counts, 4)}, metadata with "
        f"{_listed(metadata, 8)})."
    )


def _column(table: pd.DataFrame, name: str) -> pd.Series | None:
    """Return a column by its name, else by its name in another case."""
    if name in table:
        return table[name]
    return next((table[other] for other in table if str(other).lower() == name.lower()), None)


def _repeats_header(obs: pd.DataFrame) -> np.ndarray:
    """Whether rows repeat the header, as files that were joined on the shell have them."""
    first = obs.iloc[:, 0]
    return (first.astype(str) == str(obs.columns[0])).to_numpy()


def _cosmx_positions(obs: pd.DataFrame, folder: Path) -> tuple[pd.DataFrame, Unit]:
    """Return the positions of the cells on the slide, and their unit."""
    for x, y, factor, unit in (
        ("CenterX_global_px", "CenterY_global_px", 1.0, "pixel"),
        ("CenterX_global_mm", "CenterY_global_mm", _UM_PER_MM, "micron"),
        ("x_slide_mm", "y_slide_mm", _UM_PER_MM, "micron"),
    ):
        columns = [_column(obs, name) for name in (x, y)]
        if all(column is not None for column in columns):
            return pd.concat(columns, axis=1).astype(float) * factor, unit  # type: ignore[return-value]
    local = [_column(obs, name) for name in ("CenterX_local_px", "CenterY_local_px")]
    fov = _column(obs, "fov")
    if any(column is None for column in local) or fov is None:
        raise ValueError(
            f"{folder} could not be read as CosMx: the metadata has no CenterX_global_px and CenterY_global_px (found: "
            f"{_listed(obs.columns, 12)})."
        )
    positions = pd.concat(local, axis=1).astype(float)
    if len(fov.unique()) == 1:
        return positions, "pixel"
    places = read_delimited(find_table(folder, "fov_positions_file", "CosMx"))
    corners = [_column(places, name) for name in ("x_global_px", "y_global_px")]
    numbers = _column(places, "fov")
    if numbers is None or any(corner is None for corner in corners):
        raise ValueError(f"{folder}: *fov_positions_file.csv has no columns FOV, x_global_px and y_global_px.")
    table = pd.concat(corners, axis=1).set_axis(numbers.astype(str))
    return positions + table.reindex(fov.astype(str)).to_numpy(), "pixel"


def _joined(
    counts: csr_matrix,
    names: pd.Index,
    genes: list[str],
    obs: pd.DataFrame,
    positions: pd.DataFrame,
    unit: Unit,
    folder: Path,
) -> AnnData:
    """Return the cells that both tables have, in the order of the counts."""
    for what, index in (("counts", names), ("metadata", obs.index)):
        if index.has_duplicates:
            repeated = _listed(index[index.duplicated()].unique(), 3)
            raise ValueError(f"{folder}: cells must be named once in the {what}; repeated: {repeated}.")
    shared = names.isin(obs.index)
    if not shared.any():
        raise ValueError(
            f"{folder}: counts and metadata have no cell in common (counts name {_listed(names, 2)}, metadata "
            f"{_listed(obs.index, 2)})."
        )
    n_lost = len(obs) - int(shared.sum())
    if n_lost:
        warn_user(f"{n_lost:,} of {len(obs):,} cells of the metadata have no counts in {folder}; they are left out.")
    if not shared.all():
        logger.info("%d rows of the counts are no cells of the metadata and are left out", int((~shared).sum()))
    obs = obs.loc[names[shared]]
    adata = AnnData(counts[np.flatnonzero(shared)], obs=obs, var=pd.DataFrame(index=pd.Index(genes)))
    adata.obs_names = pd.Index(adata.obs_names.astype(str).to_numpy(dtype=object))
    adata.obs_names.name = None
    adata.obsm[Keys.SPATIAL] = positions.loc[obs.index].to_numpy(dtype=np.float64)
    check_adata(adata)
    annotate_genes(adata)
    record_coordinates(adata, unit)
    return adata
