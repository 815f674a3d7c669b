"""Patches as pixels: stored in the section for models that train on them; and embedded, if cut by others."""

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
from anndata import AnnData

from histoquilt import __version__
from histoquilt._base import Keys, PatchEncoder, SlideImage, check_positive
from histoquilt.im._as_slide import check_placed, resample
from histoquilt.im._cache import EmbeddingCache
from histoquilt.im._embed import default_keys, embedding_record, encode
from histoquilt.im._patches import batches, log_padding, plan_fields
from histoquilt.im._read_ahead import read_ahead
from histoquilt.im._stain import stain_statistics, write_stain
from histoquilt.im.encoders._encoders import get_encoder
from histoquilt.runtime import progress_bar
from histoquilt.study import provenance, warn_of_few_outside, write_result


def cut_patches(
    adata: AnnData,
    image: SlideImage | np.ndarray,
    *,
    mpp: float,
    field_um: float = 112.0,
    px: int = 32,
    spatial_key: str = Keys.SPATIAL,
    key_added: str = "patches",
    image_scale: float = 1.0,
) -> None:
    """Store the pixels around each spot in the section, for models with a trainable image branch.

    Patches take ``3 * px**2`` bytes per spot; :func:`embed_patches` describes them by an encoder instead. The settings
    are recorded, so that a trained model cuts a bare slide in the same way.

    Parameters
    ----------
    adata, image, mpp, spatial_key, image_scale
        As in :func:`embed_patches`.
    field_um, px
        Side of the field in microns, and of the resampled patch in pixels.
    key_added
        Key in ``obsm`` of the patches.

    Returns
    -------
    None. Adds to ``adata``:

    `obsm[key_added]` : uint8, ``(n_spots, px * px * 3)``, rows of pixels, each red, green and blue
    `uns["histoquilt"][key_added]` : dict with ``field_um``, ``px``, ``mpp``, ``image_scale``, ``n_padded`` and the
    version, ``histoquilt``
    `obsm["X_stain"]` : their stain, as :func:`embed_patches` writes it

    Raises
    ------
    KeyError, TypeError, ValueError
        As :func:`embed_patches`; `px` is absurd.

    See Also
    --------
    histoquilt.models.MclSTExp : learns from these with ``MclSTExpConfig.trainable()``.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata, slide = hq.datasets.toy_slide(n_spots=100, mpp=4.0)
    >>> hq.im.cut_patches(adata, slide, mpp=4.0, px=16)
    >>> adata.obsm["patches"].shape
    (100, 768)
    """
    slide, centres = check_placed(adata, image, mpp, image_scale, spatial_key)
    warn_of_few_outside(slide, centres)
    fields = plan_fields(slide, centres, mpp=mpp * image_scale, field_um=[field_um], out_px=px)
    [n_padded] = log_padding(fields, [field_um])
    [patches] = fields.cut(0, len(centres))
    write_result(adata, "obsm", key_added, patches.reshape(len(patches), -1))
    provenance(adata)[key_added] = {
        "field_um": float(field_um),
        "px": int(px),
        "mpp": float(mpp),
        "image_scale": float(image_scale),
        "n_padded": n_padded,
        "histoquilt": __version__,
    }
    write_stain(adata, [stain_statistics(patches)], field_um=field_um, out_px=px)


def embed_cut_patches(
    adata: AnnData,
    patches: Any,
    *,
    field_um: float,
    encoder: str | PatchEncoder = "he_texture",
    rows: np.ndarray | None = None,
    key_added: str | None = None,
    batch_size: int = 64,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> None:
    """Describe the tissue around each spot, from patches that are cut already, by an image encoder.

    Patches of another size than the encoder takes are resampled. The stain is measured as :func:`embed_patches` does.

    Parameters
    ----------
    adata
        One section, ``(n_spots, n_genes)``.
    patches
        uint8 ``(n_patches, side, side, 3)``: an array, or anything that is sliced like one, e.g. a dataset of ``h5py``.
    field_um
        Side of a patch in microns.
    encoder, key_added, batch_size, cache, progress
        As in :func:`embed_patches`, for one encoder.
    rows
        Row of ``patches`` of each spot, ascending; by default all in their order.

    Returns
    -------
    None. Adds to ``adata``:

    `obsm[key_added]` : float32, ``(n_spots, encoder.n_features)``
    `uns["histoquilt"][key_added]` : dict with ``encoder``, ``digest``, ``field_um``, ``input_mpp``, ``licence`` and
    the version, ``histoquilt``
    `obsm["X_stain"]` : stain of the patches, as :func:`embed_patches` writes it

    Raises
    ------
    TypeError, ValueError
        ``patches`` are not uint8 squares, ``rows`` do not fit them, or as :func:`embed_patches`.

    Examples
    --------
    >>> from anndata import AnnData
    >>> adata = AnnData(obs={"spot": range(3)})
    >>> patches = np.random.default_rng(0).integers(0, 255, (3, 224, 224, 3), dtype=np.uint8)
    >>> embed_cut_patches(adata, patches, field_um=112, progress=False)
    >>> adata.obsm["X_he_texture"].shape[0]
    3
    """
    chosen = get_encoder(encoder)
    check_positive(field_um, "field_um")
    rows = np.arange(adata.n_obs) if rows is None else np.asarray(rows)
    shape, dtype = tuple(patches.shape), patches.dtype
    if dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise TypeError(f"patches must be uint8 (n_patches, side, side, 3), got {dtype} {shape}.")
    if (
        len(rows) != adata.n_obs
        or (np.diff(rows) <= 0).any()
        or (len(rows) and not 0 <= rows[0] <= rows[-1] < shape[0])
    ):
        raise ValueError(
            f"rows must name one of the {shape[0]} patches for each of the {adata.n_obs} spots, ascending."
        )
    kept = EmbeddingCache(cache, chosen.digest, chosen.n_features) if cache is not None else None
    embedding, stain = np.empty((adata.n_obs, chosen.n_features), dtype=np.float32), []

    def read() -> Iterator[tuple[int, np.ndarray]]:
        for start, stop in batches(len(rows), batch_size):
            part = rows[start:stop]
            block = np.asarray(patches[int(part[0]) : int(part[-1]) + 1])[part - part[0]]
            if shape[1] != chosen.input_px:
                block = np.stack([resample(patch, (chosen.input_px, chosen.input_px)) for patch in block])
            yield start, block

    with closing(read_ahead(read())) as coming, progress_bar("Patches", len(rows), enabled=progress) as advance:
        for start, block in coming:
            path = None if kept is None else kept.path_of(block)
            known = None if kept is None or path is None else kept.get(path, len(block))
            found = encode(chosen, block) if known is None else known
            if known is None and kept is not None and path is not None:
                kept.put(path, found)
            embedding[start : start + len(block)] = found
            stain.append(stain_statistics(block))
            advance(len(block))
    key = key_added or default_keys([chosen])[0]
    write_result(adata, "obsm", key, embedding)
    provenance(adata)[key] = embedding_record(chosen, field_um)
    write_stain(adata, stain, field_um=field_um, out_px=chosen.input_px)
