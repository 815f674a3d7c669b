"""Platforms by name: their files, the reader of spatialdata-io or of histoquilt, and the meaning of their numbers."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, require, visible
from histoquilt.io._files import PathLike, contents, existing_folder, one_line, read_delimited
from histoquilt.io._h5ad import read_h5ad
from histoquilt.io.instruments._cosmx import read_cosmx
from histoquilt.io.instruments._merscope import read_merscope
from histoquilt.io.instruments._spatialdata import quiet_reader, section_from_spatialdata
from histoquilt.io.instruments._visium import read_visium
from histoquilt.io.instruments._visium_hd import read_visium_hd
from histoquilt.io.instruments._xenium import read_xenium
from histoquilt.study import declare_scale, record_coordinates


def _read_curio(folder: Path) -> AnnData:
    """Read the AnnData that Curio Seeker writes, with its clusters.

    spatialdata-io 0.7 cannot: it still calls SpatialData with an argument that spatialdata 0.7 has dropped.
    """
    files = sorted(visible(folder, "*_anndata.h5ad"))
    if len(files) != 1:
        raise FileNotFoundError(
            f"{folder} is not a Curio Seeker output: it has {len(files) or 'no'} files *_anndata.h5ad, expected one. "
            f"It holds: {contents(folder)}."
        )
    adata = read_h5ad(files[0])
    assignment = files[0].with_name(files[0].name.replace("_anndata.h5ad", "_cluster_assignment.txt"))
    if assignment.is_file():
        clusters = read_delimited(assignment, header=None, dtype=str).set_index(0)[1]
        adata.obs["cluster"] = pd.Categorical(clusters.reindex(adata.obs_names))
    return adata


@dataclass(frozen=True)
class Platform:
    """Entry of the registry of platforms."""

    label: str
    # globs that are all met by an output folder, and together by no other platform's; "|" separates alternatives
    markers: tuple[str, ...] = ()
    read: Callable[..., AnnData] | None = None  # histoquilt's own reader
    own_options: tuple[str, ...] = ()  # of the own reader; with any other the reader of spatialdata_io is called
    reader: str | None = None  # function of spatialdata_io, also for options that the own reader does not have
    table: str | None = None  # the table with one row per cell, if the reader returns several
    counts: bool = False  # X is raw counts by the format's definition
    # arguments of the reader set to False: images, transcripts and outlines take minutes and gigabytes
    options: tuple[str, ...] = ()


PLATFORMS: dict[str, Platform] = {
    "visium_hd": Platform(
        "Visium HD", ("binned_outputs/square_*|segmented_outputs/|*_feature_cell_matrix*",), read_visium_hd
    ),
    "visium": Platform("Visium", ("*filtered_feature_bc_matrix*", "spatial"), read_visium),
    "xenium": Platform(
        "Xenium", ("experiment.xenium",), read_xenium, ("polygons",), reader="xenium", counts=True, options=(
            "cells_boundaries", "nucleus_boundaries", "cells_labels", "nucleus_labels", "transcripts",
            "morphology_mip", "morphology_focus", "aligned_images",
        ),
    ),
    # spatialdata-io joins MERSCOPE's tables by order, and needs CosMx's images
    "merscope": Platform(
        "MERSCOPE", ("*cell_by_gene*.csv*", "*cell_metadata*.csv*"), read_merscope, ("counts_file",), reader="merscope",
        counts=True, options=("transcripts", "cells_boundaries", "mosaic_images"),
    ),
    "cosmx": Platform(
        "CosMx", ("*exprMat_file*.csv*", "*metadata_file*.csv*"), read_cosmx, ("counts_file",), reader="cosmx",
        counts=True, options=("transcripts",),
    ),
    "stereoseq": Platform(
        "Stereo-seq", ("041.cellcut", "051.cellcluster"), reader="stereoseq", table="cells_table",
        options=("read_square_bin",),
    ),
    "curio": Platform("Curio Seeker (Slide-seq)", ("*_anndata.h5ad", "*_cluster_assignment.txt"), _read_curio),
    "seqfish": Platform(
        "seqFISH", ("*CellxGene*.csv", "*CellCoordinates*.csv"), reader="seqfish", counts=True,
        options=("load_images", "load_labels", "load_points", "load_shapes"),
    ),
    "dbit": Platform("DBiT-seq", reader="dbit"),
    "codex": Platform("CODEX", reader="codex"),
    "mcmicro": Platform("MCMICRO", reader="mcmicro"),
    "steinbock": Platform("steinbock (imaging mass cytometry)", reader="steinbock"),
}  # fmt: skip
_ALIASES = {
    "curioseeker": "curio", "slideseq": "curio", "vizgen": "merscope", "merfish": "merscope", "nanostring": "cosmx",
    "stereo": "stereoseq", "spaceranger": "visium", "dbitseq": "dbit",
}  # fmt: skip


def read_platform(platform: str, path: PathLike, **options: Any) -> AnnData:
    """Read the output folder of a platform by its name.

    Visium, Visium HD, Xenium, Curio, and the tables of CosMx and MERSCOPE are read by histoquilt itself, every other
    platform by the function of the same name in spatialdata-io (extra ``spatial``). Only the table, the positions, and
    outlines of cells (Xenium, cells of Visium HD) are read unless ``options`` request more. Counts of control probes
    are in ``obsm["controls"]``.

    Parameters
    ----------
    platform
        ``"visium"``, ``"visium_hd"``, ``"xenium"``, ``"merscope"``, ``"cosmx"``, ``"stereoseq"``, ``"curio"``,
        ``"seqfish"``, ``"dbit"``, ``"codex"``, ``"mcmicro"`` or ``"steinbock"``; case, spaces and dashes do not matter.
    path
        Folder that the instrument's software wrote.
    **options
        Options of the reader: ``table`` and ``region`` choose among several (see :func:`read_spatialdata`);
        ``bin_size`` is for Visium HD: microns, or ``"cells"`` for the cells that Space Ranger 4 segments (default 8, or
        cells if there are no bins); ``counts_file`` for Visium, Visium HD, MERSCOPE and CosMx; ``polygons=False``
        leaves out outlines of cells; all others go to the reader of spatialdata-io, for Xenium, MERSCOPE and CosMx,
        too.

    Returns
    -------
    AnnData with ``obsm["spatial"]`` in the unit recorded in ``uns["histoquilt"]["coordinates"]``: microns for Xenium,
    MERSCOPE and seqFISH, pixels for Visium, Visium HD, CosMx (of the whole slide, not of a field) and Stereo-seq (DNB
    spots), array positions for DBiT-seq, ``"unknown"`` where the format does not say. Outlines of cells are in
    ``obsm["cell_polygons"]``, CSR float32: each row has the vertices of a closed ring, ``x, y, x, y ...``, in the same
    unit; it is empty for a cell without an outline.

    Raises
    ------
    ImportError
        spatialdata-io is not installed.
    FileNotFoundError
        The folder, or a file in it, does not exist.
    ValueError
        The platform is unknown, or the folder could not be read as its output.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.io.read_platform("nanopore", "sample/")
    Traceback (most recent call last):
        ...
    ValueError: Unknown platform 'nanopore'; known are visium_hd, visium, xenium, ...
    """
    name = _canonical(platform)
    entry = PLATFORMS[name]
    folder = existing_folder(path, f"the output folder of {entry.label}")
    if entry.read is not None and (entry.reader is None or set(options) <= set(entry.own_options)):
        return entry.read(folder, **options)
    with quiet_reader():  # importing it warns, too
        readers = require("spatialdata_io", extra="spatial", purpose=f"Reading {entry.label}")
    table, region = options.pop("table", entry.table), options.pop("region", None)
    sdata = _call(getattr(readers, str(entry.reader)), entry, folder, dict.fromkeys(entry.options, False) | options)
    adata = section_from_spatialdata(sdata, str(folder), table=table, region=region)
    if entry.counts:
        declare_scale(adata, "X", "counts")
    if name == "steinbock":  # its reader keeps image order: row, column
        adata.obsm[Keys.SPATIAL] = adata.obsm[Keys.SPATIAL][:, ::-1].copy()
    # Stereo-seq coordinates count DNB spots; the file says how many nanometres apart they are
    if name == "stereoseq" and (resolution := adata.uns.get("cellBin_attrs", {}).get("resolution")) is not None:
        record_coordinates(adata, "pixel", mpp=float(np.ravel(resolution)[0]) / 1000)
    return adata


def recognise_platform(folder: Path) -> str | None:
    """Return the name of the platform whose files are in a folder, or None."""
    for name, entry in PLATFORMS.items():
        if entry.markers and all(
            any(any(visible(folder, one)) for one in marker.split("|")) for marker in entry.markers
        ):
            return name
    return None


def half_platform(folder: Path) -> str | None:
    """Return the name of the platform whose counts are in a folder without the positions of the cells, or None."""
    return next((name for name in ("cosmx", "merscope") if any(visible(folder, PLATFORMS[name].markers[0]))), None)


def _canonical(platform: str) -> str:
    """Return the name in the registry for a name in any spelling."""
    plain = platform.lower().replace("-", "").replace("_", "").replace(" ", "")
    by_plain = {name.replace("_", ""): name for name in PLATFORMS} | _ALIASES
    if plain not in by_plain:
        raise ValueError(f"Unknown platform {platform!r}; known are {', '.join(PLATFORMS)}.")
    return by_plain[plain]


def _call(reader: Callable, entry: Platform, folder: Path, options: dict[str, Any]) -> Any:
    """Call a reader of spatialdata-io and turn its errors about a foreign folder into one sentence."""
    try:
        with quiet_reader():
            return reader(folder, **options)
    except (ImportError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder} is not a complete {entry.label} output: {_describe_missing(error, folder)}. "
            f"It holds: {contents(folder)}."
        ) from error
    except Exception as error:  # assertions, index and key errors: there is no common type
        raise ValueError(
            f"{folder} could not be read as {entry.label} by spatialdata-io: {type(error).__name__}: "
            f"{one_line(error)}. It holds: {contents(folder)}."
        ) from error


def _describe_missing(error: FileNotFoundError, folder: Path) -> str:
    """Return which file is missing, also if the path is part of a sentence: "Images directory not found: ...".

    Examples
    --------
    >>> _describe_missing(FileNotFoundError("Images directory not found: run/CellComposite."), Path("run"))
    'CellComposite is missing'
    """
    sentence = one_line(error)
    _, inside, rest = sentence.partition(f"{folder}{os.sep}")
    name = error.filename or (re.match(r"[^\s'\":,]*", rest)[0] if inside else "")  # type: ignore[index]
    return f"{Path(str(name)).name} is missing" if name else sentence
