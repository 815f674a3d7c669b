"""Download of a public study with pooch: asked for by name, licence first, resumed, verified, unpacked."""

from functools import partial
from pathlib import Path
from typing import Any

from histoquilt._base import close_matches, require
from histoquilt.datasets.studies._remote import DOWNLOADS, RemoteFile, RemoteStudy
from histoquilt.datasets.studies._unpack import MOST_BYTES, unpack
from histoquilt.runtime import file_sha256, in_words, logger, progress_bar

_CHUNK = 64 * 1024  # bytes; what is lost of an interrupted download
_TIMEOUT_S = 60


def download(
    name: str | RemoteStudy, folder: str | Path, *, progress: bool = True, most_bytes: int = MOST_BYTES
) -> list[Path]:
    """Download a public study into a folder, and return its files.

    The licence and the size, as far as they are published, are logged before anything is fetched. A download that was
    interrupted is resumed; files that are complete are kept. Archives are unpacked next to where they lie.

    Parameters
    ----------
    name
        Name of a study in :data:`DOWNLOADS`, or a :class:`RemoteStudy` of your own.
    folder
        Path of the folder of the study; made if it is missing.
    progress
        If true, show a progress bar.
    most_bytes
        Largest size of a file, and of the content of an archive.

    Returns
    -------
    Paths of the files, archives unpacked. SHA-256 of files without a published checksum are logged.

    Raises
    ------
    ImportError
        pooch is not installed (extra ``studies``).
    ValueError
        The study is unknown or has to be fetched by hand, a file does not have its published checksum or size, or an
        archive is unsafe.
    NotADirectoryError
        ``folder`` is a file.
    OSError
        A file cannot be fetched (it is resumed by the next call).

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.datasets.studies.download("hest", "hest-1k")
    Traceback (most recent call last):
        ...
    ValueError: HEST-1k cannot be downloaded from here (https://huggingface.co/datasets/MahmoodLab/hest). ...
    """
    study = name if isinstance(name, RemoteStudy) else _study(name)
    if not study.files:
        raise ValueError(f"{study.label} cannot be downloaded from here ({study.page}). {study.by_hand}")
    pooch = require("pooch", extra="studies", purpose="Downloading a study")
    folder = Path(folder).expanduser()
    if folder.is_file():
        raise NotADirectoryError(f"{folder} is a file. Name a folder for the study; it is made.")
    sizes = [file.size for file in study.files]
    known = sum(size for size in sizes if size is not None)
    size = in_words(known) if None not in sizes else "unknown"
    logger.warning(
        "downloading %s, %d files, size %s, from %s. Licence: %s.", study.label, len(sizes), size, study.page,
        study.licence,
    )  # fmt: skip
    found: list[Path] = []
    with progress_bar("Downloading", len(study.files), enabled=progress) as advance:
        for file in study.files:
            path = _fetch(pooch, file, folder, most_bytes)
            found += [path] if file.unpack is None else unpack(path, folder / file.unpack, most_bytes=most_bytes)
            advance(note=file.path)
    return found


def _study(name: str) -> RemoteStudy:
    if name not in DOWNLOADS:
        near = close_matches(name, DOWNLOADS)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"Unknown study {name!r}.{meant} Known: {', '.join(DOWNLOADS)}.")
    return DOWNLOADS[name]


def _fetch(pooch: Any, file: RemoteFile, folder: Path, most_bytes: int) -> Path:
    """Return a file, downloaded and verified unless it is there and right."""
    path = folder / file.path
    if path.is_file() and file.checksum is None:
        if file.size not in (None, path.stat().st_size):
            raise ValueError(
                f"{path} has {path.stat().st_size:,} bytes, and {file.size:,} are published. Delete it, or rename it."
            )
        logger.info("%s is there; no checksum is published, so it is kept as it is", path)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")
    part = path.with_name(f".{path.name}.part")
    try:
        pooch.retrieve(
            file.url, known_hash=file.checksum, fname=path.name, path=path.parent,
            downloader=partial(_resume, part=part, size=file.size, most_bytes=most_bytes),
        )  # fmt: skip
    except ValueError as error:
        if "hash" not in str(error).lower():
            raise
        raise ValueError(
            f"{file.url} does not have the published checksum {file.checksum}: it was changed on its way, or at its "
            "place. Nothing was kept; download it again, or compare with the page of the study."
        ) from error
    if file.checksum is None:
        logger.warning("%s: no checksum is published; SHA-256 %s", file.path, file_sha256(path))
    return path


def _resume(url: str, output: str, pooch: Any, *, part: Path, size: int | None, most_bytes: int) -> None:
    """Download into ``part``, from where an earlier call stopped, and then hand the whole file to pooch."""
    import requests

    version = part.with_suffix(".etag")  # of the file that was begun: another one is fetched from its start
    begin = part.stat().st_size if part.is_file() and version.is_file() else 0
    headers = {"Accept-Encoding": "identity"}  # bytes are counted as they are stored
    if begin:
        headers |= {"Range": f"bytes={begin}-", "If-Range": version.read_text(encoding="utf-8")}
    limit = most_bytes if size is None else size
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
            sent = answer.headers.get("Content-Range", "")
            wrong_part = answer.status_code == 206 and not sent.startswith(f"bytes {begin}-")
            wrong_end = answer.status_code == 416 and sent not in ("", f"bytes */{begin}")  # 416: nothing is left of it
            if wrong_part or wrong_end:
                part.unlink(missing_ok=True)
                raise OSError(f"The server sent another part of {url} than was asked for. The same call begins anew.")
            if answer.status_code == 416:
                expected: int | None = begin
            else:
                answer.raise_for_status()
                check_answer(answer, part.name.removesuffix(".part"))
                begin = begin if answer.status_code == 206 else 0
                length = answer.headers.get("Content-Length")
                expected = None if length is None or "Content-Encoding" in answer.headers else begin + int(length)
                version.unlink(missing_ok=True)  # that of another file
                if tag := answer.headers.get("ETag") or answer.headers.get("Last-Modified"):
                    version.write_text(tag, encoding="utf-8")
                _receive(answer, part, begin, limit)
    except requests.RequestException as error:
        status = 0 if error.response is None else error.response.status_code
        gone = 400 <= status < 500
        hint = "Compare the address with the page of the study" if gone else "The same call goes on from there"
        raise OSError(f"{url} could not be downloaded: {error}. {hint}.") from error
    got = part.stat().st_size
    wanted = size if size is not None else expected
    if wanted is not None and got < wanted:
        raise OSError(f"{url} ended after {got:,} of {wanted:,} bytes. The same call resumes it.")
    part.replace(output)
    version.unlink(missing_ok=True)


def check_answer(answer: Any, name: str) -> None:
    """Raise ``OSError`` for a web page in place of a file, and for a redirect from https to http."""
    kind = answer.headers.get("Content-Type", "")
    if kind.startswith("text/html") and not name.endswith((".html", ".htm")):
        raise OSError(
            f"{answer.url} could not be downloaded: a web page was sent in its place, perhaps to log in. Open the "
            "address in a browser."
        )
    if answer.history and answer.history[0].url.startswith("https:") and not answer.url.startswith("https:"):
        raise OSError(
            f"{answer.history[0].url} was redirected to {answer.url}, which is unencrypted. Nothing was kept."
        )


def _receive(answer: Any, part: Path, begin: int, limit: int) -> None:
    """Append what the server sends to a file; refuse more than ``limit`` bytes."""
    with part.open("ab" if begin else "wb") as written:
        got = begin
        for chunk in answer.iter_content(_CHUNK):
            got += len(chunk)
            if got > limit:
                written.close()
                part.unlink()
                raise ValueError(f"{answer.url} is larger than the {limit:,} bytes that are expected. It is not kept.")
            written.write(chunk)
