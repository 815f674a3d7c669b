"""Opening input files: what is missing, cut off or of another kind is said in one sentence."""

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import pandas as pd

from histoquilt._base import listed

CUT_OFF = (EOFError, zlib.error, gzip.BadGzipFile)  # what reading the end of a truncated .gz raises
PathLike = str | os.PathLike[str]


def existing_file(path: PathLike, what: str) -> Path:
    """Return the path of a file that is there, or raise ``FileNotFoundError`` naming what lies beside."""
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a folder; expected {what}. It holds: {contents(path)}.")
    raise FileNotFoundError(f"{path} does not exist; expected {what}. {_beside(path)}")


def existing_folder(path: PathLike, what: str) -> Path:
    """Return the path of a folder that is there, or raise ``FileNotFoundError``/``NotADirectoryError``."""
    path = Path(path).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise NotADirectoryError(f"{path} is a file; expected {what}.")
    raise FileNotFoundError(f"{path} does not exist; expected {what}. {_beside(path)}")


def contents(folder: Path, limit: int = 8) -> str:
    """Names in a folder, for a message."""
    return listed(sorted(item.name + ("/" if item.is_dir() else "") for item in folder.iterdir()), limit)


def _beside(path: Path) -> str:
    """Name the nearest folder that does exist, with what it holds."""
    parent = next((folder for folder in path.absolute().parents if folder.is_dir()), None)
    return f"{parent} holds: {contents(parent)}." if parent else "Check the path."


@contextmanager
def open_h5(path: Path, what: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, or raise ``OSError`` that says whether it is cut off or of another kind."""
    if path.stat().st_size == 0:
        raise OSError(f"{path} is empty (0 bytes); expected {what}. Copy or download it again.")
    if not h5py.is_hdf5(path):
        raise OSError(f"{path} is not an HDF5 file; expected {what}. {_first_bytes(path)}")
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
        yield opened


def read_delimited(
    path: Path, *, sep: str | None = None, content: io.StringIO | None = None, **options: Any
) -> pd.DataFrame:
    """Read a table with pandas, with the separator that its name implies, or raise ``ValueError`` naming the file.

    ``content`` is what the file holds, where that was read and decoded before.
    """
    if sep is None:
        sep = "\t" if path.name.removesuffix(".gz").endswith((".tsv", ".txt", ".tab")) else ","
    with table_errors(path):
        return pd.read_csv(path if content is None else content, sep=sep, **options)


@contextmanager
def table_errors(path: Path) -> Iterator[None]:
    """Raise ``ValueError`` naming the file for what pandas raises on a table that it cannot read."""
    try:
        yield
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, *CUT_OFF) as error:
        raise ValueError(
            f"{path} could not be read as a table (truncated, or another separator?): {str(error).rstrip('. ')}."
        ) from error


def _first_bytes(path: Path) -> str:
    """Guess from its first bytes what a file is that is no HDF5."""
    with path.open("rb") as stream:
        start = stream.read(64)
    if start.startswith(b"\x1f\x8b"):
        return "It is gzip-compressed: unpack it with gunzip first."
    if start.startswith(b"PK"):
        return "It is a zip archive: unpack it first."
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "It is a web page: the download failed and the error page was saved."
    return "Check that it was copied whole and is the file you mean."
