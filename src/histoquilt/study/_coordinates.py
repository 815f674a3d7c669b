"""Unit of the coordinates, and microns per pixel from the known distance between spots."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from anndata import AnnData
from scipy.spatial import cKDTree

from histoquilt._base import Keys, argument, check_positive
from histoquilt.runtime import logger
from histoquilt.study._checks import check_spatial
from histoquilt.study._scale import provenance

Unit = Literal["pixel", "micron", "array", "unknown"]

VISIUM_PITCH_UM = 100.0  # hexagonal lattice
LEGACY_ST_PITCH_UM = 200.0  # square lattice
# The largest capture areas with these pitches: Visium 11 mm has 14,336 spots, legacy ST 1,155 (33 x 35). A larger
# lattice is something else (Visium HD or Stereo-seq bins), whose pitch cannot be determined from the lattice alone.
_MOST_VISIUM_SPOTS = 14_336
_MOST_LEGACY_ST_SPOTS = 1_155

_LINK = 1.2  # in pitches, longest link of neighbours; the next ring is at 1.41 (square) or 1.73 (hexagonal)
_ORDERED = 0.8  # bond order: 0.97-1.0 on real Visium and ST sections; 0.1 on real cells, 0.25 on 50 random spots
_REGULAR = 0.15  # coefficient of variation of the link lengths: up to 0.083 on jittered ST sections
_LEAST_PITCH_PX = 2.0  # below this, undeclared coordinates are array positions (pitch 1, 1.41 or 2)


@dataclass(frozen=True)
class Lattice:
    """A regular arrangement of spots."""

    kind: Literal["hexagonal", "square"]
    pitch: float  # centre to centre, in coordinate units


def record_coordinates(
    adata: AnnData,
    unit: Unit,
    *,
    mpp: float | None = None,
    pitch_um: float | None = None,
    image_mpp: float | None = None,
) -> None:
    """Record the unit of the coordinates, which all later steps use.

    Parameters
    ----------
    adata
        One section; ``uns["histoquilt"]["coordinates"]`` is replaced.
    unit
        ``"pixel"`` (full-resolution pixels of the section's image), ``"micron"``, ``"array"`` (row and column numbers
        of the capture array) or ``"unknown"``.
    mpp, pitch_um
        Microns per full-resolution pixel (only for ``"pixel"``), and spot distance in microns, if known.
    image_mpp
        Microns per pixel of the instrument's own image with the same origin (only for ``"micron"``), if known: the
        morphology image of Xenium.

    Raises
    ------
    ValueError
        The unit is unknown, ``mpp`` is given with another unit than pixels or ``image_mpp`` with another than microns,
        or a number is not positive.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from anndata import AnnData
    >>> adata = AnnData(np.ones((3, 2)))
    >>> hq.io.record_coordinates(adata, "pixel", mpp=0.5)
    >>> adata.uns["histoquilt"]["coordinates"]
    {'unit': 'pixel', 'mpp': 0.5}
    """
    if unit not in get_args(Unit):
        raise ValueError(f"Unknown coordinate unit {unit!r}; known are {', '.join(get_args(Unit))}.")
    if mpp is not None and unit != "pixel":
        raise ValueError(f"mpp is microns per pixel, but the unit given is {unit!r}. Leave mpp out, or pass 'pixel'.")
    if image_mpp is not None and unit != "micron":
        raise ValueError(f"image_mpp is for coordinates in microns, but the unit given is {unit!r}. Pass mpp.")
    record: dict[str, str | float] = {"unit": unit}
    for name, value in (("mpp", mpp), ("pitch_um", pitch_um), ("image_mpp", image_mpp)):
        if value is not None:
            check_positive(value, name)
            record[name] = float(value)
    provenance(adata)[Keys.COORDINATES] = record


def record_pitch(adata: AnnData, pitch_um: float) -> None:
    """Record coordinates in pixels, with the spot pitch of the platform and ``mpp`` if the spots form a lattice.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from histoquilt.study import record_pitch
    >>> lattice = np.array([[x, y] for x in range(0, 1000, 200) for y in range(0, 1000, 200)], dtype=float)
    >>> adata = AnnData(np.ones((25, 2), np.float32), obsm={"spatial": lattice})
    >>> record_pitch(adata, 100)
    >>> adata.uns["histoquilt"]["coordinates"]  # neighbours are 200 pixels apart
    {'unit': 'pixel', 'mpp': 0.5, 'pitch_um': 100.0}
    """
    record_coordinates(adata, "pixel", pitch_um=pitch_um)
    if find_lattice(adata.obsm[Keys.SPATIAL]) is not None:  # a few spots form none
        record_coordinates(adata, "pixel", mpp=estimate_mpp(adata), pitch_um=pitch_um)


def coordinate_record(adata: AnnData, section: str | None = None) -> dict:
    """Return the record of the coordinates (``unit``, ``mpp``, ``pitch_um``), empty if there is none.

    For a ``section`` of a study its own record comes first: sections may differ in unit and microns per pixel.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import coordinate_record
    >>> coordinate_record(hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0))
    {'unit': 'micron', 'mpp': 1.0, 'pitch_um': 100.0}
    """
    ours = adata.uns.get(Keys.UNS, {})
    of_section = {} if section is None else ours.get(Keys.SECTIONS, {}).get(section, {})
    return of_section.get(Keys.COORDINATES) or ours.get(Keys.COORDINATES, {})


def estimate_mpp(adata: AnnData, *, pitch_um: float | None = None, spatial_key: str = Keys.SPATIAL) -> float:
    """Estimate microns per pixel of a section on a spot lattice, from the known distance between neighbouring spots.

    The spot diameter is not used, since tools disagree about it (55 or 65 um for Visium). Without ``pitch_um`` the
    recorded pitch is used, else that of the lattice: hexagonal is Visium (100 um), square is legacy ST (200 um). The
    decision is logged at INFO.

    Parameters
    ----------
    adata
        One section; ``obsm[spatial_key]`` holds spot centres ``(x, y)`` in pixels. Nothing is written.
    pitch_um, spatial_key
        Distance of neighbouring spots in microns; key in ``obsm`` of the spot centres.

    Returns
    -------
    Microns per unit of ``obsm[spatial_key]``.

    Raises
    ------
    KeyError
        There are no coordinates under ``spatial_key``.
    ValueError
        The coordinates are microns or array positions, or look like the latter; the spots form no lattice (single
        cells, beads); or the lattice is larger than any Visium or ST array and no pitch is known.

    Examples
    --------
    A square lattice, 400 pixels from spot to spot:

    >>> import histoquilt as hq
    >>> from anndata import AnnData
    >>> grid = np.stack(np.meshgrid(np.arange(10), np.arange(10)), axis=-1).reshape(-1, 2)
    >>> adata = AnnData(np.ones((100, 2)), obsm={"spatial": 400.0 * grid})
    >>> hq.io.estimate_mpp(adata)
    0.5
    """
    centres = check_spatial(adata, spatial_key)[:, :2]
    record = coordinate_record(adata) if spatial_key == Keys.SPATIAL else {}
    return mpp_of_lattice(centres, record, f"adata.obsm[{spatial_key!r}]", pitch_um=pitch_um)


def mpp_of_lattice(
    centres: np.ndarray, record: Mapping[str, Any], where: str, *, pitch_um: float | None = None
) -> float:
    """Return microns per pixel as :func:`estimate_mpp`; ``where`` names the place of the centres in messages."""
    unit = record.get("unit", "unknown")
    if unit in ("micron", "array"):
        raise ValueError(
            f"The coordinates are declared in {unit} units (adata.uns['histoquilt']['coordinates']), so there are no "
            "pixels to measure. If they are pixels, say so: histoquilt.io.record_coordinates(adata, 'pixel')."
        )
    if pitch_um is not None:
        check_positive(pitch_um, "pitch_um")
    lattice = find_lattice(centres)
    if lattice is None:
        raise ValueError(
            f"The {len(centres):,} positions in {where} form no square or hexagonal lattice, so "
            "microns per pixel cannot be determined from the spot pitch (single cells and beads have none). Take mpp "
            "from the scanner or the platform: histoquilt.io.record_coordinates(adata, 'pixel', mpp=...)."
        )
    if unit == "unknown" and pitch_um is None and lattice.pitch < _LEAST_PITCH_PX:
        raise ValueError(
            f"Neighbouring spots are {lattice.pitch:.3g} units apart, so these look like row and column numbers of the "
            f"array, not pixels. If they are pixels, pass {argument('pitch_um')} or call "
            "histoquilt.io.record_coordinates(adata, 'pixel')."
        )
    pitch = pitch_um or record.get("pitch_um") or _platform_pitch(lattice, len(centres))
    mpp = float(pitch / lattice.pitch)
    logger.info(
        "%s lattice with %.4g px from spot to spot, taken as %g um: %.4g um/px", lattice.kind, lattice.pitch, pitch, mpp
    )
    return mpp


def _platform_pitch(lattice: Lattice, n_spots: int) -> float:
    """Return the pitch in microns of the only platform with a lattice of this kind and size."""
    if lattice.kind == "hexagonal" and n_spots <= _MOST_VISIUM_SPOTS:
        return VISIUM_PITCH_UM
    if lattice.kind == "square" and n_spots <= _MOST_LEGACY_ST_SPOTS:
        return LEGACY_ST_PITCH_UM
    raise ValueError(
        f"A {lattice.kind} lattice of {n_spots:,} spots is larger than a Visium (hexagonal) or legacy ST (square) "
        f"array. Pass {argument('pitch_um')}, the distance between neighbouring spots: for Visium HD the bin size, 2, "
        "8 or 16."
    )


def find_lattice(spatial: np.ndarray) -> Lattice | None:
    """Find the square or hexagonal lattice of spot centres ``(n_spots, 2)``, at any rotation; None if there is none.

    Directions of links, folded four or six times, agree on a square or hexagonal lattice and cancel without order.
    Small displacements of single spots, as in legacy ST, do not matter.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.study import find_lattice
    >>> find_lattice(np.array([[x, y] for x in range(0, 500, 100) for y in range(0, 500, 100)], dtype=float))
    Lattice(kind='square', pitch=100.0)
    >>> print(find_lattice(np.random.default_rng(0).random((200, 2))))
    None
    """
    spatial = np.unique(spatial, axis=0)  # a repeated spot has a neighbour at distance 0
    if len(spatial) < 4:
        return None
    tree = cKDTree(spatial)
    # The nearest neighbour of a displaced spot is nearer than the pitch; all links together are not.
    pitch = float(np.median(tree.query(spatial, k=2)[0][:, 1]))
    for _ in range(3):
        pairs = tree.query_pairs(_LINK * pitch, output_type="ndarray")
        links = spatial[pairs[:, 1]] - spatial[pairs[:, 0]]
        lengths = np.hypot(links[:, 0], links[:, 1])
        pitch = float(np.median(lengths))
    if len(links) < 0.8 * len(spatial) or lengths.std() > _REGULAR * lengths.mean():
        return None
    angles = np.arctan2(links[:, 1], links[:, 0])
    square, hexagonal = (abs(np.exp(1j * folds * angles).mean()) for folds in (4, 6))
    if max(square, hexagonal) < _ORDERED or min(square, hexagonal) > 0.5:
        return None  # links all in one line point the same way under both foldings
    return Lattice("square" if square > hexagonal else "hexagonal", pitch)
