"""Files of a folder that a person put there."""

from collections.abc import Iterator
from pathlib import Path


def visible(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield what matches a glob in a folder, without hidden files, such as ``._A1.jpg`` that macOS adds to archives."""
    for path in folder.glob(pattern):
        if not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts):
            yield path
