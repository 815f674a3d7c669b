"""What an expression model sees of a section: embeddings, standardised on training, and who is next to whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from anndata import AnnData
from scipy.sparse import csr_matrix, diags

from histoquilt._base import Keys, MissingKey, argument
from histoquilt.gr import radius_adjacency
from histoquilt.io import estimate_mpp, nearest_distance
from histoquilt.runtime import warn_user
from histoquilt.study import check_spatial

_NEAR = 1.5  # nearest distances: the 8 nearest on a square lattice, the 6 of a hexagonal one


@dataclass(frozen=True)
class ImageSection:
    """One section as arrays.

    Attributes
    ----------
    name
        Name of the section.
    group
        Patient of the section if training has several, else the section's own name: sections of one group never serve
        each other as reference or validation.
    reps
        Embeddings as given, one per field, float32 ``(n_spots, n_features)`` each.
    x
        Float32 ``(n_spots, n_inputs)``: concatenated embeddings and, if requested, the means over the spots'
        neighbours, every column standardised with the moments of the training sections.
    centres_um
        Spot centres ``(x, y)`` in microns, ``(n_spots, 2)``.
    adjacency
        Adjacency ``(n_spots, n_spots)``, CSR float32 of ones, symmetric, no self loops: spots within 1.5 median nearest
        distances.
    y
        Float32 ``(n_spots, n_genes)``, log1p of counts per 10,000; ``None`` in prediction.
    depth
        Total counts ``(n_spots,)``; ``None`` in prediction, and if none were given.
    views
        Float32 ``(n_spots, n_views, sum of the widths)``: concatenated ``reps`` of rotated and mirrored patches,
        standardised as in ``x``; ``None`` if there are none, in prediction, and for methods that do not use them.
    """

    name: str
    group: str
    reps: tuple[np.ndarray, ...]
    x: np.ndarray
    centres_um: np.ndarray
    adjacency: csr_matrix
    y: np.ndarray | None = None
    depth: np.ndarray | None = None
    views: np.ndarray | None = None

    @property
    def measured(self) -> np.ndarray:
        """``y``, where it is known to be there: in training."""
        assert self.y is not None, "a section to predict has no measured expression"
        return self.y


@dataclass(frozen=True)
class ExpressionInputs:
    """Conversion of a section to an :class:`ImageSection`, fitted on training sections.

    Attributes
    ----------
    reps
        Keys of the embeddings in ``obsm``.
    records
        Record of the encoder of each: ``uns["histoquilt"][key]``, empty if an embedding has no record.
    widths
        Number of columns of each.
    neighbours
        If true, the neighbours' means are appended.
    mean, scale
        Mean and standard deviation of the training sections, ``(n_inputs,)``.
    """

    reps: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    widths: tuple[int, ...]
    neighbours: bool
    mean: np.ndarray
    scale: np.ndarray

    @property
    def n_inputs(self) -> int:
        """Columns of ``x``."""
        return sum(self.widths) * (2 if self.neighbours else 1)

    def columns(self, fields: Literal["one", "several"], neighbours: bool) -> np.ndarray:
        """Return the numbers of the columns of ``x`` that hold one or all fields, with or without neighbours."""
        width = self.widths[0] if fields == "one" else sum(self.widths)
        own = np.arange(width)
        return np.concatenate([own, own + sum(self.widths)]) if neighbours else own

    def standardise(self, reps: Sequence[np.ndarray], adjacency: csr_matrix) -> np.ndarray:
        """Return ``x``."""
        return (side_by_side(reps, adjacency, self.neighbours) - self.mean) / self.scale

    def standardise_views(self, views: Sequence[np.ndarray]) -> np.ndarray:
        """Return ``views`` of a section from those of each embedding, by the moments of the embeddings themselves."""
        width = sum(self.widths)
        return (np.concatenate(list(views), axis=2) - self.mean[:width]) / self.scale[:width]


def fit_inputs(
    reps: tuple[str, ...],
    records: tuple[dict[str, Any], ...],
    embeddings: list[tuple[np.ndarray, ...]],
    adjacencies: list[csr_matrix],
    *,
    neighbours: bool,
) -> tuple[ExpressionInputs, list[np.ndarray]]:
    """Take the moments of the training sections' inputs, and return ``x`` of every section with them.

    A column that never varies is left as it is.
    """
    joined = [side_by_side(own, near, neighbours) for own, near in zip(embeddings, adjacencies, strict=True)]
    n_spots = sum(len(one) for one in joined)
    mean = sum(one.sum(axis=0, dtype=np.float64) for one in joined) / n_spots
    variance = sum(((one - mean) ** 2).sum(axis=0) for one in joined) / n_spots
    scale = np.sqrt(variance)
    # relative to its own size: a constant column in float32 has a tiny spread, not none
    scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-6)] = 1.0
    widths = tuple(one.shape[1] for one in embeddings[0])
    fitted = ExpressionInputs(reps, records, widths, neighbours, mean.astype(np.float32), scale.astype(np.float32))
    return fitted, [(one - fitted.mean) / fitted.scale for one in joined]


def side_by_side(reps: Sequence[np.ndarray], adjacency: csr_matrix, neighbours: bool) -> np.ndarray:
    """Join embeddings and, with ``neighbours``, their means over each spot's neighbours (its own where it has none)."""
    own = np.hstack(list(reps))
    if not neighbours:
        return own
    count = np.asarray(adjacency.sum(axis=1)).ravel()
    alone = count == 0
    means = diags(1.0 / np.where(alone, 1.0, count)) @ adjacency @ own
    means[alone] = own[alone]
    return np.hstack([own, means.astype(np.float32)])


def read_embeddings(adata: AnnData, reps: Sequence[str], name: str) -> tuple[np.ndarray, ...]:
    """Return embeddings of a section as float32.

    Raises
    ------
    KeyError
        One is missing; the message says how to make it.
    ValueError
        One is not two-dimensional, or holds NaN or infinite values.
    """
    found = []
    for rep in reps:
        if rep not in adata.obsm:
            raise MissingKey(
                rep, f"obsm of section {name!r}", adata.obsm,
                "Embed its image first: histoquilt.im.embed_patches(adata, histoquilt.io.open_image(adata), mpp=..., "
                f"key_added={rep!r}), or pass {argument('use_rep')}.",
            )  # fmt: skip
        values = np.asarray(adata.obsm[rep], dtype=np.float32)
        if values.ndim != 2 or values.shape[1] == 0:
            raise ValueError(f"obsm[{rep!r}] of section {name!r} must be (n_spots, n_features), got {values.shape}.")
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).any(axis=1).sum())
            raise ValueError(
                f"obsm[{rep!r}] of section {name!r} holds NaN or infinite values in {bad:,} of {len(values):,} spots. "
                "Embed the image again, or drop these spots."
            )
        found.append(values)
    return tuple(found)


def microns(adata: AnnData, name: str, spatial_key: str = Keys.SPATIAL) -> tuple[np.ndarray, float | None]:
    """Return spot centres in microns, and microns per pixel (``None`` where the coordinates are microns already).

    Raises
    ------
    KeyError, ValueError
        There are no coordinates, or nobody can tell what they mean.
    """
    centres = check_spatial(adata, spatial_key)[:, :2]
    ours = adata.uns.get(Keys.UNS, {})
    record = ours.get(Keys.COORDINATES, {})
    if record.get("unit") == "micron":
        return centres, None
    mpp = record.get("mpp") or ours.get(Keys.IMAGE, {}).get("mpp")
    if mpp is None:
        try:
            mpp = estimate_mpp(adata, spatial_key=spatial_key)
        except ValueError as error:
            raise ValueError(f"Section {name!r}: microns per pixel are not known. {error}") from error
    return centres * float(mpp), float(mpp)


def near_spots(centres_um: np.ndarray) -> csr_matrix:
    """Return the binary adjacency of spots within 1.5 median nearest distances of each other."""
    adjacency = radius_adjacency(centres_um, _NEAR * nearest_distance(centres_um)).astype(np.float32)
    adjacency.data[:] = 1.0
    return adjacency


def encoder_record(adata: AnnData, rep: str) -> dict[str, Any]:
    """Return what ``im.embed_patches`` recorded of an embedding, or nothing."""
    record = adata.uns.get(Keys.UNS, {}).get(rep, {})
    return dict(record) if isinstance(record, dict) or hasattr(record, "keys") else {}


def check_same_encoder(record: dict[str, Any], expected: dict[str, Any], rep: str, name: str, than: str) -> None:
    """Raise where an embedding was made by another encoder or of another field than ``than``.

    Microns per pixel of the slide may differ, since patches are resampled; microns per pixel of what the encoder saw
    follow from field and encoder.

    Raises
    ------
    ValueError
        Digest or field differ.

    Warns
    -----
    UserWarning
        ``than`` has a record and this one has none, so that nothing can be compared.
    """
    if not expected:
        return
    how = f"field_um={expected.get('field_um')!r}, key_added={rep!r}."
    remedy = (
        f"Cut patches again (histoquilt.im.cut_patches) with px={expected['px']}, {how}"
        if "px" in expected
        else f"Embed the section again with {argument('encoder', expected.get('encoder'))}, {how}"
    )
    if not record:
        warn_user(
            f"obsm[{rep!r}] of section {name!r} has no record of its encoder, so it cannot be compared with that of "
            f"{than} ({expected.get('encoder')}). If it is another one, predictions are meaningless. {remedy}"
        )
        return
    if record.get("digest") != expected.get("digest"):
        raise ValueError(
            f"obsm[{rep!r}] of section {name!r} was made by encoder {record.get('encoder')!r} (digest "
            f"{str(record.get('digest'))[:12]}), that of {than} by {expected.get('encoder')!r} (digest "
            f"{str(expected.get('digest'))[:12]}). {remedy}"
        )
    mine, theirs = record.get("field_um"), expected.get("field_um")
    if mine is not None and theirs is not None and not np.isclose(mine, theirs, rtol=0.01):
        raise ValueError(
            f"obsm[{rep!r}] of section {name!r} describes fields of {mine:g} um, that of {than} of {theirs:g} um, so "
            f"the encoder saw tissue at another magnification. {remedy}"
        )
