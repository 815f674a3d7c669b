"""Unpacking of archives that come from elsewhere: no file outside the folder, no link, no more bytes than expected."""

import gzip
import lzma
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from histoquilt._base import listed
from histoquilt.runtime import in_words

MOST_BYTES = 200 * 1024**3  # unpacked
_MOST_RATIO = 200  # unpacked to packed: more is a bomb, not data
_FLOOR = 100 * 1024**2  # of which the ratio is not asked
_CHUNK = 1024**2

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_Member = tuple[str, int, bool, Callable[[], IO[bytes] | None]]


def unpack(archive: Path, folder: Path, *, most_bytes: int = MOST_BYTES) -> list[Path]:
    """Unpack a ``.zip`` or ``.tar`` (``.tar.gz``) archive and return its files.

    All members are checked before any is written, and so is the checksum of a ``.tar.gz``. A file that is there already
    with the same content is kept. Of members with one name the last counts.

    Raises
    ------
    ValueError
        A member would be written outside the folder, is a link or a device, is a folder of another, or the content is
        larger than ``most_bytes`` or improbably larger than the archive; the archive is damaged or of another kind.
    OSError
        The disk has too little space.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                return _write(archive, folder, _checked(archive, folder, _of_zip(opened), most_bytes))
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as opened:
                members = _checked(archive, folder, _of_tar(opened), most_bytes)
                _check_end(opened)
                return _write(archive, folder, members)
    except _DAMAGED as error:
        raise ValueError(f"{archive} is damaged ({error}). Delete it and download it again.") from error
    raise ValueError(f"{archive} is neither a zip nor a tar archive. Delete it and download it again.")


def _of_zip(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for info in opened.infolist():
        if info.is_dir():
            continue
        if info.flag_bits & 1:
            raise ValueError(f"{opened.filename} is encrypted. Unpack it with its password.")
        if info.compress_type not in _COMPRESSIONS:
            raise ValueError(f"{opened.filename} is compressed in another way than zip usually is. Unpack it by hand.")
        is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
        yield info.filename, info.file_size, not is_link, lambda info=info: opened.open(info)  # type: ignore[misc]


def _of_tar(opened: tarfile.TarFile) -> Iterator[_Member]:
    for info in opened:
        if not info.isdir():
            yield info.name, info.size, info.isreg(), lambda info=info: opened.extractfile(info)  # type: ignore[misc]


def _check_end(opened: tarfile.TarFile) -> None:
    """Read an archive, whose members are listed, to its end: that checks what follows the last one, and a checksum."""
    assert opened.fileobj is not None  # of an open archive
    while chunk := opened.fileobj.read(_CHUNK):
        if chunk.strip(b"\0"):
            raise tarfile.ReadError("a member cannot be read")


def _checked(archive: Path, folder: Path, members: Iterator[_Member], most_bytes: int) -> dict[PurePosixPath, _Member]:
    """Return path -> member; raise at the first that is refused, before anything behind it is unpacked."""
    checked: dict[PurePosixPath, _Member] = {}
    total, packed = 0, archive.stat().st_size
    for member in members:
        name, size, is_plain, _ = member
        if _escapes(name):
            raise ValueError(f"{archive} is refused: it would write outside {folder}: {name!r}.")
        if not is_plain:
            raise ValueError(f"{archive} is refused: it holds links or devices: {name!r}.")
        total += size
        if total > most_bytes or total > max(_FLOOR, _MOST_RATIO * packed):
            raise ValueError(
                f"{archive} is refused: its content of {in_words(total)} or more is more than {in_words(most_bytes)}, "
                f"or improbably more than its own {in_words(packed)}."
            )
        checked[PurePosixPath(name)] = member
    folders = {PurePosixPath(), *(parent for path in checked for parent in path.parents)}
    if both := [str(path) for path in checked if path in folders]:
        raise ValueError(f"{archive} is refused: it holds files that are also folders: {listed(both, 3)}.")
    return checked


def _write(archive: Path, folder: Path, members: dict[PurePosixPath, _Member]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(size for _, size, *_ in members.values())
    if shutil.disk_usage(folder).free < total:
        raise OSError(f"{folder} has too little space: {in_words(total)} are needed to unpack {archive.name}.")
    return [_write_member(folder / path, size, opened) for path, (_, size, _, opened) in members.items()]


def _write_member(path: Path, size: int, opened: Callable[[], IO[bytes] | None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size == size and _is_same(path, opened):
        return path
    stream = opened()
    assert stream is not None  # plain files only
    with stream, tempfile.NamedTemporaryFile(dir=path.parent, prefix=".histoquilt-", delete=False) as written:
        beside = Path(written.name)
        try:
            left = size
            while chunk := stream.read(min(_CHUNK, left + 1)):  # no more than the member declares
                left -= len(chunk)
                if left < 0:
                    break
                written.write(chunk)
            if left:
                raise ValueError(f"{path.name} does not have the size that its archive declares.")
            written.close()
            beside.chmod(0o644)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    return path


def _is_same(path: Path, opened: Callable[[], IO[bytes] | None]) -> bool:
    stream = opened()
    assert stream is not None  # plain files only
    with stream, path.open("rb") as there:
        while chunk := stream.read(_CHUNK):
            if there.read(len(chunk)) != chunk:
                return False
    return True


def _escapes(name: str) -> bool:
    """Return whether the path of a member leads out of the folder, on any system."""
    parts = [*PurePosixPath(name).parts, *PureWindowsPath(name).parts]
    return ".." in parts or PurePosixPath(name).is_absolute() or bool(PureWindowsPath(name).anchor)
