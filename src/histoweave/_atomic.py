"""Outputs are written beside their final place and renamed, so that nothing half-written is ever found there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; rename it into place on success, remove it on any failure.

    The yielded name keeps the suffix, which some writers look at.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{final.stem}-", suffix=final.suffix, dir=final.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o666 & ~_umask())  # mkstemp makes files private; results are meant to be shared
        beside.replace(final)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to fill; put it in place on success, remove it on any failure.

    With ``overwrite`` an earlier folder is moved aside first and deleted only after the new one is in place.

    Raises
    ------
    FileExistsError
        ``path`` exists, is not an empty folder, and ``overwrite`` is false.
    """
    final = Path(path)
    refuse_existing(final, overwrite=overwrite)
    final.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{final.name}-", dir=final.parent))
    try:
        yield beside
        beside.chmod(0o777 & ~_umask())
        if final.exists():
            aside = Path(tempfile.mkdtemp(prefix=f".{final.name}-old-", dir=final.parent))
            final.replace(aside / "previous")
            beside.replace(final)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            beside.replace(final)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise ``FileExistsError`` where writing to ``path`` would replace something and nobody allowed it."""
    taken = path.is_file() or (path.is_dir() and any(path.iterdir()))
    if taken and not overwrite:
        raise FileExistsError(
            f"{path} already holds results. Choose another folder, or pass --overwrite / overwrite=True."
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
