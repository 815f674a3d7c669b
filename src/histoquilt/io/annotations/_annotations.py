"""Annotations as they were read from a file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class Annotations:
    r"""Annotations of one section, as :func:`read_annotations` returns them: drawn regions, or labels by barcode.

    Attributes
    ----------
    path
        The file.
    labels
        Class of each region or barcode, text ``(n,)``.
    regions
        Polygons (shapely) in pixels ``(x, y)`` of the image that they were drawn on, ``(n,)``; None if the file names
        barcodes.
    barcodes
        Barcodes or cell identifiers as in the file, text ``(n,)``; None if regions were drawn.
    by_cell_id
        True if the file calls them ``cell_id``, as files of Xenium do.
    colors
        Class -> colour ``#rrggbb``, as far as the file has some.

    Examples
    --------
    >>> import histoquilt as hq
    >>> path = getfixture("tmp_path") / "loupe.csv"
    >>> _ = path.write_text("Barcode,Pathologist\nAAAC-1,tumour\nAAAG-1,stroma\nAAAT-1,tumour\n")
    >>> annotations = hq.io.read_annotations(path)
    >>> annotations.names, annotations.labels.tolist()
    (['stroma', 'tumour'], ['tumour', 'stroma', 'tumour'])
    """

    path: Path
    labels: np.ndarray
    regions: np.ndarray | None = None
    barcodes: np.ndarray | None = None
    by_cell_id: bool = False
    colors: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The classes, in alphabetical order."""
        return sorted(set(self.labels.tolist()))

    def __repr__(self) -> str:
        what = "barcodes" if self.regions is None else "regions"
        return f"Annotations of {self.path.name}: {len(self.labels):,} {what} of {len(self.names)} classes"
