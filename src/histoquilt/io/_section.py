"""One section from whatever path the user has: what it is, is told from its files."""

import os
from pathlib import Path
from typing import Any

from anndata import AnnData

from histoquilt._base import READERS, ReadOptions, listed
from histoquilt.io._coordinate_table import settle_spots
from histoquilt.io._files import PathLike, contents
from histoquilt.io._h5ad import completed, is_anndata_zarr, read_anndata_zarr, read_h5ad
from histoquilt.io._reader import Reader
from histoquilt.io.instruments._legacy_st import read_legacy_st
from histoquilt.io.instruments._not_read import what_file, what_folder
from histoquilt.io.instruments._platforms import PLATFORMS, half_platform, read_platform, recognise_platform
from histoquilt.io.instruments._spatialdata import read_spatialdata
from histoquilt.io.instruments._visium import read_visium
from histoquilt.runtime import logger
from histoquilt.study import declare_one_section

_LOOKED_FOR = (
    "an .h5ad file, a Space Ranger folder (filtered_feature_bc_matrix.h5 and spatial/), a SpatialData .zarr, a legacy "
    "ST table (.tsv or .tsv.gz with <name>_selection.tsv beside it), or the output folder of "
    + ", ".join(entry.label for entry in PLATFORMS.values() if entry.reader and entry.markers)
)
_OUR_FILES = (".h5ad", ".tsv", ".tsv.gz")
_MOST_ENTRIES = 200  # of a folder that are looked into for sections


def read_section(
    path: PathLike,
    *,
    keep_all_spots: bool = False,
    spatial_columns: tuple[str, str] | None = None,
    table: str | None = None,
    counts_file: str | None = None,
    one_section: bool = False,
) -> AnnData:
    """Read a section in any format that can be told from its files.

    Parameters
    ----------
    path
        An ``.h5ad`` file or AnnData ``.zarr``; the folder of Space Ranger (or the one above its ``outs``), of Visium HD
        (8 um bins) or of another platform; a SpatialData ``.zarr``; a legacy ST counts table with its selection beside
        it.
    keep_all_spots
        Keep array spots that do not lie on tissue: ``obs["in_tissue"]`` is 0, or a Visium folder says so.
    spatial_columns
        Columns of ``obs`` that hold x and y, for an AnnData or SpatialData without ``obsm["spatial"]``.
    table
        Name of the table to take from a SpatialData store that holds several.
    counts_file
        Name of the count matrix to take from a folder that holds several, relative to the folder.
    one_section
        Declare that it is one tissue, whatever its columns suggest (:func:`declare_one_section`).

    Returns
    -------
    The section, as the reader of its format returns it.

    Raises
    ------
    FileNotFoundError
        There is nothing at the path.
    ValueError
        It is none of these; the message says what was looked for.

    See Also
    --------
    read_visium, read_legacy_st, read_spatialdata, read_platform, read_table : the same with their options.
    """
    path = Path(path).expanduser()
    if not path.exists():
        parent = next((folder for folder in path.absolute().parents if folder.is_dir()), None)
        beside = f" {parent} holds: {contents(parent)}." if parent else ""
        raise FileNotFoundError(f"{path} does not exist; expected {_LOOKED_FOR}.{beside}")
    options = ReadOptions(keep_all_spots, spatial_columns, table, counts_file, one_section)
    reader = reader_of(path)
    if reader is not None:
        adata = settle_spots(read_with(reader, path), options)
    else:
        adata = _read_folder(path, options) if path.is_dir() else _read_file(path, options)
    if one_section:
        declare_one_section(adata)
    return adata


def is_section_folder(folder: Path) -> bool:
    """Whether a folder is, or looks like half of, what a platform writes for one section."""
    return _is_ours(folder) or reader_of(folder) is not None


def _is_ours(folder: Path) -> bool:
    return (
        _is_zarr(folder)
        or recognise_platform(folder) is not None
        or (folder / "outs").is_dir()
        or _is_half_visium(folder)
        or what_folder(folder) is not None
        or half_platform(folder) is not None
    )


def holds_sections(folder: Path) -> bool:
    """Whether output folders of platforms lie in a folder that is none itself."""
    return bool(_sections_inside(folder))


def reader_of(path: Path) -> Reader | None:
    """Return the reader of another package for a path that is none of ours, or None."""
    if _is_ours(path) if path.is_dir() else path.name.endswith(_OUR_FILES):
        return None
    for name in READERS.others():
        reader = READERS.load(name)
        if not isinstance(reader, Reader):
            raise TypeError(
                f"The reader {name!r} of an installed package must have label, recognises(path) and read(path), as "
                f"histoquilt.io.Reader says; it is {type(reader).__name__}."
            )
        if reader.recognises(path):
            return reader
    return None


def read_with(reader: Reader, path: Path) -> AnnData:
    """Read a section with another package's reader, and bring it into the form of our own."""
    logger.info("%s is read as %s", path, reader.label)
    adata = reader.read(path)
    if not isinstance(adata, AnnData):
        raise TypeError(
            f"The reader of {reader.label} returned {type(adata).__name__} for {path}, expected an AnnData."
        )
    return completed(adata)


def _read_file(path: Path, options: ReadOptions) -> AnnData:
    if path.suffix == ".h5ad":
        return settle_spots(read_h5ad(path), options)
    if path.name.removesuffix(".gz").endswith(".tsv"):
        return read_legacy_st(path)
    known = what_file(path)
    if known:
        raise ValueError(f"{path} is not a section that can be read. {known}")
    hint = ""
    platform = recognise_platform(path.absolute().parent)
    if platform is not None:
        hint = f" It is part of an output of {PLATFORMS[platform].label}: give the folder, {path.absolute().parent}."
    elif path.suffix == ".h5":
        hint = f" For a 10x count matrix give its folder, {path.absolute().parent}, which also has the positions."
    elif path.suffix in {".csv", ".txt", ".gz"}:
        hint = " Other tables have no positions in them: histoquilt.io.read_table(counts, coordinates, unit=...)."
    raise ValueError(f"{path} is no section that can be read; looked for {_LOOKED_FOR}.{hint}")


def _read_folder(folder: Path, options: ReadOptions) -> AnnData:
    if is_anndata_zarr(folder):
        return settle_spots(read_anndata_zarr(folder), options)
    if _is_zarr(folder):
        found = read_spatialdata(folder, table=options.table, spatial_columns=options.spatial_columns)
        return settle_spots(found, options)
    platform = recognise_platform(folder)
    if platform is None and (folder / "outs").is_dir() and is_section_folder(folder / "outs"):
        return _read_folder(folder / "outs", options)
    if platform is not None:
        return _read_platform(platform, folder, options)
    if _is_half_visium(folder):
        # files of GEO; or half a Space Ranger folder, whose reader says which half is missing
        found = read_visium(folder, counts_file=options.counts_file, keep_all_spots=options.keep_all_spots)
        return settle_spots(found, options)
    known = what_folder(folder) or (what_folder(folder / "outs") if (folder / "outs").is_dir() else None)
    if known:
        raise ValueError(f"{folder} is not a section that can be read. {known}")
    half = half_platform(folder)
    if half is not None:
        return _read_platform(half, folder, options)  # its reader says what is missing
    inside = _sections_inside(folder)
    if len(inside) == 1:
        logger.info("%s is read: the only section in %s", inside[0].relative_to(folder), folder)
        return _read_folder(inside[0], options)
    if inside:
        raise ValueError(
            f"{folder} holds {len(inside)} sections: {listed(str(item.relative_to(folder)) for item in inside)}. "
            "Give one of them, or list them in a samples.csv, one row each."
        )
    raise ValueError(
        f"{folder} is no section that can be read; looked for {_LOOKED_FOR}. It holds: {contents(folder)}."
    )


def _sections_inside(folder: Path, depth: int = 2) -> list[Path]:
    """Return the output folders of platforms in a folder, such as region_0 of a run; the level nearest to it."""
    level = [folder]
    for _ in range(depth):
        level = [item for above in level for item in sorted(above.iterdir())[:_MOST_ENTRIES] if _is_visible(item)]
        found = [item for item in level if recognise_platform(item) or recognise_platform(item / "outs")]
        if found:
            return found
    return []


def _is_visible(item: Path) -> bool:
    return not item.name.startswith(".") and item.is_dir() and os.access(item, os.R_OK | os.X_OK)


def _read_platform(platform: str, folder: Path, options: ReadOptions) -> AnnData:
    chosen: dict[str, Any] = {}
    if platform in ("visium", "visium_hd"):
        chosen = {"counts_file": options.counts_file, "keep_all_spots": options.keep_all_spots}
    elif platform in ("merscope", "cosmx") and options.counts_file is not None:
        chosen["counts_file"] = options.counts_file
    elif options.table is not None and PLATFORMS[platform].reader:
        chosen["table"] = options.table
    return settle_spots(read_platform(platform, folder, **chosen), options)


def _is_zarr(folder: Path) -> bool:
    return folder.suffix == ".zarr" or any((folder / name).exists() for name in ("zarr.json", ".zgroup"))


def _is_half_visium(folder: Path) -> bool:
    return (folder / "spatial").is_dir() or any(
        any(folder.glob(pattern)) for pattern in ("*_feature_bc_matrix*", "*tissue_positions*", "*matrix.mtx*")
    )
