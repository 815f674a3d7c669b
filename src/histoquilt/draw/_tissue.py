"""Where the spots of a section are, how far apart, and which image lies under them (``report`` reads it here too)."""

import warnings
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw._image_pixels import drawable
from histoquilt.runtime import warn_user
from histoquilt.study import check_adata, check_obs_key, check_spatial, image_libraries, library_part


@dataclass(frozen=True)
class TissueImage:
    """An image of the tissue and how it lies in the coordinates of the spots."""

    pixels: np.ndarray  # (height, width, 3 or 4), uint8
    scale: float  # image pixels per coordinate unit

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top in coordinate units, y down, as ``imshow(extent=...)`` wants it."""
        height, width = self.pixels.shape[:2]
        return 0.0, width / self.scale, height / self.scale, 0.0


def tissue_image(adata: AnnData, *, library_key: str | None = None) -> TissueImage | None:
    """Return the image of a section from ``uns["spatial"]``, the larger of hires and lowres, or ``None``.

    With images of several libraries, the one that ``obs[library_key]`` names is taken, else the one that another column
    of ``obs`` names; none if it is not unique. An image that cannot be drawn is left out, with a warning.
    """
    stored = image_libraries(adata)
    name = _library(adata, list(stored), library_key) if stored else None
    if name is None:
        return None
    images, factors = library_part(stored[name], "images"), library_part(stored[name], "scalefactors")
    scales = {size: _scale(factors.get(f"tissue_{size}_scalef")) for size in images}
    failed = []
    for size in sorted((size for size in scales if scales[size]), key=lambda size: -scales[size]):
        try:
            return TissueImage(drawable(images[size]), scales[size])
        except ValueError as error:
            shape = " x ".join(map(str, np.shape(images[size])))
            key = f"uns['spatial'][{name!r}]['images'][{size!r}]"
            failed.append(f"{key} of {shape} ({getattr(images[size], 'dtype', type(images[size]).__name__)}): {error}")
    if failed:
        warn_user(f"The tissue image cannot be drawn and is left out: {'; '.join(failed)}.")
    return None


def _scale(factor: object) -> float:
    """Return a scale factor, or 0 where it is none."""
    try:
        scale = float(np.asarray(factor, dtype=float).item())
    except (TypeError, ValueError):
        return 0.0
    return scale if np.isfinite(scale) and scale > 0 else 0.0


def _library(adata: AnnData, stored: list[str], library_key: str | None) -> str | None:
    key = library_key if library_key is not None else library_column(adata)
    named = _names(adata, key) if key is not None else []
    if len(named) == 1 and named[0] in stored:
        return named[0]
    if len(named) > 1:
        return None
    if len(stored) == 1:  # with one image and spots of one section there is nothing to choose, whatever the names are
        return stored[0]
    columns = [column for column in adata.obs if adata.obs[column].dtype.kind in "OST"]
    said = {names[0] for column in columns if len(names := _names(adata, column)) == 1 and names[0] in stored}
    if len(said) == 1:
        return said.pop()
    warn_user(
        f"uns['spatial'] holds images of {', '.join(map(repr, stored[:5]))}, and no column of obs names one of them "
        "for these spots: none is drawn. Name it in obs['library_id']."
    )
    return None


def _names(adata: AnnData, column: str) -> list[str]:
    return [str(name) for name in adata.obs[column].dropna().unique()]


def library_column(adata: AnnData) -> str | None:
    """Column of ``obs`` that names the section of each spot: ``section``, else squidpy's ``library_id``, else none."""
    return next((key for key in (Keys.SECTION, Keys.LIBRARY) if key in adata.obs), None)


def section_names(adata: AnnData, section_key: str | None) -> dict[str, np.ndarray]:
    """Return section name -> row numbers, in order of appearance; empty where no column names sections."""
    key = section_key if section_key is not None else library_column(adata)
    if key is None:
        return {}
    check_obs_key(adata, key, argument="section_key")
    column = adata.obs[key].astype(str).to_numpy()
    return {name: np.flatnonzero(column == name) for name in dict.fromkeys(column)}


def warn_overlapping_sections(adata: AnnData, spatial_key: str, section_key: str | None) -> None:
    """Warn where one picture would show several sections on top of each other; sections side by side are fine."""
    names = section_names(adata, section_key)
    points = spot_places(adata, spatial_key)
    boxes = [(points[rows].min(axis=0), points[rows].max(axis=0)) for rows in names.values()]
    if any((low <= top).all() and (bottom <= high).all() for (low, high), (bottom, top) in combinations(boxes, 2)):
        warnings.warn(
            f"adata holds {len(names)} sections ({', '.join(map(repr, list(names)[:5]))}) on top of each other "
            "in this picture. Draw them side by side with histoquilt.pl.domains_grid(adata), or pass one of them.",
            stacklevel=3,
        )


def microns_per_unit(adata: AnnData, *, library_key: str | None = None) -> float | None:
    """Return microns per coordinate unit where the reader recorded it, else ``None``.

    Of one section cut out of a study, its own record counts: sections of a study may differ in their pixels.
    """
    ours = adata.uns.get(Keys.UNS, {})
    names = section_names(adata, library_key)
    own = ours.get(Keys.SECTIONS, {}).get(next(iter(names)), {}) if len(names) == 1 else {}
    recorded = own.get(Keys.COORDINATES) or ours.get(Keys.COORDINATES, {})
    if recorded.get("unit") == "micron":
        return 1.0
    mpp = recorded.get("mpp", ours.get(Keys.IMAGE, {}).get("mpp"))
    return float(mpp) if mpp is not None and np.isfinite(mpp) and mpp > 0 else None


def spot_places(adata: AnnData, spatial_key: str) -> np.ndarray:
    """Return checked spot centres ``(n_spots, 2)``; a third coordinate is dropped."""
    check_adata(adata)
    return check_spatial(adata, spatial_key)[:, :2]
