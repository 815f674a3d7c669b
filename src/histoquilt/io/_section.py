"""Reader of a section in any format: the format is recognised from the files."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from anndata import AnnData

from histoquilt._base import READERS, ReadOptions, argument, either, listed, visible
from histoquilt.io._coordinate_table import settle_spots
from histoquilt.io._files import PathLike, contents, existing_path
from histoquilt.io._h5ad import completed, is_anndata_zarr, read_anndata_zarr, read_h5ad
from histoquilt.io.instruments._legacy_st import read_legacy_st
from histoquilt.io.instruments._not_read import what_file, what_folder
from histoquilt.io.instruments._platforms import PLATFORMS, half_platform, read_platform, recognise_platform
from histoquilt.io.instruments._spatialdata import read_spatialdata
from histoquilt.io.instruments._visium import read_visium
from histoquilt.runtime import logger, warn_user
from histoquilt.study import declare_one_section

_LOOKED_FOR = (
    "an .h5ad file, a Space Ranger folder (filtered_feature_bc_matrix.h5 and spatial/), a SpatialData .zarr, a legacy "
    "ST table (.tsv or .tsv.gz with <name>_selection.tsv next to it), or the output folder of "
    + ", ".join(entry.label for entry in PLATFORMS.values() if entry.reader and entry.markers)
)
_MOST_ENTRIES = 200  # of a folder that is searched for sections

_Read = Callable[[ReadOptions], AnnData]


@runtime_checkable
class Reader(Protocol):
    """Reader of a file format, added by another package through the entry point ``histoquilt.readers``.

    :func:`read_section`, the commands and ``samples.csv`` ask it about paths that histoquilt does not recognise itself.
    A ``.csv`` given to a command is a table of samples, so a format of single sections needs another ending.

    Attributes
    ----------
    label
        Name of the format, for messages.

    Examples
    --------
    >>> from pathlib import Path
    >>> import histoquilt as hq
    >>> class Sheet:
    ...     label = "Sheet"
    ...     def recognises(self, path):
    ...         return path.suffix == ".sheet"
    ...     def read(self, path):
    ...         return hq.io.read_table(path, path.with_suffix(".places"), unit="micron")
    >>> Sheet().recognises(Path("s1.sheet")), isinstance(Sheet(), hq.io.Reader)
    (True, True)
    """

    label: str

    def recognises(self, path: Path) -> bool:
        """Return whether an existing file or folder is of this format; must be fast, as it is called for any path."""
        ...

    def read(self, path: Path) -> AnnData:
        """Return the section: raw counts in ``X``, spot centres ``(x, y)`` in ``obsm["spatial"]``.

        Declare the unit of the coordinates with :func:`histoquilt.io.record_coordinates` if it is known.
        """
        ...


def read_section(
    path: PathLike,
    *,
    keep_all_spots: bool = False,
    spatial_columns: tuple[str, str] | None = None,
    table: str | None = None,
    counts_file: str | None = None,
    one_section: bool = False,
    bin_size: int | str | None = None,
    spots: PathLike | None = None,
) -> AnnData:
    """Read a section in any format that can be recognised from its files.

    Parameters
    ----------
    path
        An ``.h5ad`` file or AnnData ``.zarr``; the folder of Space Ranger (or the one above its ``outs``), of Visium HD
        or of another platform; a SpatialData ``.zarr``; a legacy ST counts table next to its selection.
    keep_all_spots
        If true, array spots outside the tissue are kept (``obs["in_tissue"]`` is 0, or a Visium folder says so).
    spatial_columns
        Columns of ``obs`` that hold x and y, for an AnnData or SpatialData without ``obsm["spatial"]``.
    table
        Name of the table in a SpatialData store with several.
    counts_file
        Name of the count matrix in a folder with several, relative to the folder.
    one_section
        Declaration that it is one tissue, whatever its columns suggest (:func:`declare_one_section`).
    bin_size
        Visium HD: size of the bins in microns, or ``"cells"`` for segmented cells; by default 8, or cells if there are
        no bins.
    spots
        Path of the spot positions, if they are not where the format has them: the selection table of legacy ST, or the
        ``spatial`` folder of Space Ranger.

    Returns
    -------
    The section, as the reader of its format returns it.

    Raises
    ------
    FileNotFoundError
        The path does not exist.
    ValueError
        The format is not recognised; the message lists what was looked for.

    See Also
    --------
    read_visium, read_legacy_st, read_spatialdata, read_platform, read_table : the same with their options.

    Examples
    --------
    >>> import histoquilt as hq, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "section.h5ad")
    >>> hq.io.write_h5ad(hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, seed=0), path)
    >>> hq.io.read_section(path).uns["histoquilt"]["coordinates"]["unit"]
    'micron'
    """
    path = existing_path(path, _LOOKED_FOR)
    options = ReadOptions(keep_all_spots, spatial_columns, table, counts_file, one_section, bin_size)
    read = (_find_reader(path) or _search(path)) if spots is None else _reader_with_spots(path, spots)
    adata = settle_spots(read(options), options)
    if one_section:
        declare_one_section(adata)
    return adata


def _reader_with_spots(path: Path, spots: PathLike) -> _Read:
    """Return the function that reads counts whose positions are elsewhere."""
    if path.is_dir():
        return lambda options: read_visium(
            path, counts_file=options.counts_file, spatial=spots, keep_all_spots=options.keep_all_spots
        )
    if path.name.endswith((".tsv", ".tsv.gz")):
        return lambda options: read_legacy_st(path, selection=spots)
    raise ValueError(
        f"{path} holds its own spot positions, so those in {spots} have no use. They are for a legacy ST table (.tsv "
        "or .tsv.gz) and for the matrix folder of Space Ranger."
    )


def is_section_folder(folder: Path) -> bool:
    """Return whether a folder is a section, or part of what a platform writes for one.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> is_section_folder(pathlib.Path(tempfile.mkdtemp()))
    False
    """
    return (folder / "outs").is_dir() or _find_reader(folder) is not None


def holds_sections(folder: Path) -> bool:
    """Return whether a folder that is not a section itself contains output folders of platforms.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> hq.io.holds_sections(folder)
    False
    >>> (folder / "A1" / "spatial").mkdir(parents=True)
    >>> (folder / "A1" / "filtered_feature_bc_matrix.h5").touch()
    >>> hq.io.holds_sections(folder)
    True
    """
    return bool(_sections_inside(folder))


def _find_reader(path: Path) -> _Read | None:
    """Return the function that reads a path, or that raises an error about its known format; None if unknown."""
    reader = _folder_reader(path) if path.is_dir() else _file_reader(path)
    return reader or _foreign_reader(path)


def _file_reader(path: Path) -> _Read | None:
    if path.suffix == ".h5ad":
        return lambda options: read_h5ad(path)
    if path.name.endswith((".tsv", ".tsv.gz")):
        return lambda options: read_legacy_st(path)
    return None


def _folder_reader(folder: Path) -> _Read | None:
    if is_anndata_zarr(folder):
        return lambda options: read_anndata_zarr(folder)
    if folder.suffix == ".zarr" or any((folder / name).exists() for name in ("zarr.json", ".zgroup")):
        return lambda options: read_spatialdata(folder, table=options.table, spatial_columns=options.spatial_columns)
    if platform := recognise_platform(folder):
        return partial(_read_platform, platform, folder)
    outs = folder / "outs"
    if outs.is_dir() and (reader := _find_reader(outs)):
        return reader
    if _is_half_visium(folder):  # files of GEO; or half a Space Ranger folder, whose reader names the missing half
        return partial(_read_platform, "visium", folder)
    if known := what_folder(folder):
        return partial(_refuse, folder, known)
    if platform := half_platform(folder):
        return partial(_read_platform, platform, folder)  # its reader names the missing half
    return None


def _foreign_reader(path: Path) -> _Read | None:
    """Return the read function of another package's reader that recognises a path."""
    for name in READERS.others():
        reader = READERS.load(name)
        if not isinstance(reader, Reader):
            raise TypeError(
                f"The reader {name!r} of an installed package must have label, recognises(path) and read(path), as "
                f"histoquilt.io.Reader says; it is {type(reader).__name__}."
            )
        if reader.recognises(path):
            return partial(_read_foreign, reader, path)
    return None


def _read_foreign(reader: Reader, path: Path, options: ReadOptions) -> AnnData:
    logger.info("%s is read as %s", path, reader.label)
    adata = reader.read(path)
    if not isinstance(adata, AnnData):
        raise TypeError(
            f"The reader of {reader.label} returned {type(adata).__name__} for {path}, expected an AnnData."
        )
    return completed(adata)


def _refuse(path: Path, known: str, options: ReadOptions) -> AnnData:
    raise ValueError(f"{path} is not a section that can be read. {known}")


def _search(path: Path) -> _Read:
    """Return the reader of the only section in a folder, or raise ``ValueError`` with what the path looks like."""
    if not path.is_dir():
        if known := what_file(path):
            return partial(_refuse, path, known)
        raise ValueError(
            f"{path} is not a section that can be read; looked for {_LOOKED_FOR}.{_hint(path, path.absolute().parent)}"
        )
    sections = _sections_inside(path)
    if len(sections) == 1 and (reader := _find_reader(sections[0])):
        logger.info("%s is read: the only section in %s", sections[0].relative_to(path), path)
        return reader
    if sections:
        raise ValueError(
            f"{path} holds {len(sections)} sections: {listed(str(item.relative_to(path)) for item in sections)}. "
            "Give one of them, or list them in a samples.csv, one row each."
        )
    study = either("histoquilt.datasets.studies.describe", "histoquilt study")
    raise ValueError(
        f"{path} is not a section that can be read; looked for {_LOOKED_FOR}. It holds: {contents(path)}. The sections "
        f"of a public study are listed by {study}."
    )


def _hint(path: Path, folder: Path) -> str:
    """Return advice for a file that is part of a section."""
    if platform := recognise_platform(folder):
        return f" It is part of an output of {PLATFORMS[platform].label}: give the folder, {folder}."
    if path.suffix == ".h5":
        return f" For a 10x count matrix give its folder, {folder}, which also has the positions."
    if path.suffix in {".csv", ".txt", ".gz"}:
        return " Other tables have no positions in them: histoquilt.io.read_table(counts, coordinates, unit=...)."
    return ""


def _sections_inside(folder: Path) -> list[Path]:
    """Return the output folders of platforms one or else two levels down, such as ``region_0`` of a run."""
    level = [folder]
    for _ in range(2):
        level = [item for above in level for item in sorted(above.iterdir())[:_MOST_ENTRIES] if _is_visible(item)]
        sections = [item for item in level if recognise_platform(item) or recognise_platform(item / "outs")]
        if sections:
            return sections
    return []


def _is_visible(item: Path) -> bool:
    return not item.name.startswith(".") and item.is_dir() and os.access(item, os.R_OK | os.X_OK)


def _read_platform(platform: str, folder: Path, options: ReadOptions) -> AnnData:
    chosen: dict[str, Any] = {}
    if options.bin_size is not None and platform != "visium_hd":
        label = PLATFORMS[platform].label
        warn_user(f"{folder.name} is an output of {label}, which has no bins: {argument('bin_size')} is not used.")
    if platform in ("visium", "visium_hd"):
        chosen = {"counts_file": options.counts_file, "keep_all_spots": options.keep_all_spots}
        if platform == "visium_hd":
            chosen["bin_size"] = options.bin_size
    elif platform in ("merscope", "cosmx") and options.counts_file is not None:
        chosen["counts_file"] = options.counts_file
    elif options.table is not None and PLATFORMS[platform].reader:
        chosen["table"] = options.table
    return read_platform(platform, folder, **chosen)


def _is_half_visium(folder: Path) -> bool:
    return (folder / "spatial").is_dir() or any(
        any(visible(folder, pattern)) for pattern in ("*_feature_bc_matrix*", "*tissue_positions*", "*matrix.mtx*")
    )
