"""One section of a study; everything about it is resolved here, once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, MissingKey, argument, listed
from histoquilt.study._checks import check_spatial
from histoquilt.study._coordinates import coordinate_record, mpp_of_lattice
from histoquilt.study._pitch import nominal_pitch, spot_pitch
from histoquilt.study._scale import record_of
from histoquilt.study._slots import DEFAULT_SLOTS, Slots
from histoquilt.study.expression._source import Expression, expression
from histoquilt.study.joined._split import cut_section

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Section:
    """One section.

    Attributes
    ----------
    name
        Name, unique in its study.
    owner, rows
        AnnData that the user passed, and the rows of the section if that holds several.
    slots
        Keys of its parts.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import Section
    >>> section = Section("s1", hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0))
    >>> section.unit, section.mpp, round(section.pitch_um)
    ('micron', None, 100)
    >>> section.once("number of spots", lambda: section.adata.n_obs)  # computed once
    60
    """

    name: str
    owner: AnnData
    slots: Slots = DEFAULT_SLOTS
    rows: np.ndarray | None = None
    _made: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def view(self) -> AnnData:
        """The section's spots, not copied; ``uns`` is that of ``owner``."""
        return self.owner if self.rows is None else self.owner[self.rows]

    @cached_property
    def adata(self) -> AnnData:
        """The section alone; if ``owner`` holds several, cut out with its own images and records."""
        return self.owner if self.rows is None else cut_section(self.owner, self.name, self.rows)

    @cached_property
    def centres(self) -> np.ndarray:
        """Spot centres ``(n_spots, 2)`` float64 in their stored unit; errors as in :func:`check_spatial`."""
        return check_spatial(self.view, self.slots.spatial_key)[:, :2]

    @cached_property
    def coordinates(self) -> dict[str, Any]:
        """Record of the coordinates: ``unit``, ``mpp``, ``pitch_um``; empty if there is none."""
        return dict(coordinate_record(self.owner, self.name))

    @property
    def unit(self) -> str:
        """Recorded unit of the coordinates: ``pixel``, ``micron``, ``array`` or ``unknown``."""
        return str(self.coordinates.get("unit", "unknown"))

    @cached_property
    def mpp(self) -> float | None:
        """Microns per pixel, recorded or from the pitch of the lattice; ``None`` if coordinates are microns.

        Raises ``ValueError`` if it is not recorded, and the spots form no lattice of known pitch.
        """
        if self.unit == "micron":
            return None
        recorded = self.coordinates.get("mpp") or self.owner.uns.get(Keys.UNS, {}).get(Keys.IMAGE, {}).get("mpp")
        if recorded is not None:
            return float(recorded)
        try:
            return mpp_of_lattice(self.centres, self.coordinates, f"adata.obsm[{self.slots.spatial_key!r}]")
        except ValueError as error:
            raise ValueError(f"Cannot determine microns per pixel for section {self.name!r}. {error}") from error

    @cached_property
    def microns(self) -> np.ndarray:
        """Spot centres in microns, ``(n_spots, 2)`` float64."""
        return self.centres if self.mpp is None else self.centres * self.mpp

    @cached_property
    def pitch_um(self) -> float:
        """Distance of neighbouring spots in microns (:func:`spot_pitch`)."""
        return spot_pitch(self.microns)

    @property
    def nominal_pitch_um(self) -> float:
        """Pitch that the reader recorded, else the measured one to the nearest 10 microns."""
        return nominal_pitch(self.coordinates, self.pitch_um)

    def place(self, column: str) -> float | None:
        """Return ``z_um``, ``x_um`` or ``y_um``, or ``None``; raise ``ValueError`` unless it is one number."""
        if column not in self.view.obs or self.view.obs[column].isna().all():
            return None
        values = pd.to_numeric(self.view.obs[column].astype(object), errors="coerce").to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(
                f"Section {self.name!r}: obs[{column!r}] must hold microns; some values are missing or no numbers."
            )
        found = np.unique(values)
        if len(found) > 1:
            raise ValueError(
                f"Section {self.name!r}: obs[{column!r}] is where the whole section lies, so it must be one number; "
                f"found {len(found)} from {found[0]:g} to {found[-1]:g}. Sections in one file are distinguished by "
                f"{argument('section_key')}."
            )
        return float(found[0])

    def value(self, key: str) -> str | None:
        """Return the single value of a column of ``obs`` as text, or ``None``; raise ``ValueError`` for several."""
        values = self.view.obs[key].dropna().astype(str).unique() if key in self.view.obs else []
        if len(values) > 1:
            raise ValueError(
                f"obs[{key!r}] of section {self.name!r} must be one value for all spots, found {listed(values)}. "
                "Several sections in one AnnData: histoquilt.io.split_sections."
            )
        return str(values[0]) if len(values) else None

    @property
    def expression(self) -> Expression:
        """Expression of the section, checked once; errors as in :func:`histoquilt.pp.expression`."""
        return self.once(("expression", "source"), lambda: expression(self.adata, self.slots.layer, in_memory=False))

    def embeddings(self, reps: Sequence[str]) -> tuple[np.ndarray, ...]:
        """Return embeddings as float32, ``(n_spots, n_features)`` each.

        Raises ``KeyError`` if one is missing, ``ValueError`` if one has another shape or values that are not finite.
        """
        return tuple(self.once(("embedding", rep), partial(self._embedding, rep)) for rep in reps)

    def _embedding(self, rep: str) -> np.ndarray:
        if rep not in self.view.obsm:
            raise MissingKey(
                rep, f"obsm of section {self.name!r}", self.view.obsm,
                "Embed its image first: histoquilt.im.embed_patches(adata, histoquilt.io.open_image(adata), mpp=..., "
                f"key_added={rep!r}), or pass {argument('use_rep')}.",
            )  # fmt: skip
        values = np.asarray(self.view.obsm[rep], dtype=np.float32)
        if values.ndim != 2 or values.shape[1] == 0:
            raise ValueError(
                f"obsm[{rep!r}] of section {self.name!r} must be (n_spots, n_features), got {values.shape}."
            )
        bad = int((~np.isfinite(values)).any(axis=1).sum())
        if bad:
            raise ValueError(
                f"obsm[{rep!r}] of section {self.name!r} holds NaN or infinite values in {bad:,} of {len(values):,} "
                "spots. Embed the image again, or drop these spots."
            )
        return values

    def record(self, key: str) -> dict[str, Any]:
        """Return the record in ``uns["histoquilt"]`` under a key, e.g. of the encoder of an embedding; or nothing."""
        return record_of(self.owner, key)

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """Return the result of ``make``, cached under a key: a graph, or normalised expression.

        Keys of values made of expression are tuples that begin with ``"expression"``.
        """
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def replace(self, adata: AnnData, *, expression: bool) -> "Section":
        """Return the section with another AnnData of the same spots, keeping coordinates and cached values.

        Unless ``expression``, values made of expression are dropped.
        """
        made = {key: value for key, value in self._made.items() if expression or key[:1] != ("expression",)}
        other = Section(self.name, adata, self.slots, None, made)
        for name in ("centres", "coordinates", "mpp", "microns", "pitch_um"):
            if name in vars(self):
                vars(other)[name] = vars(self)[name]
        return other
