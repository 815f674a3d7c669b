"""Regions drawn in QuPath, from GeoJSON."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from histoquilt._base import listed, require
from histoquilt.io.annotations._annotations import Annotations
from histoquilt.runtime import warn_user

EXPORT = "in QuPath: File, Export objects as GeoJSON"
_DRAW = f"Draw regions (polygons, rectangles, brush) and give them a class, then export the annotations ({EXPORT})."
_NO_AREA, _NO_CLASS = "points, lines or damaged", "without class or name"


def read_regions(path: Path, text: str) -> Annotations:
    """Return the classified regions of a GeoJSON document; what is left out or repaired is warned of.

    Raises
    ------
    ValueError
        The text is not GeoJSON, or no region in it has a class.
    """
    shapely = require("shapely", extra="export", purpose="Reading annotations drawn in QuPath")
    features = _features(path, text)
    labels: list[str] = []
    regions: list[Any] = []
    colors: dict[str, str] = {}
    repaired: list[str] = []
    unused: Counter[str] = Counter()
    for feature in features:
        properties = _dict(_dict(feature).get("properties"))
        label, why = _label_of(properties), _why_unused(_dict(feature), properties)
        polygons, was_valid = ([], True) if why else _polygons(shapely, _dict(feature).get("geometry"))
        if not why and not polygons:
            why = _NO_AREA
        if not why and label is None:
            why = _NO_CLASS
        if why or label is None:
            unused[why] += 1
            continue
        if label.endswith("*"):
            unused[f"of class {label}, which QuPath ignores"] += 1
            continue
        if not was_valid:
            repaired.append(label)
        labels += [label] * len(polygons)
        regions += polygons
        if (color := _color(properties)) is not None:
            colors.setdefault(label, color)
    told = ", ".join(f"{what} ({n:,})" for what, n in unused.items())
    if not regions:
        found = f"its {len(features):,} objects are {told}" if features else "its list of objects is empty"
        raise ValueError(f"{path} holds no annotated region: {found}. {_DRAW}")
    if unused:
        warn_user(f"{path.name}: {unused.total():,} of {len(features):,} objects are left out: {told}.")
    if repaired:
        warn_user(
            f"{path.name}: the outlines of {len(repaired):,} regions cross themselves and were repaired (first: "
            f"{repaired[0]!r}). Check them in QuPath."
        )
    array = np.empty(len(regions), dtype=object)
    array[:] = regions
    return Annotations(path, np.array(labels, dtype=object), regions=array, colors=colors)


def _features(path: Path, text: str) -> list[Any]:
    """Return the features of a FeatureCollection, a single Feature, or a list of features."""
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError(
            f"{path} is nested too deep to be GeoJSON of annotations. Export it again ({EXPORT})."
        ) from error
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON (truncated?): {error}. Export it again ({EXPORT}).") from error
    kind = document.get("type") if isinstance(document, dict) else None
    features = [document] if kind == "Feature" else document
    if kind == "FeatureCollection":
        features = document.get("features")
    if not isinstance(features, list):
        found = f"an object with {listed(document)}" if isinstance(document, dict) else type(document).__name__
        raise ValueError(
            f"{path} is JSON but not GeoJSON: expected a FeatureCollection, found {found}. Export the annotations as "
            f"GeoJSON ({EXPORT})."
        )
    return features


def _why_unused(feature: dict[str, Any], properties: dict[str, Any]) -> str:
    """Return why an object is no annotation, empty if it is one; older versions of QuPath name the kind elsewhere."""
    identity = feature.get("id")
    old = identity if isinstance(identity, str) and identity.startswith("Path") else ""
    kind = str(properties.get("objectType") or properties.get("object_type") or old).casefold()
    is_annotation = not kind or "annotation" in kind
    return "" if is_annotation else "detections, cells or tiles"


def _label_of(properties: dict[str, Any]) -> str | None:
    """Return the class, or else the name, of an object; None if it has neither."""
    kind = properties.get("classification")
    names = _dict(kind).get("names")
    joined = ": ".join(map(str, names)) if isinstance(names, list) else None
    for text in (kind if isinstance(kind, str) else _dict(kind).get("name"), joined, properties.get("name")):
        if isinstance(text, str) and text.strip():
            return text.strip()
    return None


def _color(properties: dict[str, Any]) -> str | None:
    """Return the colour of a class: three numbers, or one in older versions of QuPath."""
    kind = _dict(properties.get("classification"))
    color, packed = kind.get("color"), kind.get("colorRGB")
    if isinstance(packed, int) and color is None:
        color = [packed >> 16 & 255, packed >> 8 & 255, packed & 255]
    if not isinstance(color, list) or len(color) < 3 or not all(type(v) is int and 0 <= v < 256 for v in color[:3]):
        return None
    return "#" + "".join(f"{level:02x}" for level in color[:3])


def _polygons(shapely: Any, geometry: Any) -> tuple[list[Any], bool]:
    """Return the polygons of a GeoJSON geometry, valid ones, and whether they were valid before."""
    try:
        area = shapely.force_2d(shapely.geometry.shape(geometry))
        if not np.isfinite(shapely.get_coordinates(area)).all():
            return [], True
        was_valid = bool(shapely.is_valid(area))
        parts = shapely.get_parts(shapely.get_parts(area if was_valid else shapely.make_valid(area)))
    except (shapely.errors.ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return [], True
    return [part for part in parts if part.geom_type == "Polygon" and part.area > 0], was_valid


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
