"""SpatialData: table, spots or cells, and image in one zarr store, for napari-spatialdata, sopa and Vitessce."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, require
from histoquilt.io._cell_polygons import CellPolygons
from histoquilt.io.exporters._protocol import ExportedSection, ExportOptions, new_store
from histoquilt.io.exporters._viewers import for_viewers, quiet_zarr, with_portable_names
from histoquilt.study import image_libraries, library_part, spot_pitch

_POLYGON = 3  # number of the type in shapely
_RADIUS = 0.275  # of the pitch, if the diameter of spots is not recorded: 55 um at 100 um


class _SpatialData:
    """Exporter to SpatialData (``Exporter``)."""

    label = "SpatialData: napari, sopa"
    files = "<section>.zarr with the table, cells as polygons or spots as circles, and the image where it is known"
    needs: ClassVar[dict[str, str]] = {"spatialdata": "histoquilt[spatial]"}

    def write(self, section: ExportedSection, folder: Path, options: ExportOptions) -> list[Path]:
        """Write the section, in the coordinates of its spots (the system ``global``)."""
        sd = require("spatialdata", extra="spatial", purpose="Exporting to SpatialData")
        path = new_store(folder, section)
        name = path.stem
        adata = with_portable_names(for_viewers(section))
        cells = section.polygons
        region = f"{name}_spots" if cells is None else f"{name}_cells"
        shapes = _spots(sd, adata) if cells is None else _cells(sd, cells)
        elements = {"table": _table(sd, adata, region), region: shapes}
        elements |= {f"{name}_{size}": image for size, image in _images(sd, adata)}
        with quiet_zarr():
            sd.SpatialData.init_from_elements(elements).write(path)
        return [path]


SPATIALDATA = _SpatialData()


def _table(sd: Any, adata: AnnData, region: str) -> AnnData:
    table = adata.copy()
    table.obs["region"] = pd.Categorical([region] * table.n_obs)
    table.obs["spot_id"] = np.arange(table.n_obs)
    table.uns.pop(Keys.SPATIAL, None)  # the images are elements
    parsed: AnnData = sd.models.TableModel.parse(table, region=region, region_key="region", instance_key="spot_id")
    return parsed


def _spots(sd: Any, adata: AnnData) -> Any:
    centres = np.asarray(adata.obsm["X_spatial"], dtype=float) * [1, -1]
    recorded = [library_part(library, "scalefactors") for library in image_libraries(adata).values()]
    diameters = [factors["spot_diameter_fullres"] for factors in recorded if "spot_diameter_fullres" in factors]
    radius = float(diameters[0]) / 2 if diameters else _RADIUS * spot_pitch(centres)
    return sd.models.ShapesModel.parse(centres, geometry=0, radius=radius, index=np.arange(len(centres)))


def _cells(sd: Any, cells: CellPolygons) -> Any:
    """Return outlines as shapes, numbered like the rows of the table; cells without one have no shape."""
    rings = cells.offsets[np.append(cells.present, True)]
    one_each = np.arange(len(rings))
    index = np.flatnonzero(cells.present)
    return sd.models.ShapesModel.parse(cells.vertices, geometry=_POLYGON, offsets=(rings, one_each), index=index)


def _images(sd: Any, adata: AnnData) -> Any:
    """Yield resolution and image, scaled to the coordinates of the spots."""
    for library in image_libraries(adata).values():
        factors = library_part(library, "scalefactors")
        for size, pixels in library_part(library, "images").items():
            if factor := factors.get(f"tissue_{size}_scalef"):
                scale = sd.transformations.Scale([1 / float(factor)] * 2, axes=("x", "y"))
                channels = np.moveaxis(np.asarray(pixels), -1, 0)
                yield (
                    size,
                    sd.models.Image2DModel.parse(channels, dims=("c", "y", "x"), transformations={"global": scale}),
                )
