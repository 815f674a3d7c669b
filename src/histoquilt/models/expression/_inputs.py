"""Inputs of an expression model: the standardised embeddings of a section, and the graph of its spots."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_matrix

from histoquilt._base import argument
from histoquilt.gr import neighbour_means, radius_adjacency
from histoquilt.runtime import warn_user
from histoquilt.study import Section, nearest_distance

_NEAR = 1.5  # nearest distances: the 8 nearest on a square lattice, the 6 of a hexagonal one
_FEW_SPOTS = 20  # a section of this many spots is standardised half by its own, half by the training moments
_ENOUGH_SPOTS = 5_000  # whose moments and variance are those of the section
_LEAST_SCALE = 0.3  # smallest own scale, in units of the training scale: a nearly constant column is not magnified


def own_moments(x: np.ndarray, of: np.ndarray | None = None) -> np.ndarray:
    """Standardise a section's inputs by its own moments, shrunk to those of training if it has few spots.

    Parameters
    ----------
    x
        ``(n_spots, n_inputs)``, standardised with the training moments.
    of
        Inputs whose moments are taken; by default ``x`` itself.
    """
    of = x if of is None else of
    trust = len(of) / (len(of) + _FEW_SPOTS)
    variance = trust * of.var(axis=0) + (1 - trust)
    return (x - trust * of.mean(axis=0)) / np.maximum(np.sqrt(variance), _LEAST_SCALE)


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
        neighbours, every column standardised. Embeddings of several encoders have equal total variance.
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
    own_moments
        If true, ``x`` is standardised by the section's own moments, else by those of the training sections.
    log_counts
        Natural log of the counts of each spot, ``(n_spots,)``, as the image predicts them; in training, by a depth head
        that was fitted on the other side of the section's inner fold. ``None`` if training knew no depth.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> import histoquilt as hq
    >>> reps = (np.ones((4, 2), np.float32), np.ones((4, 3), np.float32))  # two fields
    >>> x = np.zeros((4, 10), np.float32)  # both, then the means of the neighbours
    >>> section = hq.models.ImageSection("s1", "P1", reps, x, np.zeros((4, 2)), csr_matrix((4, 4)))
    >>> section.columns("one", neighbours=False), section.columns("one", neighbours=True)
    (array([0, 1]), array([0, 1, 5, 6]))
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
    own_moments: bool = False
    log_counts: np.ndarray | None = None

    @property
    def has_counts(self) -> bool:
        """Whether raw counts are known, and not all of them are 0."""
        return self.depth is not None and bool(self.depth.any())

    @property
    def counted_depth(self) -> np.ndarray:
        """``depth`` in float64, where it is known."""
        assert self.depth is not None, "only sections with raw counts are used"
        return self.depth.astype(np.float64)

    @property
    def measured(self) -> np.ndarray:
        """``y``, where it is known to be there: in training."""
        assert self.y is not None, "a section to predict has no measured expression"
        return self.y

    def columns(self, fields: Literal["one", "several"], neighbours: bool) -> np.ndarray:
        """Return the column numbers of ``x`` with one or all embeddings, with or without the neighbours' means."""
        return _columns([one.shape[1] for one in self.reps], fields, neighbours)


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
    own_moments
        If true, each section is then standardised by its own moments.
    mean, scale
        Mean and standard deviation of the training sections, ``(n_inputs,)``.
    """

    reps: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    widths: tuple[int, ...]
    neighbours: bool
    own_moments: bool
    mean: np.ndarray
    scale: np.ndarray

    @property
    def n_inputs(self) -> int:
        """Columns of ``x``."""
        return sum(self.widths) * (2 if self.neighbours else 1)

    def columns(self, fields: Literal["one", "several"], neighbours: bool) -> np.ndarray:
        """Return the column numbers of ``x``, as :meth:`ImageSection.columns`."""
        return _columns(self.widths, fields, neighbours)

    @cached_property
    def block_scale(self) -> np.ndarray | None:
        """Factor of each column, ``(n_inputs,)``, that gives each encoder's block the same total variance.

        ``None`` if there is one encoder. Embeddings without a record are a block each.
        """
        blocks = [record.get("digest", rep) for rep, record in zip(self.reps, self.records, strict=True)]
        total = {block: sum(w for w, of in zip(self.widths, blocks, strict=True) if of == block) for block in blocks}
        if len(set(total.values())) < 2:
            return None
        mean = sum(total.values()) / len(total)
        factors = [np.full(w, np.sqrt(mean / total[of])) for w, of in zip(self.widths, blocks, strict=True)]
        return np.tile(np.concatenate(factors), 2 if self.neighbours else 1).astype(np.float32)

    def standardise(self, reps: Sequence[np.ndarray], adjacency: csr_matrix) -> np.ndarray:
        """Return ``x``."""
        return self.finish((side_by_side(reps, adjacency, self.neighbours) - self.mean) / self.scale)

    def finish(self, x: np.ndarray) -> np.ndarray:
        """Return ``x`` of a section from its inputs standardised with training moments."""
        x = own_moments(x) if self.own_moments else x
        return x if self.block_scale is None else x * self.block_scale

    def standardise_views(self, views: Sequence[np.ndarray], reps: Sequence[np.ndarray]) -> np.ndarray:
        """Return ``views`` of a section from those of each embedding, by the moments of the embeddings ``reps``."""
        width = sum(self.widths)
        found = (np.concatenate(list(views), axis=2) - self.mean[:width]) / self.scale[:width]
        if self.own_moments:
            found = own_moments(found, of=(np.hstack(list(reps)) - self.mean[:width]) / self.scale[:width])
        return found if self.block_scale is None else found * self.block_scale[:width]

    def own_standardised(self, section: ImageSection) -> np.ndarray:
        """Return the section's embeddings by its own moments, centred, ``(n_spots, sum of the widths)``.

        Of at most 5,000 of its spots, drawn with a fixed seed.
        """
        width = sum(self.widths)
        x = section.x[:, :width]
        if len(x) > _ENOUGH_SPOTS:
            x = x[np.sort(np.random.default_rng(0).choice(len(x), _ENOUGH_SPOTS, replace=False))]
        if not section.own_moments:
            block = np.float32(1) if self.block_scale is None else self.block_scale[:width]
            x = own_moments(x / block) * block
        return x - x.mean(axis=0)


def _columns(widths: Sequence[int], fields: Literal["one", "several"], neighbours: bool) -> np.ndarray:
    own = np.arange(widths[0] if fields == "one" else sum(widths))
    return np.concatenate([own, own + sum(widths)]) if neighbours else own


def fit_inputs(
    reps: tuple[str, ...],
    records: tuple[dict[str, Any], ...],
    embeddings: list[tuple[np.ndarray, ...]],
    adjacencies: list[csr_matrix],
    *,
    neighbours: bool,
    own: bool = False,
) -> tuple[ExpressionInputs, list[np.ndarray]]:
    """Compute the moments of the training sections' inputs, and return ``x`` of every section.

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
    moments = mean.astype(np.float32), scale.astype(np.float32)
    fitted = ExpressionInputs(reps, records, widths, neighbours, own, *moments)
    return fitted, [fitted.finish((one - fitted.mean) / fitted.scale) for one in joined]


def side_by_side(reps: Sequence[np.ndarray], adjacency: csr_matrix, neighbours: bool) -> np.ndarray:
    """Join embeddings and, with ``neighbours``, their means over each spot's neighbours (its own where it has none)."""
    own = np.hstack(list(reps))
    if not neighbours:
        return own
    means = neighbour_means(adjacency, itself=False) @ own
    alone = np.diff(adjacency.indptr) == 0
    means[alone] = own[alone]
    return np.hstack([own, means.astype(np.float32)])


def near_spots(section: Section) -> csr_matrix:
    """Return the binary adjacency of spots within 1.5 median nearest distances; it is cached in the section.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import Section
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> int(hq.models.near_spots(Section("s1", adata)).sum(axis=1).max())  # a hexagonal lattice
    6
    """
    return section.once("near_spots", lambda: _near_spots(section.microns))


def _near_spots(centres_um: np.ndarray) -> csr_matrix:
    adjacency = radius_adjacency(centres_um, _NEAR * nearest_distance(centres_um)).astype(np.float32)
    adjacency.data[:] = 1.0
    return adjacency


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
