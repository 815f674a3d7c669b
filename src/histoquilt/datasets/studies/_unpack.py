"""Unpacking of archives that come from elsewhere: no file outside the folder, no link, no more bytes than expected."""

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from histoquilt._base import listed
from histoquilt.runtime import in_words

MOST_BYTES = 200 * 1024**3  # unpacked
_MOST_RATIO = 200  # unpacked to packed: more is a bomb, not data
_FLOOR = 100 * 1024**2  # of which the ratio is not asked
_CHUNK = 1024**2

_Member = tuple[str, int, bool, Callable[[], IO[bytes] | None]]


def unpack(archive: Path, folder: Path, *, most_bytes: int = MOST_BYTES) -> list[Path]:
    """Unpack a ``.zip`` or ``.tar`` (``.tar.gz``) archive and return its files.

    All members are checked before any is written. A file that is there already with the same size is kept.

    Raises
    ------
    ValueError
        A member would be written outside the folder, is a link or a device, or the content is larger than
        ``most_bytes`` or improbably larger than the archive; the archive is damaged or of another kind.
    OSError
        The disk has too little space.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return _write(archive, folder, list(_of_zip(opened)), most_bytes)
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                return _write(archive, folder, list(_of_tar(opened)), most_bytes)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise ValueError(f"{archive} is damaged ({error}). Delete it and download it again.") from error
    raise ValueError(f"{archive} is neither a zip nor a tar archive. Delete it and download it again.")


def _of_zip(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        if info.is_dir():
            continue
        if info.flag_bits & 1:
            raise ValueError(f"{opened.filename} is encrypted. Unpack it with its password.")
        is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
        yield info.filename, info.file_size, not is_link, lambda info=info: opened.open(info)  # type: ignore[misc]


def _of_tar(opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened.getmembers():
        if not info.isdir():
            yield info.name, info.size, info.isreg(), lambda info=info: opened.extractfile(info)  # type: ignore[misc]


def _write(archive: Path, folder: Path, members: list[_Member], most_bytes: int) -> list[Path]:
    outside = [name for name, *_ in members if _escapes(name)]
    if outside:
        raise ValueError(f"{archive} is refused: it would write outside {folder}: {listed(outside, 3)}.")
    strange = [name for name, _, is_plain, _ in members if not is_plain]
    if strange:
        raise ValueError(f"{archive} is refused: it holds links or devices: {listed(strange, 3)}.")
    total = sum(size for _, size, *_ in members)
    if total > most_bytes or total > max(_FLOOR, _MOST_RATIO * archive.stat().st_size):
        raise ValueError(
            f"{archive} is refused: its content of {in_words(total)} is more than {in_words(most_bytes)}, or "
            f"improbably more than its own {in_words(archive.stat().st_size)}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < total:
        raise OSError(f"{folder} has too little space: {in_words(total)} are needed to unpack {archive.name}.")
    return [_write_member(folder / PurePosixPath(name), size, opened) for name, size, _, opened in members]


def _write_member(path: Path, size: int, opened: Callable[[], IO[bytes] | None]) -> Path:
    if path.is_file() and path.stat().st_size == size:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = opened()
    assert stream is not None  # plain files only
    with stream, tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as written:
        beside = Path(written.name)
        try:
            left = size
            while chunk := stream.read(min(_CHUNK, left + 1)):  # no more than the member declares
                left -= len(chunk)
                if left < 0:
                    raise ValueError(f"{path.name} is larger than its archive declares.")
                written.write(chunk)
            written.close()
            beside.chmod(0o644)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return path


def _escapes(name: str) -> bool:
    """Return whether the path of a member leads out of the folder, on any system."""
    parts = [*PurePosixPath(name).parts, *PureWindowsPath(name).parts]
    return ".." in parts or PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor)
