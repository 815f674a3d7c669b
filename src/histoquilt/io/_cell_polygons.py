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
from histoquilt.runtime import warn_user

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

    def kept(self, cells: np.ndarray) -> "CellPolygons":
        """Return the outlines of some cells, others without ``(n_cells,)`` bool."""
        lengths = np.diff(self.offsets)
        offsets = np.append(0, np.cumsum(np.where(cells, lengths, 0)))
        return CellPolygons(offsets, self.vertices[np.repeat(cells, lengths)])

    def taken(self, cells: np.ndarray) -> "CellPolygons":
        """Return the outlines of cells by number, in that order; none for -1."""
        lengths = np.append(np.diff(self.offsets), 0)[cells]
        offsets = np.append(0, np.cumsum(lengths))
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[cells] - offsets[:-1], lengths)
        return CellPolygons(offsets, self.vertices[rows])

    def areas(self) -> np.ndarray:
        """Return the area of each outline ``(n_cells,)``; 0 for cells without one."""
        areas = np.zeros(len(self.offsets) - 1)
        if self.present.any():
            starts, _, _, cross = self._products()
            areas[self.present] = np.abs(np.add.reduceat(cross, starts)) / 2
        return areas

    def _products(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the first vertex of each ring; all vertices, and the next ones, from it; their cross products."""
        starts, lengths = self.offsets[:-1][self.present], np.diff(self.offsets)[self.present]
        here = self.vertices - np.repeat(self.vertices[starts], lengths, axis=0)  # small numbers: products are exact
        there = np.roll(here, -1, axis=0)
        return starts, here, there, here[:, 0] * there[:, 1] - here[:, 1] * there[:, 0]  # 0 from the last vertex

    def centroids(self) -> np.ndarray:
        """Return the centre of area of each outline ``(n_cells, 2)``; NaN for cells without one."""
        starts, here, there, cross = self._products()
        lengths = np.diff(self.offsets)[self.present]
        area = np.add.reduceat(cross, starts) / 2
        moment = np.add.reduceat(cross[:, None] * (here + there), starts, axis=0) / 6
        flat = np.add.reduceat(here, starts) / lengths[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.where(area[:, None] != 0, moment / area[:, None], flat)
        centroids = np.full((len(self.offsets) - 1, 2), np.nan)
        centroids[self.present] = inside + self.vertices[starts]
        return centroids

    def enclose(self, points: np.ndarray) -> np.ndarray:
        """Return whether the point of each cell is in the bounding box of its outline ``(n_cells,)``."""
        enclosed = np.zeros(len(self.offsets) - 1, dtype=bool)
        if not self.present.any():
            return enclosed
        starts = self.offsets[:-1][self.present]
        low, high = (function.reduceat(self.vertices, starts, axis=0) for function in (np.minimum, np.maximum))
        enclosed[self.present] = ((points[self.present] >= low) & (points[self.present] <= high)).all(axis=1)
        return enclosed


def polygons_of_cells(
    codes: np.ndarray, cells: pd.Index, vertices: np.ndarray, names: pd.Index, *, pieces: np.ndarray | None = None
) -> CellPolygons:
    """Return the outlines of cells by name, of a table with one row per vertex.

    Rings of fewer than three corners, without an area, or with a vertex that is not finite are left out.

    Parameters
    ----------
    codes
        Number of the cell of each vertex in ``cells``, negative for none ``(n_vertices,)``; rows of a ring are in its
        order.
    cells
        Names of the cells in the table.
    vertices
        Coordinates ``(n_vertices, 2)``, ``(x, y)``; rings are closed if they are not.
    names
        Names of the wanted cells ``(n_cells,)``. Others are left out.
    pieces
        Number of the piece of its cell that each vertex belongs to ``(n_vertices,)``, by default one piece a cell. The
        largest piece is kept.
    """
    row = np.append(names.get_indexer(cells), -1)[codes]
    wanted = np.flatnonzero(row >= 0)
    row, vertices = row[wanted], np.asarray(vertices, dtype=np.float64)[wanted]
    if pieces is None:
        of_ring, ring = np.unique(row, return_inverse=True)
    else:
        pairs = row.astype(np.int64) * (int(pieces.max(initial=0)) + 1) + pieces[wanted]
        _, first, ring = np.unique(pairs, return_index=True, return_inverse=True)
        of_ring = row[first]
    rings = _rings(ring, vertices, len(of_ring))
    areas = rings.areas()
    by_area = np.argsort(areas, kind="stable")[(areas == 0).sum() :]
    largest = np.full(len(names), -1)
    largest[of_ring[by_area]] = by_area  # later ones replace smaller ones
    return rings.taken(largest)


def _rings(ring: np.ndarray, vertices: np.ndarray, n_rings: int) -> CellPolygons:
    """Return closed rings, of vertices with the number of their ring; those that cannot be drawn are empty."""
    order = np.argsort(ring, kind="stable")
    ring, vertices = ring[order], vertices[order]
    ends = np.flatnonzero(np.append(np.diff(ring) > 0, len(ring) > 0))
    starts = np.append(0, ends + 1)[:-1] if len(ends) else ends
    open_ = (vertices[starts] != vertices[ends]).any(axis=1)
    vertices = np.insert(vertices, ends[open_] + 1, vertices[starts[open_]], axis=0)
    ring = np.insert(ring, ends[open_] + 1, ring[starts[open_]])
    lengths = np.bincount(ring, minlength=n_rings)
    whole = lengths >= _FEWEST
    whole[ring[~np.isfinite(vertices).all(axis=1)]] = False
    return CellPolygons(np.append(0, np.cumsum(lengths)), vertices).kept(whole)


def store_polygons(adata: AnnData, polygons: CellPolygons) -> None:
    """Write outlines into ``obsm["cell_polygons"]``: CSR float32 ``(n_cells, 2 * most vertices)``."""
    ends = 2 * polygons.offsets
    lengths = np.diff(ends)
    columns = np.arange(ends[-1]) - np.repeat(ends[:-1], lengths)
    data = polygons.vertices.astype(np.float32).reshape(-1)
    shape = (adata.n_obs, int(lengths.max(initial=0)))
    adata.obsm[Keys.POLYGONS] = csr_matrix((data, columns.astype(np.int32), ends), shape=shape)


def stored_polygons(adata: AnnData) -> CellPolygons | None:
    """Return the outlines of a section, or None if it has none; warn of rings that were cut off, and leave them out."""
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
    outlines = CellPolygons(offsets, values.reshape(-1, 2))
    cut = np.zeros(adata.n_obs, dtype=bool)
    starts, ends = offsets[:-1][outlines.present], offsets[1:][outlines.present] - 1
    cut[outlines.present] = (outlines.vertices[starts] != outlines.vertices[ends]).any(axis=1)
    if not cut.any():
        return outlines
    warn_user(
        f"Outlines of {cut.sum():,} cells are cut off and are left out: the sections were joined by a program that "
        "does not know them. Join them with histoquilt.io.concat_sections, or anndata.concat(join='outer')."
    )
    return outlines.kept(~cut)
