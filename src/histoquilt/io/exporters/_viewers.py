"""An ``.h5ad`` that TissUUmaps, cellxgene and scanpy open as it is."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csc_matrix

from histoquilt._base import Keys
from histoquilt.io._h5ad import write_h5ad
from histoquilt.io._image import open_image
from histoquilt.io._writable import check_writable, writable
from histoquilt.io.exporters._protocol import ExportedSection, ExportOptions, portable
from histoquilt.study import as_categories, declare_scale, domain_colors, image_libraries, library_part, spot_pitch

_LONGEST_PX = 2000  # side of a picture made of an attached image, as Space Ranger's


class _Viewers:
    """Exporter to viewers of AnnData (``Exporter``)."""

    label = "TissUUmaps, cellxgene, scanpy"
    files = "<section>.h5ad with colours, library_id, X_spatial and the image where it is known"
    needs: ClassVar[dict[str, str]] = {}

    def write(self, section: ExportedSection, folder: Path, options: ExportOptions) -> list[Path]:
        """Write the section."""
        adata = for_viewers(section)
        if options.by_gene and adata.X is not None:
            adata.X = csc_matrix(adata.X)
        path = folder / f"{section.name}.h5ad"
        write_h5ad(adata, path)
        return [path]


VIEWERS = _Viewers()


def for_viewers(section: ExportedSection) -> AnnData:
    """Return a copy of a section, which shares its matrices, with all that viewers look for.

    Labels are categories with colours; ``obs["library_id"]`` names the library in ``uns["spatial"]``, which holds the
    picture; ``obsm["X_spatial"]`` holds the spot centres with y upwards; spots have their barcodes. Of a prediction
    without measured expression, ``X`` is the predicted one. Tables in ``obsm``, such as denoised expression, are left
    out: cellxgene does not open files that hold one.
    """
    own = section.adata
    check_writable(own)
    adata = writable(own.to_memory() if own.isbacked else own)
    adata.obs_names = pd.Index(section.barcodes)
    adata.obsm.pop(Keys.POLYGONS, None)  # viewers expect dense matrices
    adata.uns = {**adata.uns, Keys.UNS: copy.deepcopy(adata.uns.get(Keys.UNS, {}))}
    if adata.X is None and section.prediction is not None:
        adata.X = adata.layers[section.prediction]
        declare_scale(adata, "X", "log1p_cp10k")
    for key in [key for key, value in adata.obsm.items() if isinstance(value, pd.DataFrame)]:
        del adata.obsm[key]
    for key in dict.fromkeys((*section.keys, *_categorical(adata))):
        adata.obs[key] = as_categories(adata, key)
        adata.uns[f"{key}_colors"] = np.array(list(domain_colors(adata, key).values()), dtype=object)
    library = _add_picture(adata, section)
    adata.obs[Keys.LIBRARY] = pd.Categorical([library] * adata.n_obs)
    adata.obsm["X_spatial"] = (section.section.centres * [1, -1]).astype(np.float32)
    embeddings = [key.removeprefix("X_") for key in adata.obsm if key.startswith("X_")]
    for old, new in portable(embeddings, "embeddings").items():
        if old != new:
            adata.obsm[f"X_{new}"] = adata.obsm.pop(f"X_{old}")
    return adata


def _categorical(adata: AnnData) -> list[str]:
    """Return columns of categories that have colours already, or as many as a palette can tell apart."""
    columns = [name for name in adata.obs if isinstance(adata.obs[name].dtype, pd.CategoricalDtype)]
    return [name for name in columns if len(adata.obs[name].cat.categories) <= 24]


def _add_picture(adata: AnnData, section: ExportedSection) -> str:
    """Put the picture of an attached image into ``uns["spatial"]`` unless there is one; return the library's name."""
    stored = image_libraries(adata)
    name = next(iter(stored)) if len(stored) == 1 else section.section.name
    images = library_part(stored.get(name, {}), "images")
    found = picture_of_file(section) if "hires" not in images else None
    if found is not None:
        pixels, scale = found
        factors = {**library_part(stored.get(name, {}), "scalefactors"), "tissue_hires_scalef": scale}
        factors.setdefault("spot_diameter_fullres", 0.55 * spot_pitch(section.section.centres))
        library = {**stored.get(name, {}), "images": {**images, "hires": pixels}, "scalefactors": factors}
        adata.uns[Keys.SPATIAL] = {**adata.uns.get(Keys.SPATIAL, {}), name: library}
    return name


def picture_of_file(section: ExportedSection) -> tuple[np.ndarray, float] | None:
    """Return a picture of the attached image, RGB uint8, and its pixels per coordinate unit; None if there is none."""
    record = section.adata.uns.get(Keys.UNS, {}).get(Keys.IMAGE)
    if record is None or not Path(str(record["path"])).exists() or "mpp" not in record:
        return None
    with open_image(section.adata) as slide:
        share = min(1.0, _LONGEST_PX / max(slide.width, slide.height))
        out_px = (max(1, round(slide.width * share)), max(1, round(slide.height * share)))
        pixels = slide.read_region(0, 0, slide.width, slide.height, out_px=out_px)
    return pixels, share / float(record.get("image_scale", 1.0))


def with_portable_names(adata: AnnData) -> AnnData:
    """Rename columns and keys that a zarr store refuses, in place and with a warning; return the section."""
    adata.obs = adata.obs.rename(columns=portable(list(adata.obs), "columns of obs"))
    adata.var = adata.var.rename(columns=portable(list(adata.var), "columns of var"))
    for part in ("obsm", "varm", "obsp", "layers", "uns"):
        mapping = getattr(adata, part)
        for old, new in portable(list(mapping), f"keys of {part}").items():
            if old != new:
                mapping[new] = mapping.pop(old)
    return adata


@contextmanager
def quiet_zarr() -> Iterator[None]:
    """Have anndata write zarr version 3, one file a chunk, and not warn that these are not its defaults yet."""
    wanted = {"zarr_write_format": 3, "auto_shard_zarr_v3": False}
    known = {name: value for name, value in wanted.items() if hasattr(anndata.settings, name)}
    with anndata.settings.override(**known), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        yield
