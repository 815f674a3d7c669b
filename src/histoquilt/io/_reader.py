"""Protocol of readers that other packages add."""

from pathlib import Path
from typing import Protocol, runtime_checkable

from anndata import AnnData


@runtime_checkable
class Reader(Protocol):
    """Reader of a file format, added by another package through the entry point ``histoquilt.readers``.

    :func:`read_section`, the commands and ``samples.csv`` ask it about paths that histoquilt does not recognise itself.
    A ``.csv`` given to a command is a table of samples, so a format of single sections needs another ending.

    Attributes
    ----------
    label
        Name of the format, for messages.
    """

    label: str

    def recognises(self, path: Path) -> bool:
        """Return whether an existing file or folder is of this format; must be fast, as it is called for any path."""
        ...

    def read(self, path: Path) -> AnnData:
        """Return the section: raw counts in ``X``, spot centres ``(x, y)`` in ``obsm["spatial"]``.

        Declare the unit of the coordinates with :func:`histoquilt.io.record_coordinates` if it is known.
        """
        ...
