"""Outputs are written beside their final place and renamed, so that nothing half-written is ever found there."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from histoquilt._base import argument


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; rename it into place on success, remove it on any failure.

    The yielded name keeps the suffix, which some writers look at.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    # unlike files of tempfile this one can be read by whoever the umask allows: results are meant to be shared
    beside = _made(
        lambda name: final.parent / f".{final.stem}-{name}{final.suffix}", partial(Path.touch, exist_ok=False)
    )
    try:
        yield beside
        beside.replace(final)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(
    path: str | os.PathLike[str], *, overwrite: bool = False, workplace: Path | None = None
) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` to fill; put it in place on success, remove it on any failure.

    With ``overwrite`` an earlier folder is moved aside first and deleted only after the new one is in place. A folder
    that cannot be renamed (a mount point, as in containers, or the one that the caller stands in) stays, and what it
    holds is exchanged, unfinished work apart (:func:`progress_folder`). ``workplace`` is where the new and the old
    folder are while this goes on, on the same disk; by default :func:`folder_written_to`.

    Raises
    ------
    FileExistsError
        ``path`` exists, is not an empty folder, and ``overwrite`` is false.
    """
    final = Path(path)
    refuse_existing(final, overwrite=overwrite, workplace=workplace)
    stays = folder_written_to(final) == final
    workplace = workplace or folder_written_to(final)
    workplace.mkdir(parents=True, exist_ok=True)
    beside = _made(lambda name: workplace / f".{final.name}-{name}", Path.mkdir)
    try:
        yield beside
        if not final.exists():
            beside.replace(final)
            return
        aside = Path(tempfile.mkdtemp(prefix=f".{final.name}-old-", dir=workplace))
        if stays:
            ours = {place.absolute() for place in (aside, beside, workplace, progress_folder(final))}
            for entry in [entry for entry in final.iterdir() if entry.absolute() not in ours]:
                entry.replace(aside / entry.name)
            for entry in list(beside.iterdir()):
                entry.replace(final / entry.name)
        else:
            final.replace(aside / "previous")
            beside.replace(final)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def folder_written_to(final: Path) -> Path:
    """Return the folder in which :func:`atomic_folder` works: the parent, or a folder itself that has to stay."""
    stays = final.is_dir() and (final.is_mount() or final.samefile(Path.cwd()) or _kept_inside(final).exists())
    return final if stays else final.absolute().parent


def progress_folder(final: Path) -> Path:
    """Return the folder in which unfinished work on ``final`` is kept: beside it, or inside where it has to stay."""
    return folder_written_to(final) / _kept_inside(final).name


def refuse_existing(path: Path, *, overwrite: bool, workplace: Path | None = None) -> None:
    """Raise ``FileExistsError`` where writing to ``path`` would replace something and nobody allowed it.

    Unfinished work inside, and the folder where this run works, are nothing.
    """
    ours = {place.absolute() for place in (_kept_inside(path), workplace or path)}
    taken = path.is_file() or (path.is_dir() and any(entry.absolute() not in ours for entry in path.iterdir()))
    if taken and not overwrite:
        raise FileExistsError(
            f"{path} already holds results. Choose another folder, or pass {argument('overwrite', True)}."
        )


def _kept_inside(final: Path) -> Path:
    return final / f"{final.absolute().name}.partial"


def _made(called: Callable[[str], Path], make: Callable[[Path], object]) -> Path:
    """Make a new file or folder under a name that nobody has, and return its path."""
    while True:
        path = called(secrets.token_hex(4))
        try:
            make(path)
        except FileExistsError:
            continue
        return path
