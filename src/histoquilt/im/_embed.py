"""Embed the tissue around each spot with an image encoder; patches are read ahead, embeddings are cached."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt import __version__
from histoquilt._base import Keys, PatchEncoder, SlideImage, check_mpp
from histoquilt.im._as_slide import check_placed
from histoquilt.im._cache import EmbeddingCache
from histoquilt.im._grid import default_fields
from histoquilt.im._patches import Fields, batches, cut_together, log_padding, plan_fields
from histoquilt.im._read_ahead import read_ahead
from histoquilt.im._stain import stain_statistics, write_stain
from histoquilt.im.encoders._encoders import get_encoder
from histoquilt.runtime import progress_bar, warn_user
from histoquilt.study import (
    check_adata,
    check_spatial,
    coordinate_record,
    nominal_pitch,
    provenance,
    spot_pitch,
    warn_of_few_outside,
    write_result,
)

MOST_RELATIVE_MPP = 2.0  # warn if patches are more than twice as coarse or fine as those of training
MOST_ENLARGED = 4.0  # output pixels per image pixel; warn above
MPP_DISAGREES = 1.2  # ratio of the caller's mpp to the file's; spot pitches are measured to a few per cent
MOST_VIEWS = 8  # a square has eight symmetries


def embed_patches(
    adata: AnnData,
    image: SlideImage | np.ndarray,
    *,
    mpp: float,
    encoder: str | PatchEncoder | Sequence[str | PatchEncoder] = "he_texture",
    field_um: float | Sequence[float] | None = None,
    spatial_key: str = Keys.SPATIAL,
    key_added: str | Sequence[str] | None = None,
    batch_size: int = 64,
    image_scale: float = 1.0,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> None:
    """Describe the tissue around each spot with an image encoder.

    Square fields centred on the spots are cut from the H&E image, resampled to the input size of the encoder, and
    embedded. Fields that cross the border of the image are padded with white (empty glass) and counted. The stain of
    each spot's field is measured as well, so that models recognise sections stained or scanned unlike their training.

    Parameters
    ----------
    adata
        One section, ``(n_spots, n_genes)``; ``obsm[spatial_key]`` holds spot centres ``(x, y)`` in full-resolution
        pixels.
    image
        Opened slide (:func:`histoquilt.io.open_slide`), or RGB uint8 ``(height, width, 3)``.
    mpp
        Microns per full-resolution pixel, the unit of the spot centres. There is no default: a wrong value changes
        every result and raises nothing. See :func:`histoquilt.io.estimate_mpp`.
    encoder
        Name from :func:`list_encoders`, or an object with the ``PatchEncoder`` protocol; or several, for which each
        region of the slide is read once.
    field_um
        Side of the field in microns, or of several fields, for which the slide is read once. By default the four of
        :func:`default_fields` for this section's spot distance; for several sections, pass the same to each.
        ``encoder.input_px * encoder.mpp`` is the encoder's own resolution; a warning is given beyond twice or half.
    spatial_key, key_added
        Keys in ``obsm`` of the spot centres, and of the embedding: by default ``X_`` and the encoder's short name,
        ``X_he_texture``, ``X_onnx_<file>``, ``X_timm_<name>``. For several encoders, one key each; by default, encoders
        of the same short name are distinguished by the start of their digest.
    batch_size
        Patches per forward pass. Changes memory and speed, not results; cached embeddings are per batch.
    image_scale
        Full-resolution pixels per pixel of `image`, e.g. ``1 / tissue_hires_scalef`` for Visium's 'hires' image.
    cache
        Folder for embeddings, named by the digest of the patches and of the encoder.
    progress
        If true, show a progress bar.

    Returns
    -------
    None. Adds to ``adata``, for one field:

    `obsm[key_added]` : float32, ``(n_spots, encoder.n_features)``
    `uns["histoquilt"][key_added]` : dict with ``encoder``, ``digest``, ``mpp``, ``field_um``, ``n_padded``,
    ``licence``, ``input_mpp`` (microns per pixel that the encoder saw), ``image_scale`` and the version, ``histoquilt``

    and for several, and by default, the same under ``f"{key_added}_{field:g}um"`` each; so for each encoder. Of the
    first field, as the first encoder sees it, also:

    `obsm["X_stain"]` : float32, ``(n_spots, 11)``, the columns of :func:`stain_statistics`
    `uns["histoquilt"]["X_stain"]` : dict with ``columns``, ``field_um``, ``input_mpp`` and the version

    Raises
    ------
    KeyError, TypeError
        `spatial_key` is not in ``adata.obsm``; `image` is neither a slide nor an array, or `encoder` not an encoder.
    ValueError
        `mpp`, `field_um` or `image_scale` is absurd; more than half of the spots lie outside `image`; an encoder is
        given twice, or their number is not that of the keys; or the encoder returns another shape than it declares.

    See Also
    --------
    embed_views : the same patches turned and mirrored, for contrastive training.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata, slide = hq.datasets.toy_slide(n_spots=100, mpp=2.0)
    >>> hq.im.embed_patches(adata, slide, mpp=2.0, encoder="he_texture", field_um=112)
    >>> adata.obsm["X_he_texture"].shape[0]
    100
    """
    if field_um is None:
        check_adata(adata)
        check_mpp(mpp)
        centres = check_spatial(adata, spatial_key)[:, :2]
        measured = spot_pitch(centres * mpp)
        field_um = default_fields(nominal_pitch(coordinate_record(adata), measured))
    job = _plan(adata, image, mpp, encoder, field_um, spatial_key, batch_size, image_scale, cache)
    several = not np.isscalar(field_um)
    bases = _bases(job.encoders, key_added)
    embeddings, stain = _embed(job, 1, progress, stain=True)
    for encoder, base, of_encoder in zip(job.encoders, bases, embeddings, strict=True):
        for field, n_padded, embedding in zip(job.field_um, job.n_padded, of_encoder, strict=True):
            key = f"{base}_{field:g}um" if several else base
            write_result(adata, "obsm", key, embedding[:, 0])
            placed = {"mpp": float(mpp), "image_scale": float(image_scale), "n_padded": n_padded}
            provenance(adata)[key] = {**embedding_record(encoder, field), **placed}
    write_stain(adata, stain, field_um=job.field_um[0], out_px=job.encoders[0].input_px)


def embedding_record(encoder: PatchEncoder, field_um: float) -> dict[str, Any]:
    """Return what is recorded of every embedding, however its patches were cut."""
    return {
        "encoder": encoder.name,
        "digest": encoder.digest,
        "field_um": float(field_um),
        "input_mpp": float(field_um) / encoder.input_px,
        "licence": encoder.licence,
        "histoquilt": __version__,
    }


def default_keys(encoders: Sequence[PatchEncoder]) -> list[str]:
    """Return the default keys of embeddings by several encoders, ``X_<short name>``, without the field.

    Encoders of the same short name are distinguished by the first characters of their digest, six or more.

    Examples
    --------
    >>> import histoquilt as hq
    >>> default_keys([hq.im.get_encoder("he_texture")])
    ['X_he_texture']
    """
    names = [short_name(one.name) for one in encoders]
    length = 6
    while len({one.digest[:length] for one in encoders}) < len({one.digest for one in encoders}):
        length += 1
    return [
        f"X_{name}" if names.count(name) == 1 else f"X_{name}_{one.digest[:length]}"
        for name, one in zip(names, encoders, strict=True)
    ]


def _bases(encoders: Sequence[PatchEncoder], key_added: str | Sequence[str] | None) -> list[str]:
    if not key_added:
        return default_keys(encoders)
    keys = [key_added] if isinstance(key_added, str) else list(key_added)
    if len(keys) != len(encoders) or len(set(keys)) < len(keys):
        raise ValueError(f"key_added must be {len(encoders)} different key(s), one an encoder, got {keys}.")
    return keys


def embed_views(
    adata: AnnData,
    image: SlideImage | np.ndarray,
    *,
    mpp: float,
    encoder: str | PatchEncoder = "he_texture",
    field_um: float = 112.0,
    n_views: int = MOST_VIEWS,
    spatial_key: str = Keys.SPATIAL,
    batch_size: int = 64,
    image_scale: float = 1.0,
    cache: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Embed each spot's patch in several orientations, as augmentation for contrastive training.

    Tissue has no up and no left, so the eight symmetries of the square are equally valid: view 0 is the patch of
    :func:`embed_patches`, views 1 to 3 are turned by 90, 180 and 270 degrees counter-clockwise, views 4 to 7 are these
    four mirrored left to right. Nothing is random.

    Parameters
    ----------
    adata, image, mpp, encoder, field_um, spatial_key, batch_size, image_scale, cache, progress
        As in :func:`embed_patches`, with one field.
    n_views
        Number of views, 1 to 8.

    Returns
    -------
    Embeddings, float32 ``(n_spots, n_views, encoder.n_features)``. Nothing is written into ``adata``.

    Raises
    ------
    KeyError, TypeError, ValueError
        As :func:`embed_patches`; `n_views` is not 1 to 8.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata, slide = hq.datasets.toy_slide(n_spots=100, mpp=4.0)
    >>> hq.im.embed_views(adata, slide, mpp=4.0, field_um=224, n_views=2).shape[:2]
    (100, 2)
    """
    if isinstance(n_views, bool) or not isinstance(n_views, int | np.integer) or not 1 <= n_views <= MOST_VIEWS:
        raise ValueError(f"n_views must be a whole number from 1 to {MOST_VIEWS}, got {n_views!r}.")
    job = _plan(adata, image, mpp, encoder, field_um, spatial_key, batch_size, image_scale, cache)
    [[embedding]], _ = _embed(job, int(n_views), progress, stain=False)
    return embedding


def short_name(encoder_name: str) -> str:
    """Return an encoder's name as used in keys: ``onnx:a/net.onnx`` is ``onnx_net``, ``timm:a/b`` is ``timm_a_b``.

    Examples
    --------
    >>> short_name("onnx:weights/net.onnx")
    'onnx_net'
    """
    kind, colon, rest = encoder_name.partition(":")
    if kind in ("onnx", "openvino") and colon:
        rest = Path(rest).stem
    return re.sub(r"[^A-Za-z0-9_.-]", "_", kind + colon + rest)


def turn(patches: np.ndarray, view: int) -> np.ndarray:
    """Return patches ``(n, side, side, 3)`` in one of the eight orientations of a square."""
    turned = np.rot90(patches, view % 4, axes=(1, 2))
    return np.ascontiguousarray(turned[:, :, ::-1] if view >= 4 else turned)


@dataclass(frozen=True)
class _Job:
    plans: dict[int, Fields]  # by side of the patches in pixels
    field_um: list[float]
    n_padded: list[int]
    encoders: list[PatchEncoder]
    batch_size: int
    caches: list[EmbeddingCache | None]  # one an encoder

    @property
    def n_spots(self) -> int:
        return len(next(iter(self.plans.values())).centres)


@dataclass(frozen=True)
class _Batch:
    """Patches of some spots for one encoder, field and view, with their embedding if ``known``, and their stain.

    The stain is that of the first field.
    """

    encoder: int
    field: int
    view: int
    start: int
    patches: np.ndarray
    path: Path | None
    known: np.ndarray | None
    stain: pd.DataFrame | None


def _plan(
    adata: AnnData, image: SlideImage | np.ndarray, mpp: float,
    encoder: str | PatchEncoder | Sequence[str | PatchEncoder], field_um: float | Sequence[float], spatial_key: str,
    batch_size: int, image_scale: float, cache: str | os.PathLike[str] | None,
) -> _Job:  # fmt: skip
    """Check all arguments before the first pixel is read."""
    slide, centres = check_placed(adata, image, mpp, image_scale, spatial_key)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    asked = [field_um] if np.isscalar(field_um) else list(field_um)  # type: ignore[arg-type]
    sides = [float(field) for field in asked]  # type: ignore[arg-type]
    if len(set(sides)) < len(sides):
        raise ValueError(f"field_um names a field twice: {sides}.")
    given: list[Any] = list(encoder) if isinstance(encoder, list | tuple) else [encoder]
    chosen = [get_encoder(one) for one in given]
    if not chosen or len({one.digest for one in chosen}) < len(chosen):
        raise ValueError(f"encoder must be one or more different encoders, got {[one.name for one in chosen]}.")
    warn_of_few_outside(slide, centres)
    image_mpp = mpp * image_scale
    plans = {
        one.input_px: plan_fields(slide, centres, mpp=image_mpp, field_um=sides, out_px=one.input_px) for one in chosen
    }
    _warn_of_file_mpp(slide, image_mpp)
    for one in chosen:
        _warn_of_resolution(one, sides, image_mpp)
    kept = [EmbeddingCache(cache, one.digest, one.n_features) if cache is not None else None for one in chosen]
    n_padded = log_padding(plans[chosen[0].input_px], sides)
    return _Job(plans, sides, n_padded, chosen, int(batch_size), kept)


def _warn_of_file_mpp(slide: SlideImage, image_mpp: float) -> None:
    if slide.mpp and not 1 / MPP_DISAGREES < image_mpp / slide.mpp < MPP_DISAGREES:
        warn_user(
            f"The file of {slide.name} says {slide.mpp:.4g} um per pixel, but mpp and image_scale together say "
            f"{image_mpp:.4g}. The fields are cut by the latter; check which one the spot pitch confirms."
        )


def _warn_of_resolution(encoder: PatchEncoder, field_um: list[float], image_mpp: float) -> None:
    for field in field_um:
        seen = field / encoder.input_px
        if encoder.mpp and not 1 / MOST_RELATIVE_MPP <= seen / encoder.mpp <= MOST_RELATIVE_MPP:
            warn_user(
                f"A field of {field:g} um is {seen:.3g} um per pixel of the encoder {encoder.name}, which learnt from "
                f"{encoder.mpp:g}. Its own resolution is field_um={encoder.input_px * encoder.mpp:g}."
            )
        if image_mpp >= MOST_ENLARGED * seen:
            warn_user(
                f"The image has {image_mpp:.3g} um per pixel, so a field of {field:g} um is {field / image_mpp:.0f} of "
                f"its pixels, enlarged to {encoder.input_px}. Use the full-resolution image, or a larger field_um."
            )


def _embed(
    job: _Job, n_views: int, progress: bool, *, stain: bool
) -> tuple[list[list[np.ndarray]], list[pd.DataFrame]]:
    """Return float32 ``(n_spots, n_views, n_features)`` by encoder and field, and the stain batch by batch if asked."""
    embeddings = [
        [np.empty((job.n_spots, n_views, one.n_features), dtype=np.float32) for _ in job.field_um]
        for one in job.encoders
    ]
    stains: list[pd.DataFrame] = []
    total = job.n_spots * n_views * len(job.field_um) * len(job.encoders)
    names = ", ".join(one.name for one in job.encoders)
    with (
        progress_bar(f"Embedding patches ({names})", total, enabled=progress) as advance,
        closing(read_ahead(_cut(job, n_views, stain))) as coming,
    ):
        for batch in coming:
            rows = slice(batch.start, batch.start + len(batch.patches))
            embeddings[batch.encoder][batch.field][rows, batch.view] = _encoded(job, batch)
            stains += [] if batch.stain is None else [batch.stain]
            advance(len(batch.patches))
    return embeddings, stains


def _cut(job: _Job, n_views: int, stain: bool) -> Iterator[_Batch]:
    """Cut, turn, look up and measure the stain: all work that runs in the reading thread."""
    sizes = list(job.plans)
    for start, stop in batches(job.n_spots, job.batch_size):
        cut = dict(zip(sizes, cut_together(list(job.plans.values()), start, stop), strict=True))
        for number, (encoder, cache) in enumerate(zip(job.encoders, job.caches, strict=True)):
            for field, patches in enumerate(cut[encoder.input_px]):
                for view in range(n_views):
                    turned = turn(patches, view) if view else patches
                    path = cache.path_of(turned) if cache is not None else None
                    known = cache.get(path, len(turned)) if cache is not None and path is not None else None
                    measured = stain_statistics(turned) if stain and number == field == view == 0 else None
                    yield _Batch(number, field, view, start, turned, path, known, measured)


def _encoded(job: _Job, batch: _Batch) -> np.ndarray:
    if batch.known is not None:
        return batch.known
    embedding = encode(job.encoders[batch.encoder], batch.patches)
    cache = job.caches[batch.encoder]
    if cache is not None and batch.path is not None:
        cache.put(batch.path, embedding)
    return embedding


def encode(encoder: PatchEncoder, patches: np.ndarray) -> np.ndarray:
    """Return embeddings, float32 ``(n_patches, n_features)``; raise ``ValueError`` if the encoder returns others."""
    embedding = np.asarray(encoder.embed(patches), dtype=np.float32)
    if embedding.shape != (len(patches), encoder.n_features):
        raise ValueError(
            f"The encoder {encoder.name} returned {embedding.shape} for {len(patches)} patches; it declares "
            f"n_features={encoder.n_features}, so {(len(patches), encoder.n_features)} was expected."
        )
    if not np.isfinite(embedding).all():
        raise ValueError(f"The encoder {encoder.name} returned NaN or infinite values for uint8 patches.")
    return embedding
