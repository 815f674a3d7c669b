"""QuPath: domains as annotations, spots as detections or cells, in GeoJSON that is dragged onto the image."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import numpy as np

from histoquilt._base import require
from histoquilt.io._cell_polygons import CellPolygons
from histoquilt.io.exporters._polygons import PURPOSE, domain_polygons, merged_cells
from histoquilt.io.exporters._protocol import ExportedSection, ExportOptions


class _QuPath:
    """Exporter to QuPath (``Exporter``)."""

    label = "QuPath"
    files = "<section>.geojson, domains as polygons; <section>_spots.geojson, spots with measurements"
    needs: ClassVar[dict[str, str]] = {"shapely": "histoquilt[export]"}

    def write(self, section: ExportedSection, folder: Path, options: ExportOptions) -> list[Path]:
        """Write one file per column of labels, and one of spots if asked for, or of cells with outlines."""
        ending = ".geojson.gz" if options.compress else ".geojson"
        paths = []
        for key in section.keys:
            of_key = f"_{key}" if len(section.keys) > 1 else ""
            paths.append(_write(folder / section.file_name(of_key + ending), annotations(section, key), section.name))
        if options.spots or section.genes or not section.keys or section.polygons is not None:
            paths.append(_write(folder / f"{section.name}_spots{ending}", detections(section), section.name))
        return paths


QUPATH = _QuPath()


def annotations(section: ExportedSection, key: str) -> Iterator[dict[str, Any]]:
    """Yield one GeoJSON feature per label with spots: its area in pixels, its colour, number of spots, confidence."""
    shapely = require("shapely", extra="export", purpose=PURPOSE)
    labels, colors, confidence = section.labels(key), section.colors(key), section.confidence(key)
    classes = section.classes(key)
    centres, cells, tolerance = section.pixels, section.polygons_px, section.tolerance()
    if cells is None:
        areas = domain_polygons(centres, labels.codes, tolerance=tolerance)
    else:
        areas = merged_cells(cells, labels.codes, tolerance=tolerance)
    for code, area in areas.items():
        inside = labels.codes == code
        measured: dict[str, float] = {"Spots": int(inside.sum())}
        if section.mpp is not None:
            measured["Area um^2"] = area.area * section.mpp**2
        if confidence is not None:
            measured["Mean confidence"] = float(confidence[inside].mean())
        name = labels.categories[code]
        kind = classes[name], colors[name]  # with a colon, as QuPath writes derived classes
        yield _feature(json.loads(shapely.to_geojson(area)), "annotation", name, kind, measured)


def detections(section: ExportedSection) -> Iterator[dict[str, Any]]:
    """Yield one GeoJSON feature per spot: its outline or centre in pixels, first label, confidence, chosen genes."""
    key = section.keys[0] if section.keys else None
    labels, colors = (section.labels(key), section.colors(key)) if key else (None, {})
    classes = section.classes(key) if key else {}
    confidence = section.confidence(key) if key else None
    names, values, centres = section.genes, section.expression.to_numpy(), np.round(section.pixels, 2)
    cells = section.polygons_px
    if cells is not None:
        cells = CellPolygons(cells.offsets, np.round(cells.vertices, 2))
    for row, barcode in enumerate(section.barcodes):
        measured = {} if confidence is None else {"Confidence": float(confidence[row])}
        measured |= {name: float(value) for name, value in zip(names, values[row], strict=True)}
        label = None if labels is None or labels.codes[row] < 0 else labels.categories[labels.codes[row]]
        kind, shape = "detection", {"type": "Point", "coordinates": centres[row].tolist()}
        if cells is not None and len(ring := cells.ring(row)):
            kind, shape = "cell", {"type": "Polygon", "coordinates": [ring.tolist()]}
        yield _feature(shape, kind, barcode, None if label is None else (classes[label], colors[label]), measured)


def _feature(
    geometry: dict[str, Any], kind: str, name: str | None, label: tuple[str, str] | None, measured: dict[str, float]
) -> dict[str, Any]:
    """Return a feature; ``label`` is the class with its colour."""
    properties: dict[str, Any] = {"objectType": kind, "name": name, "isLocked": False}
    if label is not None:
        rgb = [int(label[1][i : i + 2], 16) for i in (1, 3, 5)]
        properties["classification"] = {"name": label[0], "color": rgb}
    properties["measurements"] = {name: round(value, 4) for name, value in measured.items() if np.isfinite(value)}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _write(path: Path, features: Iterable[dict[str, Any]], name: str) -> Path:
    """Write a FeatureCollection, one feature per line; identifiers depend on section and content alone."""
    with path.open("wb") as raw:
        binary: Any = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        with TextIOWrapper(binary, encoding="utf-8") as text:
            text.write('{"type": "FeatureCollection", "features": [')
            for number, feature in enumerate(features):
                written = json.dumps(feature, ensure_ascii=False)
                content = written if written.isascii() else json.dumps(feature)
                digest = hashlib.sha256(f"{name}\0{content}".encode()).digest()
                own = UUID(bytes=digest[:16], version=4)
                text.write((",\n" if number else "\n") + f'{written[:-1]}, "id": "{own}"}}')
            text.write("\n]}\n")
    return path
