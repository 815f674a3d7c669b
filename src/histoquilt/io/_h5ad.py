"""Reading and writing of sections as ``.h5ad`` files."""

import errno
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
from anndata import AnnData

from histoquilt._base import Keys, listed
from histoquilt.io._controls import finish_genes
from histoquilt.io._files import PathLike, existing_file, first_line, open_h5
from histoquilt.io._wide_table import is_wide_table, write_wide_table
from histoquilt.io._writable import HDF5_VERSION, check_writable, make_plain, writable
from histoquilt.runtime import atomic_file
from histoquilt.study import quiet_duplicates, record_coordinates, scale_factors

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# level 1: nearly as small as level 4, several times as fast; lzf cannot be read from R
_COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1}
_LARGE_BYTES = 512 * 1024**2
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_EARLIER_NAME = "histoweave"  # of this package, in files that it wrote under it


def read_h5ad(path: PathLike, *, backed: bool = False) -> AnnData:
    """Read a section that scanpy, squidpy or histoquilt wrote.

    Everything in the file is kept; controls (negative probes, blanks, spike-ins) move from the genes to
    ``obsm["controls"]``, and text in pandas' nullable type, which anndata 0.13 writes, becomes plain text, or a
    categorical if it has gaps. The gene columns of :func:`annotate_genes` are added, and the unit of the coordinates if
    the file does not record it: ``"pixel"`` if the file has scanpy's image scale factors (by definition they are from
    full-resolution pixels), else ``"unknown"``. The scale of ``X`` is not declared.

    Parameters
    ----------
    path
        Path of the ``.h5ad`` file.
    backed
        If true, ``X`` stays in the file and is read when needed: for sections whose counts do not fit into memory. The
        file must not change while the section is used. Layers are read into memory.

    Returns
    -------
    The section.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    OSError
        The file is truncated, damaged, or not an HDF5 file.
    ValueError
        The file holds no AnnData, or spot names or gene names are missing or repeated.

    Examples
    --------
    >>> import histoquilt as hq, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "section.h5ad")
    >>> hq.io.write_h5ad(hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, seed=0), path)
    >>> hq.io.read_h5ad(path).shape
    (60, 40)
    """
    path = existing_file(path, "an .h5ad file")
    with open_h5(path, "an .h5ad file") as opened:
        if not {"obs", "var"} <= set(opened):
            raise ValueError(
                f"{path} is an HDF5 file, but not an AnnData: it has no obs and var (found: {listed(opened)})."
                " A count matrix by Space Ranger is read with its folder: histoquilt.io.read_visium."
            )
    try:
        with quiet_duplicates():
            adata = anndata.read_h5ad(path, backed="r" if backed else None)
    except OSError as error:
        raise OSError(f"{path} is damaged: {first_line(error)}. Copy or download it again.") from error
    except Exception as error:  # anndata reports unknown encodings and half-written groups under many types
        raise ValueError(f"{path} could not be read as an AnnData: {first_line(error)}.") from error
    return completed(adata)


def read_anndata_zarr(path: Path) -> AnnData:
    """Read an AnnData ``.zarr`` as :func:`read_h5ad` reads an ``.h5ad``."""
    try:
        with quiet_duplicates():
            adata = anndata.read_zarr(path)
    except Exception as error:  # zarr and anndata raise many types on damaged stores
        raise ValueError(f"{path} could not be read as an AnnData .zarr: {first_line(error)}.") from error
    return completed(adata)


def is_anndata_zarr(folder: Path) -> bool:
    """Return whether a folder is an AnnData zarr store: it has obs and var at its top, unlike a SpatialData."""
    return all((folder / name).is_dir() for name in ("obs", "var"))


def completed(adata: AnnData) -> AnnData:
    """Check a section as stored, set controls aside, and add the gene columns and the unit of the coordinates."""
    make_plain(adata)
    if _EARLIER_NAME in adata.uns and Keys.UNS not in adata.uns:
        adata.uns[Keys.UNS] = adata.uns.pop(_EARLIER_NAME)
    adata = finish_genes(adata)
    if Keys.SPATIAL in adata.obsm and Keys.COORDINATES not in adata.uns[Keys.UNS]:
        record_coordinates(adata, "pixel" if any(scale_factors(adata)) else "unknown")
    return adata


def write_h5ad(adata: AnnData, path: PathLike) -> None:
    """Write a section atomically: an earlier file stays as it was if the disk fills up or the program is stopped.

    Parameters
    ----------
    adata
        One section. ``X`` of a backed section is copied from file to file, as it is stored there.
    path
        Path of the ``.h5ad`` file; a missing folder is made, an earlier file replaced.

    Raises
    ------
    ValueError
        A name or a value cannot be written to an ``.h5ad``; the message names it.
    OSError
        The disk is full (``errno`` ``ENOSPC``), or the folder cannot be written to (``PermissionError``).

    Examples
    --------
    >>> import histoquilt as hq, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "section.h5ad")
    >>> hq.io.write_h5ad(hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, seed=0), path)
    >>> hq.io.read_h5ad(path).shape
    (60, 40)
    """
    path = Path(path).expanduser()
    stored = None if adata.filename is None else Path(adata.filename)
    check_writable(adata)
    adata = writable(adata)
    try:
        with atomic_file(path) as temporary:
            _write(adata, temporary)
            if stored is not None:
                _copy_x(stored, temporary)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise OSError(
                errno.ENOSPC,
                f"The disk is full: {path} could not be written ({_free(path)} left). Nothing half-written was kept; "
                "free some space or choose another folder",
            ) from error
        if error.errno in _READ_ONLY:
            raise PermissionError(
                error.errno, f"{path.parent} is read-only for you: {path.name} was not written. Choose another folder"
            ) from error
        if isinstance(error, FileExistsError | NotADirectoryError):
            raise NotADirectoryError(
                errno.ENOTDIR, f"{path.parent} is not a folder: {path.name} cannot be written into it"
            ) from error
        raise


def _copy_x(source: Path, target: Path) -> None:
    """Copy ``X``, and ``raw`` if there is one, from file to file without reading them."""
    _check_space(target, source.stat().st_size)
    with h5py.File(source, "r") as read, h5py.File(target, "r+") as written:
        for name in {"X", "raw"} & set(read):
            written.pop(name, None)
            read.copy(name, written)


def matrix_bytes(path: PathLike) -> int:
    """Return the bytes of ``X`` of an ``.h5ad`` file in memory; 0 if it cannot be read from the file by rows.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from anndata import AnnData
    >>> path = getfixture("tmp_path") / "section.h5ad"
    >>> hq.io.write_h5ad(AnnData(np.ones((10, 20), np.float32)), path)
    >>> hq.io.matrix_bytes(path)  # 200 numbers of 4 bytes
    800
    """
    with open_h5(existing_file(path, "an .h5ad file"), "an .h5ad file") as opened:
        stored = opened.get("X")
        if isinstance(stored, h5py.Dataset):
            return int(stored.nbytes)
        if stored is None or stored.attrs.get("encoding-type") != "csr_matrix":
            return 0
        return sum(int(stored[name].nbytes) for name in ("data", "indices", "indptr"))


def _write(adata: AnnData, path: Path) -> None:
    """Write through memory, or straight to the disk if a copy in memory is too large and the disk has room.

    A write that fails inside HDF5 leaves the library in a state in which it prints tracebacks and crashes later;
    plain bytes fail cleanly.
    """
    size = adata.__sizeof__()
    buffer = io.BytesIO() if size <= _LARGE_BYTES else None
    if buffer is None:
        _check_space(path, size)
    with h5py.File(buffer or path, "w", libver=HDF5_VERSION) as file:
        anndata.experimental.write_dispatched(file, "/", adata, _write_element, dataset_kwargs=_COMPRESSION)
    if buffer is not None:
        path.write_bytes(buffer.getbuffer())


def _write_element(
    write: Callable[..., None],
    store: h5py.Group,
    key: str,
    element: Any,
    *,
    dataset_kwargs: dict[str, Any],
    iospec: Any,
) -> None:
    """Write an element of an AnnData; what lies in ``obsm``, embeddings and expression, hardly shrinks."""
    in_obsm = str(store.name).startswith("/obsm")
    if in_obsm and is_wide_table(element):
        write_wide_table(write, store, key, element)
    else:
        write(store, key, element, dataset_kwargs={} if in_obsm else dataset_kwargs)


def _check_space(path: Path, size: int) -> None:
    if shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, f"needs up to {size / 1e9:.1f} GB")


def _free(path: Path) -> str:
    """Return the free space of the disk of a path, for a message."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB"
