"""One or many AnnData as sections in microns, and the moves found for them written back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.spatial import cKDTree

from histoquilt._base import Keys, argument
from histoquilt.align._transform import Similarity
from histoquilt.io import estimate_mpp
from histoquilt.study import check_adata, check_obs_key, check_spatial, provenance, write_result

Sections: TypeAlias = AnnData | Sequence[AnnData] | Mapping[str, AnnData]


@dataclass(frozen=True)
class Piece:
    """One section, with its coordinates in microns."""

    name: str
    adata: AnnData  # the section alone
    owner: AnnData  # what the user gave: the section, or all of them in one
    rows: np.ndarray  # of owner
    microns: np.ndarray  # (n_spots, 2)
    pitch: float  # from spot to spot, microns; of scattered cells what a lattice as dense would have

    def place(self, column: str) -> float | None:
        """Return where the section lies (``z_um``, ``x_um``, ``y_um``), or ``None`` where that is not given."""
        if column not in self.adata.obs or self.adata.obs[column].isna().all():
            return None
        values = pd.to_numeric(self.adata.obs[column], errors="coerce").unique()
        if len(values) != 1 or not np.isfinite(values[0]):
            raise ValueError(
                f"obs[{column!r}] tells where a section lies and must be one number in each; section {self.name!r} has "
                f"{len(values)} values, {', '.join(f'{value:g}' for value in values[:3])}, ..."
            )
        return float(values[0])


def read_pieces(sections: Sections, *, section_key: str, spatial_key: str) -> list[Piece]:
    """Return the sections in microns, in their order, after checking that there are several and their units agree.

    Raises
    ------
    TypeError
        ``sections`` is neither an AnnData nor several of them.
    KeyError
        ``section_key`` or ``spatial_key`` is missing.
    ValueError
        There are fewer than two sections, names repeat, a spot has no section, units are mixed, or the microns of a
        section cannot be told.
    """
    parts = _split(sections, section_key)
    if len(parts) < 2:
        raise ValueError(
            f"At least two sections are needed, got {len(parts)}. Is {argument('section_key', section_key)} right?"
        )
    units = {name: _recorded(section, name).get("unit", "unknown") for name, section, _, _ in parts}
    in_microns = [name for name, unit in units.items() if unit == "micron"]
    if in_microns and len(in_microns) < len(units):
        name, unit = next((name, unit) for name, unit in units.items() if unit != "micron")
        raise ValueError(
            f"Sections differ in the unit of their coordinates: {in_microns[0]!r} is in micron, {name!r} in {unit}. "
            "Bring all to one unit, and say which with histoquilt.io.record_coordinates."
        )
    pieces = []
    for name, section, owner, rows in parts:
        microns = _microns(section, name, spatial_key)
        pieces.append(Piece(name, section, owner, rows, microns, typical_pitch(microns)))
    return pieces


def _split(sections: Sections, section_key: str) -> list[tuple[str, AnnData, AnnData, np.ndarray]]:
    """Return name, section, owner and rows of every section."""
    if isinstance(sections, AnnData):
        check_adata(sections)
        check_obs_key(sections, section_key, argument="section_key")
        column = sections.obs[section_key].astype("category").cat.remove_unused_categories()
        n_without = int(column.isna().sum())
        if n_without:
            raise ValueError(
                f"{n_without:,} of {sections.n_obs:,} spots have no section: adata.obs[{section_key!r}] is empty (NaN) "
                "there. Name their section, or drop them."
            )
        rows_of = [np.flatnonzero(column.cat.codes == code) for code in range(len(column.cat.categories))]
        names = [str(name) for name in column.cat.categories]
        return [(name, sections[rows], sections, rows) for name, rows in zip(names, rows_of, strict=True)]
    if isinstance(sections, Mapping):
        named = [(str(name), section) for name, section in sections.items()]
    elif isinstance(sections, Sequence) and not isinstance(sections, str):
        named = [(_name_of(section, i, section_key), section) for i, section in enumerate(sections)]
    else:
        raise TypeError(f"Expected an AnnData, or a list or dict of them, got {type(sections).__name__}.")
    for _, section in named:
        check_adata(section)
    names = [name for name, _ in named]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"Section names must be unique; repeated: {', '.join(map(repr, repeated))}. Pass a dict name -> AnnData."
        )
    return [(name, section, section, np.arange(section.n_obs)) for name, section in named]


def _name_of(section: Any, position: int, section_key: str) -> str:
    """Return what ``obs[section_key]`` calls a section of a list, or its number in the list."""
    if isinstance(section, AnnData) and section_key in section.obs:
        names = section.obs[section_key].dropna().unique()
        if len(names) > 1:
            raise ValueError(
                f"AnnData number {position + 1} of the list holds {len(names)} sections in obs[{section_key!r}]. Give "
                "one section each, or a single AnnData that holds them all."
            )
        if len(names) == 1:
            return str(names[0])
    return str(position + 1)


def _recorded(section: AnnData, name: str) -> dict[str, Any]:
    """Return what is recorded of the coordinates of a section, by itself or in a study."""
    ours = section.uns.get(Keys.UNS, {})
    study = ours.get("sections", {}).get(name, {})
    return dict(study.get(Keys.COORDINATES) or ours.get(Keys.COORDINATES, {}))


def _microns(section: AnnData, name: str, spatial_key: str) -> np.ndarray:
    """Return the coordinates of a section in microns, ``(n_spots, 2)``."""
    xy = check_spatial(section, spatial_key)[:, :2]
    if len(xy) < 3:
        raise ValueError(f"Section {name!r} has {len(xy)} spots; at least 3 are needed to tell how it is turned.")
    record = _recorded(section, name)
    if record.get("unit") == "micron":
        return xy
    bare = AnnData(obs=pd.DataFrame(index=section.obs_names), obsm={Keys.SPATIAL: xy})
    provenance(bare)[Keys.COORDINATES] = record
    try:
        return xy * estimate_mpp(bare)
    except ValueError as error:
        if record.get("unit") == "pixel" and record.get("mpp"):  # cells lie on no lattice, but their scale is known
            return xy * float(record["mpp"])
        raise ValueError(f"The microns of section {name!r} cannot be told. {error}") from error


def typical_pitch(microns: np.ndarray) -> float:
    """Return the median distance to the fourth nearest spot: the pitch on both lattices, and near it for cells."""
    places = np.unique(microns, axis=0)
    k = min(4, len(places) - 1)
    return float(np.median(cKDTree(places).query(places, k=k + 1, workers=-1)[0][:, k]))


def write_moves(
    pieces: Sequence[Piece], moves: Sequence[Similarity], facts: Sequence[dict[str, Any]], key_added: str
) -> None:
    """Write ``obsm[key_added]`` and ``uns["histoquilt"]["alignment"]`` into what the user gave."""
    alignment = {
        piece.name: {
            "matrix": move.matrix,
            "shift": move.shift,
            "angle_deg": move.angle_deg,
            "mirrored": move.mirrored,
            **fact,
        }
        for piece, move, fact in zip(pieces, moves, facts, strict=True)
    }
    owners = {id(piece.owner): piece.owner for piece in pieces}
    for owner in owners.values():
        write_result(owner, "obsm", key_added, np.full((owner.n_obs, 2), np.nan))
        provenance(owner)["alignment"] = {name: dict(fact) for name, fact in alignment.items()}
    for piece, move in zip(pieces, moves, strict=True):
        aligned = np.array(piece.owner.obsm[key_added])
        aligned[piece.rows] = move(piece.microns)
        piece.owner.obsm[key_added] = aligned
