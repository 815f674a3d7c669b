"""Visium: the output folders of Space Ranger 1 to 3."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image

from histoweave._checks import _listed
from histoweave._keys import Keys
from histoweave._optional import require
from histoweave._runtime import logger
from histoweave.io._coordinates import VISIUM_PITCH_UM, estimate_mpp, find_lattice, record_coordinates
from histoweave.io._files import PathLike, contents, existing_folder, read_delimited
from histoweave.io._tenx import read_10x_h5, read_10x_mtx

_MATRIX = "filtered_feature_bc_matrix"
_POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
_COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]


def read_visium(
    path: PathLike, *, counts_file: str | None = None, load_images: bool = True, library_id: str | None = None
) -> AnnData:
    """Read a Visium section from the folder that Space Ranger (1 to 3) wrote.

    Kept are the spots that lie in tissue and are in the count matrix, in the order of the matrix. A single bin folder
    of Visium HD (``binned_outputs/square_008um``) has the same layout and is read too.

    Parameters
    ----------
    path
        The ``outs`` folder: ``filtered_feature_bc_matrix.h5``, or the same with ``<sample>_`` before it, or the folder
        ``filtered_feature_bc_matrix/``; and ``spatial/`` with the spot positions, images and scale factors.
    counts_file
        Name of another count matrix in the folder, ``.h5`` or a matrix folder, e.g. ``"raw_feature_bc_matrix.h5"``.
    load_images
        Read the PNG images, as uint8 RGB.
    library_id
        Name of the section in ``uns["spatial"]``. By default the one that Space Ranger wrote into the ``.h5``, else
        the ``<sample>`` of the file name, else the folder's name.

    Returns
    -------
    AnnData ``(n_spots, n_genes)`` with

    ``X`` : raw counts, CSR float32, declared as ``"counts"``
    ``obs`` : ``in_tissue``, ``array_row``, ``array_col``
    ``obsm["spatial"]`` : float64 ``(n_spots, 2)``, ``(x, y)`` in full-resolution pixels
    ``var`` : ``gene_id``, ``gene_symbol`` (see :func:`annotate_genes`)
    ``uns["spatial"][library_id]`` : ``images``, ``scalefactors``, ``metadata``, as scanpy and squidpy know them
    ``uns["histoweave"]["coordinates"]`` : unit, ``pitch_um``, and ``mpp`` from the pitch

    Raises
    ------
    FileNotFoundError
        The folder, its count matrix or its spot positions are not there.
    ValueError
        The files are damaged or do not belong together, or barcodes are repeated.
    OSError
        The ``.h5`` file or an image is truncated.

    See Also
    --------
    read_platform : whole Visium HD folders, and other platforms.
    """
    folder = existing_folder(path, "a Space Ranger output folder")
    counts, sample = _find_counts(folder, counts_file)
    spatial_folder = folder / "spatial"
    positions_file = _find_positions(folder, spatial_folder)
    scalefactors = _read_scalefactors(spatial_folder)
    positions = _read_positions(positions_file)  # before the matrix: quick to read, and as often what is wrong

    adata = read_10x_h5(counts) if counts.is_file() else read_10x_mtx(counts, prefix=_mtx_prefix(counts))
    source = adata.uns.pop("10x")
    adata = _attach_positions(adata, positions, counts, positions_file)

    outs_of = folder.resolve().parent.name if folder.resolve().name == "outs" else folder.resolve().name
    library = library_id or next(iter(source["library_ids"]), None) or sample or outs_of
    images = _read_images(spatial_folder, scalefactors) if load_images else {}
    adata.uns["spatial"] = {library: {"images": images, "scalefactors": scalefactors, "metadata": source["metadata"]}}
    _record_units(adata, scalefactors)
    return adata


def _find_counts(folder: Path, counts_file: str | None) -> tuple[Path, str | None]:
    """Return the count matrix, a file or a folder, and the sample name before its own."""
    if counts_file is not None:
        asked = folder / counts_file
        if not asked.exists():
            raise FileNotFoundError(f"{folder} has no {counts_file!r} (counts_file=). It holds: {contents(folder)}.")
        return asked, None
    for name in (f"{_MATRIX}.h5", _MATRIX):
        if (folder / name).exists():
            return folder / name, None
        found = sorted(folder.glob(f"*_{name}"))
        if len(found) > 1:
            raise ValueError(
                f"{folder} holds several count matrices: {_listed(item.name for item in found)}. "
                "Choose one with counts_file=."
            )
        if found:
            return found[0], found[0].name.removesuffix(name).rstrip("_")
    raw = sorted(item.name for item in folder.glob("*raw_feature_bc_matrix*"))
    hint = f" Only the unfiltered matrix is there; to read it pass counts_file={raw[0]!r}." if raw else ""
    if (folder / "outs").is_dir():
        hint = f" Did you mean {folder / 'outs'}?"
    raise FileNotFoundError(
        f"{folder} is no Space Ranger output folder: looked for {_MATRIX}.h5, <sample>_{_MATRIX}.h5 and "
        f"{_MATRIX}/. It holds: {contents(folder)}.{hint}"
    )


def _mtx_prefix(folder: Path) -> str:
    """Return what stands before ``matrix.mtx`` in a matrix folder."""
    found = [item.name.partition("matrix.mtx")[0] for item in sorted(folder.glob("*matrix.mtx*"))]
    return found[0] if found else ""


def _find_positions(folder: Path, spatial_folder: Path) -> Path:
    if not spatial_folder.is_dir():
        raise FileNotFoundError(
            f"{folder} has no spatial/ folder, so the spots have no positions. It holds: {contents(folder)}. "
            "Copy spatial/ from the same Space Ranger run (GEO offers it as <sample>_spatial.tar.gz)."
        )
    for name in _POSITIONS:
        for candidate in (spatial_folder / name, spatial_folder / f"{name}.gz"):
            if candidate.is_file():
                return candidate
    raise FileNotFoundError(
        f"{spatial_folder} has no spot positions: looked for {', '.join(_POSITIONS)}. "
        f"It holds: {contents(spatial_folder)}."
    )


def _read_positions(path: Path) -> pd.DataFrame:
    """Read spot positions, indexed by barcode, from any of the three forms that Space Ranger has written."""
    if path.suffix == ".parquet":
        require("pyarrow", extra="spatial", purpose=f"Reading {path.name}")
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
            raise ValueError(f"{path} could not be read as a parquet table (truncated?): {error}.") from error
    else:
        table = read_delimited(path, header=None, dtype=str)
        if str(table.iloc[0, 0]).strip().lower() == "barcode":  # Space Ranger 2 added a header, and some tools before
            table = table.set_axis(table.iloc[0].str.strip(), axis=1).iloc[1:]
        elif table.shape[1] == len(_COLUMNS):
            table = table.set_axis(_COLUMNS, axis=1)
    missing = [column for column in _COLUMNS if column not in table]
    if missing:
        raise ValueError(
            f"{path} is no table of Visium spot positions: expected the columns {', '.join(_COLUMNS)}, found "
            f"{_listed(table.columns)}."
        )
    table = table[_COLUMNS].set_index("barcode")
    repeated = table.index[table.index.duplicated()].unique()
    if len(repeated):
        raise ValueError(f"{path} lists barcodes more than once: {_listed(repeated, 3)}. Each spot has one position.")
    numbers = table.apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=np.float64)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{path}: {bad.sum():,} of {len(bad):,} positions are not numbers, first: {_listed(table.index[bad], 3)}."
        )
    return numbers


def _attach_positions(adata: AnnData, positions: pd.DataFrame, counts: Path, positions_file: Path) -> AnnData:
    """Match spots by barcode and keep those in tissue."""
    known = adata.obs_names.isin(positions.index)
    if not known.all():
        raise ValueError(
            f"{(~known).sum():,} of {len(known):,} barcodes in {counts.name} have no position in "
            f"{positions_file.name}, first: {_listed(adata.obs_names[~known], 2)} (the positions are named like "
            f"{_listed(positions.index[:1])}). Are the matrix and the spatial/ folder of the same sample?"
        )
    positions = positions.loc[adata.obs_names]
    in_tissue = (positions["in_tissue"] == 1).to_numpy()
    if not in_tissue.any():
        raise ValueError(f"None of the {len(in_tissue):,} barcodes in {counts.name} is in tissue ({positions_file}).")
    if not in_tissue.all():
        logger.info("%d of %d spots lie outside the tissue and are left out", (~in_tissue).sum(), len(in_tissue))
        adata, positions = adata[in_tissue].copy(), positions[in_tissue]
    for column in ("in_tissue", "array_row", "array_col"):
        adata.obs[column] = positions[column].to_numpy(dtype=np.int64)
    # x runs along the columns of the image, y along its rows
    adata.obsm[Keys.SPATIAL] = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=np.float64)
    return adata


def _read_scalefactors(spatial_folder: Path) -> dict[str, float]:
    """Scale factors from full-resolution pixels to the images; none where the file is missing."""
    path = spatial_folder / "scalefactors_json.json"
    if not path.is_file():
        return {}
    try:
        factors = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no valid JSON ({error}). Copy it again from the Space Ranger output.") from error
    return {name: float(value) for name, value in factors.items() if isinstance(value, int | float)}


def _read_images(spatial_folder: Path, scalefactors: dict[str, float]) -> dict[str, np.ndarray]:
    """Images that have a scale factor, ``(height, width, 3)`` uint8."""
    images: dict[str, Any] = {}
    for resolution in ("hires", "lowres"):
        path = spatial_folder / f"tissue_{resolution}_image.png"
        if not path.is_file():
            continue
        if f"tissue_{resolution}_scalef" not in scalefactors:
            warnings.warn(
                f"{path.name} is left out: scalefactors_json.json, which says how large its pixels are, "
                f"{'lacks tissue_' + resolution + '_scalef' if scalefactors else 'is missing'} in {spatial_folder}.",
                UserWarning,
                stacklevel=3,
            )
            continue
        try:
            with Image.open(path) as image:
                images[resolution] = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError) as error:  # PIL reports a broken PNG chunk as SyntaxError
            raise OSError(
                f"{path} could not be read as an image (truncated?): {error}. Copy it again, or read without images: "
                "load_images=False."
            ) from error
    return images


def _record_units(adata: AnnData, scalefactors: dict[str, float]) -> None:
    """Pixels; with microns per pixel as Space Ranger states them (Visium HD), else by the spot pitch."""
    if "microns_per_pixel" in scalefactors:
        record_coordinates(
            adata, "pixel", mpp=scalefactors["microns_per_pixel"], pitch_um=scalefactors.get("bin_size_um")
        )
        return
    record_coordinates(adata, "pixel", pitch_um=VISIUM_PITCH_UM)
    if find_lattice(adata.obsm[Keys.SPATIAL]) is not None:  # a handful of spots shows no lattice
        record_coordinates(adata, "pixel", mpp=estimate_mpp(adata), pitch_um=VISIUM_PITCH_UM)
