"""Where one section is read from: plain, so that it can travel to another process."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Source:
    """One section of the command line, or of a table.

    Attributes
    ----------
    name
        Of the section.
    path
        Its file or folder.
    table
        The ``samples.csv`` that has a row for it, where it was not named by its file.
    row
        What the table says of it, by which a changed row is noticed.
    """

    name: str
    path: Path
    table: Path | None = None
    row: str = ""

    def read(self) -> "AnnData":
        """Read the section."""
        from histoweave import io

        if self.table is None:
            return io.read_section(self.path)
        from histoweave.io._samples import read_sample

        return read_sample(self.table, self.name)


def without_counts(adata: "AnnData") -> "AnnData":
    """Let go of what a check has seen and the work will read again: matrices of spots by genes. Changed in place."""
    adata.X = None
    adata.raw = None
    for name in list(adata.layers):
        del adata.layers[name]
    return adata
