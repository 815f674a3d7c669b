"""Files of a folder that a person put there."""

from collections.abc import Iterator
from pathlib import Path


def visible(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield what matches a glob in a folder, without hidden files, such as ``._A1.jpg`` that macOS adds to archives.

    Examples
    --------
    >>> from histoquilt._base import visible
    >>> folder = getfixture("tmp_path")
    >>> for name in ("A1.jpg", "._A1.jpg", ".DS_Store"):
    ...     (folder / name).touch()
    >>> [path.name for path in visible(folder)]
    ['A1.jpg']
    """
    for path in folder.glob(pattern):
        if not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts):
            yield path
