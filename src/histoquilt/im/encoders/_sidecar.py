"""Settings of an ONNX encoder from a JSON file next to its weights."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sidecar:
    """Pixel normalisation of an encoder: ``(pixel * scale - mean) / std`` for each of red, green and blue.

    ``input_px`` and ``output`` are needed only if the model leaves the size free or has several outputs.
    """

    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    scale: float = 1 / 255
    mpp: float | None = None
    licence: str = ""
    citation: str = ""
    input_px: int | None = None
    output: str | None = None


def read_sidecar(weights: Path) -> Sidecar:
    """Read ``<weights file>.json``, by default scaling pixels to 0 to 1; raise ``ValueError`` if it is not valid."""
    path = weights.with_name(weights.name + ".json")
    if not path.is_file():
        return Sidecar()
    known = [field.name for field in fields(Sidecar)]
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). It may hold {', '.join(known)}.") from error
    if not isinstance(said, dict) or not set(said) <= set(known):
        found = ", ".join(sorted(set(said) - set(known))) if isinstance(said, dict) else type(said).__name__
        raise ValueError(f"{path} must be a JSON object with any of {', '.join(known)}; found {found}.")
    return _checked(said, path)


def _checked(said: dict[str, Any], path: Path) -> Sidecar:
    for key in ("mean", "std"):
        if key in said:
            said[key] = _three(said[key], key, path)
    if min(said.get("std", (1.0,))) <= 0:
        raise ValueError(f"{path}: std must be positive, got {list(said['std'])}.")
    for key in ("scale", "mpp", "input_px"):
        value = said.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            raise ValueError(f"{path}: {key} must be a positive number, got {value!r}.")
    return Sidecar(**said)


def _three(value: Any, key: str, path: Path) -> tuple[float, ...]:
    try:
        numbers = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (3,) or not np.isfinite(numbers).all():
        raise ValueError(f"{path}: {key} must be three numbers for red, green and blue, got {value!r}.")
    return tuple(numbers.tolist())
