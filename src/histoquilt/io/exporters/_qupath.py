"""QuPath: domains as annotations and spots as detections, in GeoJSON that is dragged onto the image."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from histoquilt._base import require
from histoquilt.io.exporters._polygons import PURPOSE, domain_polygons
from histoquilt.io.exporters._protocol import ExportedSection, ExportOptions


class _QuPath:
    """Exporter to QuPath (``Exporter``)."""

    label = "QuPath"
    files = "<section>.geojson, domains as polygons; <section>_spots.geojson, spots with measurements"
    needs = {"shapely": "histoquilt[export]"}

    def write(self, section: ExportedSection, folder: Path, options: ExportOptions) -> list[Path]:
        """Write one file per column of labels, and one of spots if asked for or if there are no labels."""
        ending = ".geojson.gz" if options.compress else ".geojson"
        paths = []
        for key in section.keys:
            of_key = f"_{key}" if len(section.keys) > 1 else ""
            paths.append(_write(folder / f"{section.name}{of_key}{ending}", annotations(section, key)))
        if options.spots or section.expression.shape[1] or not section.keys:
            paths.append(_write(folder / f"{section.name}_spots{ending}", detections(section)))
        return paths


QUPATH = _QuPath()


def annotations(section: ExportedSection, key: str) -> Iterator[dict[str, Any]]:
    """Yield one GeoJSON feature per label with spots: its area in pixels, its colour, number of spots, confidence."""
    shapely = require("shapely", extra="export", purpose=PURPOSE)
    labels, colors, confidence = section.labels(key), section.colors(key), section.confidence(key)
    for code, area in domain_polygons(section.pixels, labels.codes, tolerance=section.tolerance()).items():
        inside = labels.codes == code
        measured = {"Spots": int(inside.sum())}
        if section.mpp is not None:
            measured["Area um^2"] = round(area.area * section.mpp**2, 1)
        if confidence is not None:
            measured["Mean confidence"] = round(float(confidence[inside].mean()), 4)
        name = labels.categories[code]
        yield _feature(section, json.loads(shapely.to_geojson(area)), "annotation", name, colors[name], measured)


def detections(section: ExportedSection) -> Iterator[dict[str, Any]]:
    """Yield one GeoJSON feature per spot: its centre in pixels, first label, confidence and chosen genes."""
    key = section.keys[0] if section.keys else None
    labels, colors = (section.labels(key), section.colors(key)) if key else (None, {})
    confidence = section.confidence(key) if key else None
    genes = section.expression
    names, values, centres = list(genes.columns), genes.to_numpy(), section.pixels
    for row, barcode in enumerate(section.barcodes):
        measured = {} if confidence is None else {"Confidence": round(float(confidence[row]), 4)}
        measured |= {name: round(float(value), 4) for name, value in zip(names, values[row], strict=True)}
        label = None if labels is None or labels.codes[row] < 0 else labels.categories[labels.codes[row]]
        point = {"type": "Point", "coordinates": np.round(centres[row], 2).tolist()}
        feature = _feature(section, point, "detection", label, colors.get(label or ""), measured)
        feature["properties"]["name"] = str(barcode)
        yield feature


def _feature(
    section: ExportedSection,
    geometry: dict[str, Any],
    kind: str,
    label: str | None,
    color: str | None,
    measured: dict[str, float],
) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": kind, "name": label, "isLocked": False, "measurements": measured}
    if label is not None and color is not None:
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        properties["classification"] = {"name": label, "color": rgb}
    finite = {name: value for name, value in measured.items() if np.isfinite(value)}
    properties["measurements"] = finite
    return {"type": "Feature", "id": "", "geometry": geometry, "properties": properties, "_of": section.section.name}


def _write(path: Path, features: Iterable[dict[str, Any]]) -> Path:
    """Write a FeatureCollection, one feature per line; identifiers depend on nothing but the content."""
    with path.open("wb") as raw:
        binary = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        with TextIOWrapper(binary, encoding="utf-8") as text:  # type: ignore[type-var]
            text.write('{"type": "FeatureCollection", "features": [')
            for number, feature in enumerate(features):
                content = json.dumps(feature, ensure_ascii=False).encode()
                del feature["_of"]
                feature["id"] = str(UUID(bytes=hashlib.sha256(content).digest()[:16], version=4))
                text.write((",\n" if number else "\n") + json.dumps(feature, ensure_ascii=False))
            text.write("\n]}\n")
    return path
