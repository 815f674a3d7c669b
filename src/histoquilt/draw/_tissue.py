"""Spot centres of sections, their distance and order, and the image under them."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys, argument, listed
from histoquilt.draw._image_pixels import drawable
from histoquilt.runtime import warn_user
from histoquilt.study import (
    check_adata,
    check_obs_key,
    check_spatial,
    coordinate_record,
    image_libraries,
    library_part,
    order_by_height,
)


@dataclass(frozen=True)
class TissueImage:
    """Image of the tissue and its scale in the coordinates of the spots.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.draw import TissueImage
    >>> TissueImage(np.zeros((100, 200, 3), np.uint8), scale=0.5).extent
    (0.0, 400.0, 200.0, 0.0)
    """

    pixels: np.ndarray  # (height, width, 3 or 4), uint8
    scale: float  # image pixels per coordinate unit

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top in coordinate units, y downwards, for ``imshow(extent=...)``."""
        height, width = self.pixels.shape[:2]
        return 0.0, width / self.scale, height / self.scale, 0.0


def tissue_image(adata: AnnData, *, library_key: str | None = None) -> TissueImage | None:
    """Return the image of a section from ``uns["spatial"]``, the larger of hires and lowres, or None.

    If there are images of several libraries, ``obs[library_key]`` names the one to use, else any other column of
    ``obs``; None if that is not unique. An image that cannot be drawn is skipped with a warning.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.draw import tissue_image
    >>> library = {
    ...     "images": {"hires": np.zeros((200, 300, 3), np.uint8), "lowres": np.zeros((20, 30, 3), np.uint8)},
    ...     "scalefactors": {"tissue_hires_scalef": 0.2, "tissue_lowres_scalef": 0.02},
    ... }
    >>> image = tissue_image(AnnData(uns={"spatial": {"V1": library}}))
    >>> image.pixels.shape, image.scale
    ((200, 300, 3), 0.2)
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
    """Return a valid scale factor, or 0."""
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
    if len(stored) == 1:  # one image and spots of one section, whatever their names
        return stored[0]
    columns = [column for column in adata.obs if adata.obs[column].dtype.kind in "OST"]
    candidates = {names[0] for column in columns if len(names := _names(adata, column)) == 1 and names[0] in stored}
    if len(candidates) == 1:
        return candidates.pop()
    warn_user(
        f"uns['spatial'] holds images of {listed(stored, 5)}, and no column of obs names one of them for these spots: "
        "none is drawn. Name it in obs['library_id']."
    )
    return None


def _names(adata: AnnData, column: str) -> list[str]:
    return [str(name) for name in adata.obs[column].dropna().unique()]


def library_column(adata: AnnData) -> str | None:
    """Return the column of ``obs`` that names sections: ``section``, else squidpy's ``library_id``, else None.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import library_column
    >>> library_column(AnnData(obs=pd.DataFrame({"library_id": ["V1"]}, index=["a"])))
    'library_id'
    """
    return next((key for key in (Keys.SECTION, Keys.LIBRARY) if key in adata.obs), None)


def section_names(adata: AnnData, section_key: str | None) -> dict[str, np.ndarray]:
    """Return section name -> row numbers, in order of appearance; empty if no column names sections.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import section_names
    >>> adata = AnnData(obs=pd.DataFrame({"section": ["s2", "s1", "s2"]}, index=list("abc")))
    >>> {name: rows.tolist() for name, rows in section_names(adata, None).items()}
    {'s2': [0, 2], 's1': [1]}
    """
    key = section_key if section_key is not None else library_column(adata)
    if key is None:
        return {}
    check_obs_key(adata, key, argument="section_key")
    column = adata.obs[key].astype(str).to_numpy()
    return {name: np.flatnonzero(column == name) for name in dict.fromkeys(column)}


def warn_overlapping_sections(adata: AnnData, spatial_key: str, section_key: str | None) -> None:
    """Warn if one plot would show several sections on top of each other; sections side by side are fine.

    Examples
    --------
    >>> import warnings, numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import warn_overlapping_sections
    >>> spots = np.array([[0.0, 0], [9, 9], [1, 1], [8, 8]])
    >>> obs = pd.DataFrame({"section": ["s1", "s1", "s2", "s2"]}, index=list("abcd"))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warn_overlapping_sections(AnnData(np.ones((4, 1)), obs=obs, obsm={"spatial": spots}), "spatial", None)
    >>> str(caught[0].message).split(" in this")[0]
    "adata holds 2 sections ('s1', 's2') on top of each other"
    """
    names = section_names(adata, section_key)
    points = spot_places(adata, spatial_key)
    boxes = [(points[rows].min(axis=0), points[rows].max(axis=0)) for rows in names.values()]
    if any((low <= top).all() and (bottom <= high).all() for (low, high), (bottom, top) in combinations(boxes, 2)):
        warn_user(
            f"adata holds {len(names)} sections ({listed(names, 5)}) on top of each other in this picture. Draw them "
            "side by side with histoquilt.pl.domains_grid(adata), or pass one of them."
        )


def stack_order(adata: AnnData, section_key: str | None) -> dict[str, np.ndarray]:
    """Return section name -> row numbers, by ``obs["z_um"]`` if every section has it, else in order of appearance.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import stack_order
    >>> adata = AnnData(obs=pd.DataFrame({"section": ["top", "low"], "z_um": [100.0, 0]}, index=list("ab")))
    >>> list(stack_order(adata, "section"))
    ['low', 'top']
    """
    rows_of = section_names(adata, section_key)
    if not rows_of:
        raise KeyError(
            f"Neither {Keys.SECTION!r} nor {Keys.LIBRARY!r} is in adata.obs (found: {listed(adata.obs)}), so sections "
            f"cannot be distinguished. Pass {argument('section_key')}."
        )
    heights = {name: section_height(adata, rows) for name, rows in rows_of.items()}
    return {name: rows_of[name] for name in order_by_height(heights)}


def section_height(adata: AnnData, rows: np.ndarray) -> float | None:
    """Return the height of a section in the stack in microns, or None.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import section_height
    >>> adata = AnnData(obs=pd.DataFrame({"z_um": [0.0, 0, 100]}, index=list("abc")))
    >>> section_height(adata, np.array([2]))
    100.0
    """
    if Keys.PLACE[0] not in adata.obs:
        return None
    z = adata.obs[Keys.PLACE[0]].iloc[rows].dropna()
    return float(z.iloc[0]) if len(z) else None


def microns_per_unit(adata: AnnData, *, library_key: str | None = None) -> float | None:
    """Return microns per coordinate unit as recorded by the reader (for one section of a study, its own), or None.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from histoquilt.draw import microns_per_unit
    >>> microns_per_unit(AnnData(uns={"histoquilt": {"coordinates": {"unit": "pixel", "mpp": 0.5}}}))
    0.5
    >>> print(microns_per_unit(AnnData()))
    None
    """
    names = section_names(adata, library_key)
    recorded = coordinate_record(adata, next(iter(names)) if len(names) == 1 else None)
    if recorded.get("unit") == "micron":
        return 1.0
    mpp = recorded.get("mpp", adata.uns.get(Keys.UNS, {}).get(Keys.IMAGE, {}).get("mpp"))
    return float(mpp) if mpp is not None and np.isfinite(mpp) and mpp > 0 else None


def spot_places(adata: AnnData, spatial_key: str) -> np.ndarray:
    """Return checked spot centres ``(n_spots, 2)``; a third coordinate is dropped.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.draw import spot_places
    >>> adata = AnnData(np.ones((2, 1)), obsm={"spatial": np.array([[0, 0, 7], [1, 2, 7]])})
    >>> spot_places(adata, "spatial").tolist()
    [[0.0, 0.0], [1.0, 2.0]]
    """
    check_adata(adata)
    return check_spatial(adata, spatial_key)[:, :2]
