"""Atomic outputs: written next to their final place and renamed."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from histoquilt._base import argument, listed


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path next to ``path``, with its suffix; rename it into place on success, remove it on failure.

    Examples
    --------
    >>> from histoquilt.runtime import atomic_file
    >>> path = getfixture("tmp_path") / "genes.txt"
    >>> with atomic_file(path) as unfinished:
    ...     _ = unfinished.write_text("MBP")
    ...     path.exists()
    False
    >>> path.read_text(), len(list(path.parent.iterdir()))
    ('MBP', 1)
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    # unlike files of tempfile, readable as the umask allows
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
    """Yield an empty folder next to ``path``; move it into place on success, remove it on failure.

    With ``overwrite`` an earlier folder is deleted after the new one is in place; without, a folder that is not empty
    raises ``FileExistsError``. Of a folder that cannot be renamed (a mount point, or the working directory) the content
    is exchanged, except unfinished work (:func:`progress_folder`). ``workplace`` holds the new and the old folder
    meanwhile, on the same disk; by default :func:`folder_written_to`.

    Examples
    --------
    >>> from histoquilt.runtime import atomic_folder
    >>> path = getfixture("tmp_path") / "results"
    >>> with atomic_folder(path) as unfinished:
    ...     _ = (unfinished / "genes.txt").write_text("MBP")
    ...     path.exists()
    False
    >>> [file.name for file in path.iterdir()]
    ['genes.txt']
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
    """Return the folder in which :func:`atomic_folder` works: the parent, or ``final`` if it cannot be renamed.

    Examples
    --------
    >>> from histoquilt.runtime import folder_written_to
    >>> path = getfixture("tmp_path") / "study" / "results"
    >>> folder_written_to(path).name
    'study'
    """
    stays = final.is_dir() and (final.is_mount() or final.samefile(Path.cwd()) or _kept_inside(final).exists())
    return final if stays else final.absolute().parent


def progress_folder(final: Path) -> Path:
    """Return the folder of unfinished work on ``final``: next to it, or inside if it cannot be renamed.

    Examples
    --------
    >>> from histoquilt.runtime import progress_folder
    >>> path = getfixture("tmp_path") / "results"
    >>> progress_folder(path).relative_to(path.parent).as_posix()
    'results.partial'
    """
    return folder_written_to(final) / _kept_inside(final).name


def refuse_existing(path: Path, *, overwrite: bool, workplace: Path | None = None) -> None:
    """Raise ``FileExistsError`` if ``path`` holds anything but unfinished work, unless ``overwrite``.

    Examples
    --------
    >>> from histoquilt.runtime import refuse_existing
    >>> path = getfixture("tmp_path") / "results"
    >>> refuse_existing(path, overwrite=False)
    >>> path.mkdir()
    >>> (path / "run.json").touch()
    >>> refuse_existing(path, overwrite=False)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FileExistsError: ... already holds results. Choose another folder, or pass overwrite=True.
    """
    ours = {place.absolute() for place in (_kept_inside(path), workplace or path)}
    taken = path.is_file() or (path.is_dir() and any(entry.absolute() not in ours for entry in path.iterdir()))
    if taken and not overwrite:
        raise FileExistsError(
            f"{path} already holds results. Choose another folder, or pass {argument('overwrite', True)}."
        )


def refuse_foreign(path: Path, ours: Collection[str], what: str) -> None:
    """Raise ``FileExistsError`` if ``path`` is a file, or a folder with other entries than ``ours``, those of ``what``.

    Call it before a folder is replaced, which deletes what is in it.

    Examples
    --------
    >>> from histoquilt.runtime import refuse_foreign
    >>> path = getfixture("tmp_path")
    >>> (path / "genes.txt").touch()
    >>> refuse_foreign(path, {"genes.txt"}, "a model")
    >>> refuse_foreign(path, {"config.json"}, "a model")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    FileExistsError: ... holds what is not of a model ('genes.txt') and would be lost. Choose another folder...
    """
    if path.is_file():
        raise FileExistsError(f"{path} is a file, and {what} is a folder. Choose another name.")
    entries = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    foreign = [name for name in entries if name not in ours and name != ".DS_Store"]  # which macOS adds
    if foreign:
        raise FileExistsError(
            f"{path} holds what is not of {what} ({listed(foreign, 3)}) and would be lost. Choose another folder, or "
            "move it away."
        )


def _kept_inside(final: Path) -> Path:
    return final / f"{final.absolute().name}.partial"


def _made(called: Callable[[str], Path], make: Callable[[Path], object]) -> Path:
    """Create a file or folder under an unused name, and return its path."""
    while True:
        path = called(secrets.token_hex(4))
        try:
            make(path)
        except FileExistsError:
            continue
        return path
