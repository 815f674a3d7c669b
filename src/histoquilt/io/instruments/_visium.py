"""Visium: the output folders of Space Ranger 1 to 4."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from PIL import Image

from histoquilt._base import Keys, argument, either, listed
from histoquilt.io._files import PathLike, existing_folder, unpacked_bytes
from histoquilt.io.instruments._tenx import read_10x_h5, read_10x_mtx
from histoquilt.io.instruments._visium_files import Counts, find_counts, find_file, find_positions
from histoquilt.io.instruments._visium_positions import match_barcodes, read_positions
from histoquilt.runtime import logger, warn_user
from histoquilt.study import VISIUM_PITCH_UM, record_coordinates, record_pitch


def read_visium(
    path: PathLike,
    *,
    counts_file: str | None = None,
    spatial: PathLike | None = None,
    keep_all_spots: bool = False,
    load_images: bool = True,
    library_id: str | None = None,
) -> AnnData:
    r"""Read a Visium section from the folder that Space Ranger (1 to 4) wrote.

    Spots are those of the count matrix, in its order, without those outside the tissue unless ``keep_all_spots``. A
    single bin folder of Visium HD (``binned_outputs/square_008um``) has the same layout and is read, too.

    Parameters
    ----------
    path
        Path of the ``outs`` folder: ``filtered_feature_bc_matrix.h5``, perhaps with the prefix ``<sample>_``, or the
        folder ``filtered_feature_bc_matrix/``; and ``spatial/`` with the spot positions, images and scale factors. Or a
        sample as GEO offers it: the same files in one folder, with the prefix ``GSM..._``, gzip-compressed or not.
    counts_file
        Name of another count matrix in the folder, ``.h5`` or a matrix folder, e.g. ``"raw_feature_bc_matrix.h5"``.
    spatial
        Path of the folder with spot positions, images and scale factors, if it is not ``spatial/`` in `path`.
    keep_all_spots
        If true, spots outside the tissue are kept, which the unfiltered matrix has (``"raw_feature_bc_matrix.h5"``).
    load_images
        If true, the PNG images are read, as uint8 RGB.
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
    ``uns["histoquilt"]["coordinates"]`` : unit, ``pitch_um``, and ``mpp`` from the pitch

    Raises
    ------
    FileNotFoundError
        The folder, its count matrix or its spot positions do not exist.
    ValueError
        The files are damaged or do not belong together, or barcodes are repeated.
    OSError
        The ``.h5`` file or an image is truncated.

    See Also
    --------
    read_platform : whole Visium HD folders, and other platforms.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path") / "outs"
    >>> files = {
    ...     "filtered_feature_bc_matrix/barcodes.tsv": "AAAC-1\nAAAG-1\n",
    ...     "filtered_feature_bc_matrix/features.tsv": "ENSG00000197971\tMBP\tGene Expression\n",
    ...     "filtered_feature_bc_matrix/matrix.mtx":
    ...         "%%MatrixMarket matrix coordinate integer general\n1 2 2\n1 1 3\n1 2 5\n",
    ...     "spatial/tissue_positions_list.csv": "AAAC-1,1,0,0,800,300\nAAAG-1,1,0,2,800,500\n",
    ...     "spatial/scalefactors_json.json": '{"spot_diameter_fullres": 110, "tissue_hires_scalef": 0.1}',
    ... }
    >>> for name, text in files.items():
    ...     (folder / name).parent.mkdir(parents=True, exist_ok=True)
    ...     _ = (folder / name).write_text(text)
    >>> adata = hq.io.read_visium(folder)
    >>> adata.X.toarray().tolist(), adata.obsm["spatial"].tolist(), list(adata.var["gene_symbol"])
    ([[3.0], [5.0]], [[300.0, 800.0], [500.0, 800.0]], ['MBP'])
    """
    folder = existing_folder(path, "a Space Ranger output folder")
    counts = find_counts(folder, counts_file)
    place = None if spatial is None else existing_folder(spatial, "a spatial/ folder of Space Ranger")
    positions_file = find_positions(folder, counts, place)
    positions = read_positions(positions_file)  # before the matrix: quick to read, and as often what is wrong

    adata = read_10x_h5(counts.path) if counts.path.is_file() else read_10x_mtx(counts.path, counts.mtx_prefix)
    source = adata.uns.pop("10x")
    adata = _attach_positions(adata, positions, counts.path, positions_file, keep_all_spots)

    outs_of = folder.resolve().parent.name if folder.resolve().name == "outs" else folder.resolve().name
    library = library_id or next(iter(source["library_ids"]), None) or counts.sample or outs_of
    scalefactors = add_library(adata, library, positions_file.parent, counts, source["metadata"], images=load_images)
    _record_units(adata, scalefactors)
    return adata


def add_library(
    adata: AnnData, library: str, place: Path, counts: Counts, metadata: dict[str, str], *, images: bool
) -> dict[str, float]:
    """Write scale factors and, if wanted, images of a ``spatial/`` folder into ``uns``, and return the factors."""
    factors = _read_scalefactors(place, counts)
    pixels = _read_images(place, counts, factors) if images else {}
    adata.uns["spatial"] = {library: {"images": pixels, "scalefactors": factors, "metadata": metadata}}
    return factors


def _attach_positions(
    adata: AnnData, positions: pd.DataFrame, counts: Path, positions_file: Path, keep_all: bool
) -> AnnData:
    """Match spots by barcode and keep those in tissue, or all."""
    positions = match_barcodes(positions, adata.obs_names)
    known = adata.obs_names.isin(positions.index)
    if not known.all():
        raise ValueError(
            f"{(~known).sum():,} of {len(known):,} barcodes in {counts.name} have no position in "
            f"{positions_file.name}, first: {listed(adata.obs_names[~known], 2)} (the positions are named like "
            f"{listed(positions.index[:1])}). Are the matrix and the spatial/ folder of the same sample?"
        )
    positions = positions.loc[adata.obs_names]
    in_tissue = (positions["in_tissue"] == 1).to_numpy()
    if not in_tissue.any() and not keep_all:
        raise ValueError(f"None of the {len(in_tissue):,} barcodes in {counts.name} is in tissue ({positions_file}).")
    if not in_tissue.all() and not keep_all:
        outside = f"{(~in_tissue).sum():,} of {len(in_tissue):,} spots"
        keep = argument("keep_all_spots", True)
        logger.info("%s lie outside the tissue and are left out; %s keeps them", outside, keep)
        adata, positions = adata[in_tissue].copy(), positions[in_tissue]
    for column in ("in_tissue", "array_row", "array_col"):
        adata.obs[column] = positions[column].to_numpy(dtype=np.int64)
    # x runs along the columns of the image, y along its rows
    adata.obsm[Keys.SPATIAL] = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=np.float64)
    return adata


def _read_scalefactors(spatial_folder: Path, counts: Counts) -> dict[str, float]:
    """Return the scale factors from full-resolution pixels to the images; none if the file is missing."""
    path = find_file(spatial_folder, ("scalefactors_json.json",), counts)
    if path is None:
        return {}
    try:
        factors = json.loads(unpacked_bytes(path))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Copy it again from the Space Ranger output.") from error
    return {name: float(value) for name, value in factors.items() if isinstance(value, int | float)}


def _read_images(spatial_folder: Path, counts: Counts, scalefactors: dict[str, float]) -> dict[str, np.ndarray]:
    """Return the images that have a scale factor, ``(height, width, 3)`` uint8."""
    images: dict[str, Any] = {}
    for resolution in ("hires", "lowres"):
        path = find_file(spatial_folder, (f"tissue_{resolution}_image.png",), counts)
        if path is None:
            continue
        if f"tissue_{resolution}_scalef" not in scalefactors:
            warn_user(
                f"{path.name} is left out: scalefactors_json.json, which says how large its pixels are, "
                f"{'lacks tissue_' + resolution + '_scalef' if scalefactors else 'is missing'} in {spatial_folder}."
            )
            continue
        try:
            with Image.open(BytesIO(unpacked_bytes(path))) as image:
                images[resolution] = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError) as error:  # PIL reports a broken PNG chunk as SyntaxError
            without = either("read without images: load_images=False", "move it elsewhere to read without it")
            raise OSError(
                f"{path} could not be read as an image (truncated?): {error}. Copy it again, or {without}."
            ) from error
    return images


def _record_units(adata: AnnData, scalefactors: dict[str, float]) -> None:
    """Record pixels, with microns per pixel as Space Ranger states them (Visium HD), else by the spot pitch."""
    mpp = scalefactors.get("microns_per_pixel")
    if mpp is not None:
        record_coordinates(adata, "pixel", mpp=mpp, pitch_um=scalefactors.get("bin_size_um"))
    else:
        record_pitch(adata, VISIUM_PITCH_UM)
