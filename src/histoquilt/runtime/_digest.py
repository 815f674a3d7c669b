"""Digests of files."""

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Examples
    --------
    >>> from histoquilt.runtime import file_sha256
    >>> path = getfixture("tmp_path") / "a.txt"
    >>> _ = path.write_text("abc")
    >>> file_sha256(path)[:12]
    'ba7816bf8f01'
    """
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
