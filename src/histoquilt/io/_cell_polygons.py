"""Outlines of cells, kept with the cells as rows of a sparse matrix in ``obsm``.

A row holds the vertices of one closed ring, ``x, y, x, y ...``, in the unit of ``obsm["spatial"]``. So outlines follow
their cells when a section is cut, joined or written, and rows of different length waste no space. Cells without an
outline have an empty row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, require

_FEWEST = 4  # vertices of a closed ring, the first one twice


@dataclass(frozen=True)
class CellPolygons:
    """Closed outer rings of cells.

    Attributes
    ----------
    offsets
        First vertex of each cell and the end of the last ``(n_cells + 1,)``; a cell without outline has no vertices.
    vertices
        Vertices of all rings ``(n_vertices, 2)``, ``(x, y)``.
    """

    offsets: np.ndarray
    vertices: np.ndarray

    @property
    def present(self) -> np.ndarray:
        """Cells that have an outline ``(n_cells,)``."""
        present: np.ndarray = np.diff(self.offsets) > 0
        return present

    def scaled(self, factor: float) -> "CellPolygons":
        """Return the outlines in another unit."""
        return CellPolygons(self.offsets, self.vertices * factor)

    def ring(self, cell: int) -> np.ndarray:
        """Return the closed ring of a cell ``(n, 2)``."""
        return self.vertices[self.offsets[cell] : self.offsets[cell + 1]]

    def shapes(self) -> np.ndarray:
        """Return a shapely ``Polygon`` for each cell that has an outline, in the order of the cells."""
        shapely: Any = require("shapely", extra="export", purpose="Exporting outlines of cells")
        rings = np.repeat(np.arange(self.present.sum()), np.diff(self.offsets)[self.present])
        polygons: np.ndarray = shapely.polygons(shapely.linearrings(self.vertices, indices=rings))
        return polygons

    def centroids(self) -> np.ndarray:
        """Return the centre of area of each outline ``(n_cells, 2)``; NaN for cells without one."""
        starts, lengths = self.offsets[:-1][self.present], np.diff(self.offsets)[self.present]
        first = np.repeat(self.vertices[starts], lengths, axis=0)
        here = self.vertices - first  # small numbers, so that products are exact enough
        there = np.roll(here, -1, axis=0)
        cross = here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]  # 0 from the last vertex, which is the first
        area = np.add.reduceat(cross, starts) / 2
        moment = np.add.reduceat(cross[:, None] * (here + there), starts, axis=0) / 6
        flat = np.add.reduceat(here, starts) / lengths[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.where(area[:, None] != 0, moment / area[:, None], flat)
        centroids = np.full((len(self.offsets) - 1, 2), np.nan)
        centroids[self.present] = inside + self.vertices[starts]
        return centroids

    def enclose(self, points: np.ndarray) -> np.ndarray:
        """Return whether the point of each cell that has an outline is in the outline's bounding box."""
        starts = self.offsets[:-1][self.present]
        low, high = (function.reduceat(self.vertices, starts, axis=0) for function in (np.minimum, np.maximum))
        inside: np.ndarray = ((points[self.present] >= low) & (points[self.present] <= high)).all(axis=1)
        return inside


def polygons_of_cells(codes: np.ndarray, cells: pd.Index, vertices: np.ndarray, names: pd.Index) -> CellPolygons:
    """Return the outlines of cells by name, of a table with one row per vertex.

    Parameters
    ----------
    codes
        Number of the cell of each vertex in ``cells``, negative for none ``(n_vertices,)``; rows of a cell are in the
        order of its ring.
    cells
        Names of the cells in the table.
    vertices
        Coordinates ``(n_vertices, 2)``, ``(x, y)``; rings are closed if they are not.
    names
        Names of the wanted cells ``(n_cells,)``. Others are left out; rings of fewer than three corners, too.
    """
    row = np.append(names.get_indexer(cells), -1)[codes]
    order = np.argsort(row, kind="stable")[(row < 0).sum() :]
    row, vertices = row[order], np.asarray(vertices, dtype=np.float64)[order]
    ends = np.flatnonzero(np.append(np.diff(row) > 0, len(row) > 0))
    starts = np.append(0, ends + 1)[:-1] if len(ends) else ends
    open_ = (vertices[starts] != vertices[ends]).any(axis=1)
    vertices = np.insert(vertices, ends[open_] + 1, vertices[starts[open_]], axis=0)
    row = np.insert(row, ends[open_] + 1, row[starts[open_]])
    lengths = np.bincount(row, minlength=len(names))
    whole = lengths >= _FEWEST
    return CellPolygons(np.append(0, np.cumsum(np.where(whole, lengths, 0))), vertices[whole[row]])


def store_polygons(adata: AnnData, polygons: CellPolygons) -> None:
    """Write outlines into ``obsm["cell_polygons"]``: CSR float32 ``(n_cells, 2 * most vertices)``."""
    ends = 2 * polygons.offsets
    lengths = np.diff(ends)
    columns = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)
    data = polygons.vertices.astype(np.float32).reshape(-1)
    shape = (adata.n_obs, int(lengths.max(initial=0)))
    adata.obsm[Keys.POLYGONS] = csr_matrix((data, columns.astype(np.int32), ends), shape=shape)


def stored_polygons(adata: AnnData) -> CellPolygons | None:
    """Return the outlines of a section, or None if it has none."""
    if Keys.POLYGONS not in adata.obsm:
        return None
    matrix = csr_matrix(adata.obsm[Keys.POLYGONS])
    matrix.sort_indices()
    # not by the number of stored values: another program may have dropped those that are 0
    filled = np.diff(matrix.indptr) > 0
    lengths = np.zeros(matrix.shape[0], dtype=np.int64)
    lengths[filled] = matrix.indices[matrix.indptr[1:][filled] - 1] // 2 + 1
    offsets = np.append(0, np.cumsum(lengths))
    values = np.zeros(2 * offsets[-1])
    values[np.repeat(2 * offsets[:-1], np.diff(matrix.indptr)) + matrix.indices] = matrix.data
    return CellPolygons(offsets, values.reshape(-1, 2))
