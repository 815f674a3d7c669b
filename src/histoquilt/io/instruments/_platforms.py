"""Platforms by name: which reader of spatialdata-io knows the folder, and what its numbers mean."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import either, listed, require
from histoquilt.io._files import PathLike, contents, existing_folder, read_delimited
from histoquilt.io._h5ad import read_h5ad
from histoquilt.io.instruments._cosmx import read_cosmx
from histoquilt.io.instruments._merscope import read_merscope
from histoquilt.io.instruments._spatialdata import quiet_reader, section_from_spatialdata
from histoquilt.io.instruments._visium import read_visium
from histoquilt.runtime import logger
from histoquilt.study import declare_scale, record_coordinates


@dataclass(frozen=True)
class Platform:
    """One entry of the registry: data only."""

    label: str
    markers: tuple[str, ...] = ()  # globs that are all met by an output folder, and together by no other platform's
    reader: str | None = None  # function of spatialdata_io; None where histoquilt reads the folder itself
    table: str | None = None  # the table with one row a cell, where the reader makes several
    counts: bool = False  # X is raw counts by the format's definition
    # Images, transcripts and outlines take minutes and gigabytes and are not needed for a table with positions.
    options: Mapping[str, Any] = field(default_factory=dict)


PLATFORMS: dict[str, Platform] = {
    "visium_hd": Platform("Visium HD", ("binned_outputs/square_*",), counts=True),
    "visium": Platform("Visium", ("*filtered_feature_bc_matrix*", "spatial"), counts=True),
    "xenium": Platform(
        "Xenium",
        ("experiment.xenium",),
        reader="xenium",
        counts=True,
        options={
            "cells_boundaries": False,
            "nucleus_boundaries": False,
            "cells_labels": False,
            "nucleus_labels": False,
            "transcripts": False,
            "morphology_mip": False,
            "morphology_focus": False,
            "aligned_images": False,
        },
    ),
    "merscope": Platform(
        "MERSCOPE",
        ("*cell_by_gene*.csv*", "*cell_metadata*.csv*"),
        reader="merscope",
        counts=True,
        options={"transcripts": False, "cells_boundaries": False, "mosaic_images": False},
    ),
    "cosmx": Platform(
        "CosMx", ("*exprMat_file*.csv*", "*metadata_file*.csv*"), "cosmx", counts=True, options={"transcripts": False}
    ),
    "stereoseq": Platform(
        "Stereo-seq", ("041.cellcut", "051.cellcluster"), "stereoseq", "cells_table", options={"read_square_bin": False}
    ),
    "curio": Platform("Curio Seeker (Slide-seq)", ("*_anndata.h5ad", "*_cluster_assignment.txt")),
    "seqfish": Platform(
        "seqFISH",
        ("*CellxGene*.csv", "*CellCoordinates*.csv"),
        "seqfish",
        counts=True,
        options={"load_images": False, "load_labels": False, "load_points": False, "load_shapes": False},
    ),
    "dbit": Platform("DBiT-seq", reader="dbit"),
    "codex": Platform("CODEX", reader="codex"),
    "mcmicro": Platform("MCMICRO", reader="mcmicro"),
    "steinbock": Platform("steinbock (imaging mass cytometry)", reader="steinbock"),
}
# read by histoquilt unless images or the like are asked for: spatialdata-io joins MERSCOPE's tables by order, and needs
# CosMx's images
_TABLES: dict[str, Callable[..., AnnData]] = {"cosmx": read_cosmx, "merscope": read_merscope}
_ALIASES = {
    "curioseeker": "curio",
    "slideseq": "curio",
    "vizgen": "merscope",
    "merfish": "merscope",
    "nanostring": "cosmx",
    "stereo": "stereoseq",
    "spaceranger": "visium",
    "dbitseq": "dbit",
}


def read_platform(platform: str, path: PathLike, **options: Any) -> AnnData:
    """Read the output folder of a platform by its name.

    Visium, Visium HD, Curio, and the tables of CosMx and MERSCOPE are read by histoquilt itself, every other platform
    by the function of the same name in spatialdata-io (extra ``spatial``). Only the table and the positions are read
    unless ``options`` ask for more. Control probes are not genes: their counts are in ``obsm["controls"]``.

    Parameters
    ----------
    platform
        ``"visium"``, ``"visium_hd"``, ``"xenium"``, ``"merscope"``, ``"cosmx"``, ``"stereoseq"``, ``"curio"``,
        ``"seqfish"``, ``"dbit"``, ``"codex"``, ``"mcmicro"`` or ``"steinbock"``; case, spaces and dashes do not matter.
    path
        The folder that the instrument's software wrote.
    **options
        ``table`` and ``region`` choose among several (see :func:`read_spatialdata`); ``bin_size`` in microns is for
        Visium HD (default 8); ``counts_file`` for Visium, MERSCOPE and CosMx; everything else goes to the reader of
        spatialdata-io, MERSCOPE and CosMx included.

    Returns
    -------
    AnnData with ``obsm["spatial"]`` in the unit recorded in ``uns["histoquilt"]["coordinates"]``: microns for Xenium,
    MERSCOPE and seqFISH, pixels for Visium, Visium HD, CosMx (of the whole slide, not of a field) and Stereo-seq (DNB
    spots), array positions for DBiT-seq, ``"unknown"`` where the format does not say.

    Raises
    ------
    ImportError
        spatialdata-io is not installed.
    FileNotFoundError
        The folder, or a file in it, is not there.
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
    return _read(_canonical(platform), path, **options)


def _read(name: str, path: PathLike, **options: Any) -> AnnData:
    entry = PLATFORMS[name]
    folder = existing_folder(path, f"the output folder of {entry.label}")
    if name == "visium":
        return read_visium(folder, **options)
    if name == "visium_hd":
        return _read_visium_hd(folder, **options)
    if name == "curio":
        return _read_curio(folder, **options)
    if name in _TABLES and not set(options) - {"counts_file"}:  # other options are those of spatialdata-io
        return _TABLES[name](folder, **options)
    with quiet_reader():  # what it imports warns, too
        readers = require("spatialdata_io", extra="spatial", purpose=f"Reading {entry.label}")
    choice = {"table": options.pop("table", entry.table), "region": options.pop("region", None)}
    sdata = _call(getattr(readers, str(entry.reader)), entry, folder, {**entry.options, **options})
    adata = section_from_spatialdata(sdata, str(folder), **choice)
    if entry.counts:
        declare_scale(adata, "X", "counts")
    if name == "steinbock":  # its reader keeps image order: row, column
        adata.obsm["spatial"] = adata.obsm["spatial"][:, ::-1].copy()
    if name == "stereoseq":
        _record_dnb_size(adata)
    return adata


def recognise_platform(folder: Path) -> str | None:
    """Name of the platform whose files are in a folder, or None."""
    for name, entry in PLATFORMS.items():
        if entry.markers and all(any(folder.glob(marker)) for marker in entry.markers):
            return name
    return None


def half_platform(folder: Path) -> str | None:
    """Name of the platform whose counts are in a folder without the positions of the cells, or None."""
    return next((name for name in _TABLES if any(folder.glob(PLATFORMS[name].markers[0]))), None)


def _canonical(platform: str) -> str:
    """Return the name in the registry for what somebody typed."""
    plain = platform.lower().replace("-", "").replace("_", "").replace(" ", "")
    by_plain = {name.replace("_", ""): name for name in PLATFORMS} | _ALIASES
    if plain not in by_plain:
        raise ValueError(f"Unknown platform {platform!r}; known are {', '.join(PLATFORMS)}.")
    return by_plain[plain]


def _call(reader: Callable, entry: Platform, folder: Path, options: dict[str, Any]) -> Any:
    """Call a reader of spatialdata-io; what it raises on a strange folder is put into one sentence."""
    try:
        with quiet_reader():
            return reader(folder, **options)
    except (ImportError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder} is not a complete {entry.label} output: {_what_is_missing(error, folder)}. "
            f"It holds: {contents(folder)}."
        ) from error
    except Exception as error:  # assertions, index and key errors: there is no common type
        reason = " ".join(str(error).split()).rstrip(". ")
        raise ValueError(
            f"{folder} could not be read as {entry.label} by spatialdata-io: {type(error).__name__}: {reason}. "
            f"It holds: {contents(folder)}."
        ) from error


def _what_is_missing(error: FileNotFoundError, folder: Path) -> str:
    """Return which file is missing, also where the path is part of a sentence: "Images directory not found: ...".

    Examples
    --------
    >>> _what_is_missing(FileNotFoundError("Images directory not found: run/CellComposite."), Path("run"))
    'CellComposite is missing'
    """
    sentence = " ".join(str(error).split()).rstrip(". ")
    _, inside, rest = sentence.partition(f"{folder}{os.sep}")
    name = error.filename or (re.match(r"[^\s'\":,]*", rest)[0] if inside else "")  # type: ignore[index]
    return f"{Path(str(name)).name} is missing" if name else sentence


def _read_visium_hd(folder: Path, *, bin_size: int = 8, **options: Any) -> AnnData:
    """One bin size of a Visium HD folder; each has the layout of a Visium folder."""
    bins = folder / "binned_outputs"
    found = sorted(item.name for item in bins.glob("square_*um")) if bins.is_dir() else []
    if not found:
        raise FileNotFoundError(
            f"{folder} is no Visium HD output: it has no binned_outputs/square_*um. It holds: {contents(folder)}."
        )
    wanted = f"square_{bin_size:03d}um"
    if wanted not in found:
        remedy = either("Choose with bin_size=.", "Give the folder of one of them.")
        raise FileNotFoundError(f"{bins} has no {wanted} (found: {listed(found)}). {remedy}")
    logger.info("Visium HD: bins of %d um are read (there are %s)", bin_size, ", ".join(found))
    return read_visium(bins / wanted, **{"library_id": folder.resolve().name, **options})


def _read_curio(folder: Path) -> AnnData:
    """Read the AnnData that Curio Seeker writes, with its clusters.

    spatialdata-io 0.7 cannot: it still calls SpatialData with an argument that spatialdata 0.7 has dropped.
    """
    found = sorted(folder.glob("*_anndata.h5ad"))
    if len(found) != 1:
        raise FileNotFoundError(
            f"{folder} is no Curio Seeker output: it has {len(found) or 'no'} files *_anndata.h5ad, expected one. "
            f"It holds: {contents(folder)}."
        )
    adata = read_h5ad(found[0])
    assignment = found[0].with_name(found[0].name.replace("_anndata.h5ad", "_cluster_assignment.txt"))
    if assignment.is_file():
        clusters = read_delimited(assignment, header=None, dtype=str).set_index(0)[1]
        adata.obs["cluster"] = pd.Categorical(clusters.reindex(adata.obs_names))
    return adata


def _record_dnb_size(adata: AnnData) -> None:
    """Stereo-seq coordinates count DNB spots; the file says how many nanometres apart they are."""
    resolution = adata.uns.get("cellBin_attrs", {}).get("resolution")
    if resolution is not None:
        record_coordinates(adata, "pixel", mpp=float(np.ravel(resolution)[0]) / 1000)
