"""Input files: errors that name a missing, truncated or foreign file, and tables read with pandas."""

import gzip
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from histoquilt._base import listed, require

CUT_OFF = (EOFError, zlib.error, gzip.BadGzipFile)  # raised at the end of a truncated .gz
# files that are given in place of a table, by their first bytes
_STARTS = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a TIFF image"),
    (b"MM\0+", "a TIFF image"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a parquet table"),
    (b"PK", "a zip archive or Excel workbook"),
)
PathLike = str | os.PathLike[str]


def existing_path(path: PathLike, what: str) -> Path:
    """Return the path of a file or folder, or raise ``FileNotFoundError`` with the contents of the nearest folder."""
    path = Path(path).expanduser()
    if path.exists():
        return path
    parent = next((folder for folder in path.absolute().parents if folder.is_dir()), None)
    nearby = f"{parent} holds: {contents(parent)}." if parent else "Check the path."
    raise FileNotFoundError(f"{path} does not exist; expected {what}. {nearby}")


def existing_file(path: PathLike, what: str) -> Path:
    """Return the path of an existing file, or raise ``FileNotFoundError``."""
    path = existing_path(path, what)
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a folder; expected {what}. It holds: {contents(path)}.")
    return path


def existing_folder(path: PathLike, what: str) -> Path:
    """Return the path of an existing folder, or raise ``FileNotFoundError`` or ``NotADirectoryError``."""
    path = existing_path(path, what)
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; expected {what}.")
    return path


def first_file(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the first of some files that a folder has, compressed with gzip or not."""
    paths = (folder / f"{name}{suffix}" for name in names for suffix in ("", ".gz"))
    return next((path for path in paths if path.is_file()), None)


def contents(folder: Path, limit: int = 8) -> str:
    """Return the names in a folder, for a message."""
    return listed(sorted(item.name + ("/" if item.is_dir() else "") for item in folder.iterdir()), limit)


def one_line(error: BaseException) -> str:
    """Return the text of an error on one line without its full stop, or its type if it has no text."""
    return " ".join(str(error).split()).rstrip(". ") or type(error).__name__


def first_line(error: BaseException) -> str:
    """Return the first line of the text of an error without its full stop, or its type if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")


@contextmanager
def open_h5(path: Path, what: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, or raise ``OSError`` if it is truncated, damaged, or of another format."""
    if path.stat().st_size == 0:
        raise OSError(f"{path} is empty (0 bytes); expected {what}. Copy or download it again.")
    if not h5py.is_hdf5(path):
        raise OSError(f"{path} is not an HDF5 file; expected {what}. {guess_content(path)}")
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        if "truncated" in str(error):
            raise OSError(
                f"{path} is truncated ({path.stat().st_size:,} bytes): the end of the file is missing. "
                "Copy or download it again."
            ) from error
        raise OSError(f"{path} could not be opened as {what}: {error}.") from error
    with opened:
        try:
            yield opened
        except OSError as error:
            if "read data" not in str(error):  # what HDF5 reports of a part that cannot be unpacked
                raise
            raise OSError(f"{path} is damaged: {one_line(error)}. Copy or download it again.") from error


def is_gzip(path: Path) -> bool:
    """Return whether a file is gzip-compressed, by its content: some archives name plain files ``.gz``."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def unpacked_bytes(path: Path) -> bytes:
    """Return the content of a file, decompressed if its name ends in ``.gz``."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except CUT_OFF as error:
        raise ValueError(f"{path} could not be unpacked (truncated?): {error}. Copy or download it again.") from error


def read_delimited(
    path: Path,
    *,
    sep: str | None = None,
    content: io.StringIO | None = None,
    what: str = "a table of text",
    **options: Any,
) -> pd.DataFrame:
    """Read a table with pandas, or raise ``ValueError`` naming the file and ``what`` it should be.

    The separator is by default a tab for ``.tsv``, ``.txt`` and ``.tab``, else a comma. ``content`` is that of the
    file, if it was decoded before.
    """
    if content is None and path.suffix == ".gz" and not is_gzip(path):
        options["compression"] = None
    if sep is None:
        sep = "\t" if path.name.removesuffix(".gz").endswith((".tsv", ".txt", ".tab")) else ","
    with table_errors(path, what):
        return pd.read_csv(path if content is None else content, sep=sep, **options)


def read_parquet(path: Path, **options: Any) -> pd.DataFrame:
    """Read a parquet table with pandas and pyarrow, or raise ``ValueError`` naming the file."""
    require("pyarrow", extra="spatial", purpose=f"Reading {path.name}")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes); expected a parquet table. Copy or download it again.")
    try:
        return pd.read_parquet(path, engine="pyarrow", **options)
    except (OSError, ValueError) as error:  # pyarrow's own errors derive from these
        raise ValueError(f"{path} could not be read as a parquet table (truncated?): {first_line(error)}.") from error


@contextmanager
def table_errors(path: Path, what: str = "a table of text") -> Iterator[None]:
    """Raise ``ValueError`` naming the file for the errors of pandas on an unreadable table."""
    try:
        yield
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, *CUT_OFF) as error:
        if kind := _kind_of(path):
            raise ValueError(
                f"{path} could not be read as a table: it is {kind}, and {what} is expected. Check the path."
            ) from error
        raise ValueError(
            f"{path} could not be read as a table (truncated, or another separator?): {str(error).rstrip('. ')}. "
            f"Expected {what}: check that it was copied whole."
        ) from error


def check_unique(names: pd.Index, path: Path, what: str = "spots") -> None:
    """Raise ``ValueError`` if a table of positions repeats a name."""
    repeated = names[names.duplicated()].unique()
    if len(repeated):
        raise ValueError(f"{path} lists {what} more than once: {listed(repeated, 3)}. Each spot has one position.")


def guess_content(path: Path) -> str:
    """Guess from its first bytes what a file of an unexpected format is."""
    with path.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"\x1f\x8b"):
        return "It is gzip-compressed: unpack it with gunzip first."
    if start.startswith(b"PK"):
        return "It is a zip archive: unpack it first."
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "It is a web page: the download failed and the error page was saved."
    return "Check that it was copied whole and is the file you mean."


def _kind_of(path: Path) -> str | None:
    """Return what a file is that is no text, by its first bytes; None if it is not known."""
    with path.open("rb") as stream:
        start = stream.read(8)
    return next((kind for known, kind in _STARTS if start.startswith(known)), None)
