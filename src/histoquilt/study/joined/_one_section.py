"""Detect several unnamed sections in one AnnData by their positions, before their spots become neighbours."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.spatial import cKDTree

from histoquilt._base import Keys, argument, either, listed
from histoquilt.study._checks import check_spatial
from histoquilt.study._coordinates import find_lattice
from histoquilt.study._scale import provenance

# words of columns that name sections, such as library_id, SampleName or donor, and words without meaning
_SECTION_WORDS = set(
    "library batch sample biosample section slice slide patient donor subject participant individual person case mouse "
    "animal embryo specimen capture area dataset replicate puck chip array gem".split()
)
_FILLERS = set("id ids name names label key no num nr number numeric index code tissue brain visium st group".split())
_IDENTITY = {"orig", "ident"}  # Seurat's word for sample
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SUFFIX = re.compile(r"(.+)([-_.:])([^-_.:]+)")

_LOOKED_AT = 20_000  # spots; larger tissues are examined in windows
_N_WINDOWS = 8
_LEAST_SPOTS = 10  # of a group
_MOST_GROUPS = 50  # of a column that is not named like one of sections
_N_NEAREST = 16
_REGULAR = 0.15  # as in gr.lattice_neighbors: tolerance of the distance to the nearest spot, in pitches
_CLOSER = 0.8  # pitches; spots of one lattice are farther apart, spots of two overlapping ones mostly closer
_LEAST_CLOSER = 0.05  # share of spots
_LEAST_MIXED = 0.3  # share of cells with their nearest in another group: half in mixed sections, few along a border


@dataclass(frozen=True)
class _Groups:
    """Spots by the values of a column, or by the ends of their names."""

    column: str | None  # None: ends of names
    known: bool  # the column is named like one of sections, or equals the ends of barcodes
    codes: np.ndarray  # (n_spots examined,), -1 if a spot has none
    names: list[str]
    separator: str = ""


def check_one_section(
    adata: AnnData,
    *,
    spatial_key: str = Keys.SPATIAL,
    name: str | None = None,
    remedy: Literal["argument", "split", "file"] = "split",
) -> None:
    """Raise if an AnnData holds several sections whose spots occupy the same positions.

    Concatenated sections in separate coordinate frames overlap, and a graph would link spots of different tissues. They
    are detected by columns of ``obs``: on spot lattices any column whose groups lie closer to each other than one
    lattice allows; among scattered cells a column that is named like one of sections (``library_id``, ``batch``,
    ``sample``, ``patient`` ...) or equals the barcode suffixes, and whose groups are mixed. Regions and cell types of
    one tissue, and pieces side by side, pass.

    Parameters
    ----------
    adata
        AnnData to check; not changed. It passes after :func:`declare_one_section`.
    spatial_key
        Key in ``obsm`` of the spot centres; a third coordinate is ignored.
    name, remedy
        Name of the section, and advice, for the message: ``"argument"`` if the caller takes ``section_key=`` and
        ``one_section=``, ``"split"`` if it takes one section, ``"file"`` if the section was read from a file.

    Raises
    ------
    ValueError
        There are several sections; :func:`split_sections` makes one AnnData of each.

    Examples
    --------
    >>> import anndata, histoquilt as hq
    >>> from histoquilt.study import check_one_section
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> check_one_section(adata)
    >>> both = anndata.concat({"a": adata, "b": adata}, label="library_id", index_unique="-")
    >>> check_one_section(both)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: This is more than one section: obs['library_id'] names 2 ('a', 'b'), and their ...
    """
    if adata.uns.get(Keys.UNS, {}).get(Keys.ONE_SECTION):
        return
    found = _find(adata, check_spatial(adata, spatial_key)[:, :2])
    if found is None:
        return
    key = found.column if found.column is not None else Keys.SECTION
    said = (
        f"obs[{found.column!r}] names {len(found.names)} ({listed(found.names, 4)})"
        if found.column is not None
        else f"spot names end in {listed([found.separator + end for end in found.names], 4)}"
    )
    write = "" if found.column is not None else (
        f"Write these ends into a column (adata.obs[{key!r}] = adata.obs_names.str.rsplit({found.separator!r}, "
        "n=1).str[1]). "
    )  # fmt: skip
    is_one = argument("one_section", True)
    declare = either("call histoquilt.io.declare_one_section(adata)", f"pass {is_one}")
    split = f"(histoquilt.io.split_sections(adata, {key!r}))"
    advice = {
        "argument": f"Pass {argument('section_key', key)}, or {is_one} if they are one tissue.",
        "split": f"Take them apart {split}, or, if they are one tissue, {declare}.",
        "file": f"Write each to a file of its own {split}, or pass {is_one} if they are one tissue.",
    }[remedy]
    subject = "This is" if name is None else f"Section {name!r} is"
    raise ValueError(
        f"{subject} more than one section: {said}, and their spots lie in the same places, so spots of different "
        f"tissues would be taken for neighbours. {write}{advice}"
    )


def declare_one_section(adata: AnnData) -> None:
    """Declare that all spots are one tissue, for :func:`check_one_section`.

    Parameters
    ----------
    adata
        Changed in place: ``uns["histoquilt"]["one_section"]``.

    Examples
    --------
    >>> import anndata, histoquilt as hq
    >>> from histoquilt.study import check_one_section
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> both = anndata.concat({"a": adata, "b": adata}, label="library_id", index_unique="-")
    >>> hq.io.declare_one_section(both)
    >>> check_one_section(both)  # passes
    >>> both.uns["histoquilt"]
    {'one_section': True}
    """
    provenance(adata)[Keys.ONE_SECTION] = True


def _find(adata: AnnData, spatial: np.ndarray) -> _Groups | None:
    """Return the groups of spots that are overlapping sections, or ``None``."""
    if len(spatial) < 2 * _LEAST_SPOTS:
        return None
    rows, places = _windows(spatial)
    groups = list(_candidates(adata, rows))
    if not groups:
        return None
    tree = cKDTree(places)
    distances, nearest = tree.query(places, k=min(_N_NEAREST, len(places)))
    doubled = (distances[:, 1] == 0).mean() > _LEAST_CLOSER  # not seen by find_lattice
    one_lattice = not doubled and find_lattice(places) is not None
    found: list[tuple[tuple[bool, bool, bool, int], _Groups]] = []
    for one in groups:
        if one_lattice and not one.known:
            continue
        own, other = _own_and_other(places, one.codes, distances, nearest)
        on_lattices = _on_two_lattices(one.codes, own, other)
        if on_lattices or (one.known and not one_lattice and _mixed(one.codes, own, other)):
            n_groups = len(one.names)
            # the finest of known columns; others may be finer than sections, as domains numbered by section
            order = (one.column is None, not one.known, not on_lattices, -n_groups if one.known else n_groups)
            found.append((order, one))
    return min(found, key=lambda entry: entry[0])[1] if found else None


def _windows(spatial: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to examine and their places: all, or windows of tissue, moved far apart."""
    n_spots = len(spatial)
    if n_spots <= _LOOKED_AT:
        return np.arange(n_spots), spatial
    x, y = np.ascontiguousarray(spatial.T)
    size, step = _LOOKED_AT // _N_WINDOWS, 4 * max(np.ptp(x), np.ptp(y))
    rows, places = [], []
    for number, centre in enumerate(np.linspace(0, n_spots - 1, _N_WINDOWS).astype(int)):
        distance = np.maximum(np.abs(x - x[centre]), np.abs(y - y[centre]))
        inside = np.argpartition(distance, size)[:size]
        rows.append(inside)
        places.append(spatial[inside] + [number * step, 0])
    return np.concatenate(rows), np.concatenate(places)


def _candidates(adata: AnnData, rows: np.ndarray) -> Iterator[_Groups]:
    """Yield candidate names of sections: columns with few values, last the ends of the spots' names."""
    ends = _ends(adata.obs_names[rows])
    said_by_column = False
    for column in adata.obs:
        groups = _groups(adata.obs[column].iloc[rows], str(column), known=_is_section_name(str(column)))
        if groups is None:
            continue
        if ends is not None and _same_partition(groups.codes, ends.codes):
            said_by_column = True
            groups = _Groups(groups.column, True, groups.codes, groups.names)
        if groups.known or len(groups.names) <= _MOST_GROUPS:
            yield groups
    if ends is not None and not said_by_column:
        yield ends


def _groups(values: "pd.Series | pd.Index", column: str | None, *, known: bool, separator: str = "") -> _Groups | None:
    """Group spots by value without rare values; ``None`` if fewer than two groups remain."""
    try:
        codes, names = pd.factorize(values)
    except TypeError:  # lists, dicts
        return None
    sizes = np.bincount(codes[codes >= 0], minlength=len(names))
    large = sizes >= _LEAST_SPOTS
    if large.sum() < 2 or sizes[large].sum() < 0.5 * len(codes):
        return None
    number = np.where(large, np.cumsum(large) - 1, -1)
    codes = np.where(codes >= 0, number[codes], -1)
    return _Groups(column, known, codes, [str(name) for name in names[large]], separator)


def _ends(names: pd.Index) -> _Groups | None:
    """Group spots by the ends of their names, such as ``-0`` and ``-1`` of joined sections.

    They are known to name sections only if the same barcode occurs with several ends.
    """
    parts = [_SUFFIX.fullmatch(str(name)) for name in names]
    separators = {part[2] for part in parts if part}
    if not all(parts) or len(separators) != 1:
        return None
    ends = pd.Index([part[3] for part in parts if part])
    repeated = len({part[1] for part in parts if part}) < 0.9 * len(names)
    groups = _groups(ends, None, known=repeated, separator=separators.pop())
    return groups if groups is not None and len(groups.names) <= _MOST_GROUPS else None


def _is_section_name(column: str) -> bool:
    """Return whether a column is named like one of sections.

    >>> [_is_section_name(name) for name in ("library_id", "SampleName", "orig.ident", "cell_type", "array_row")]
    [True, True, True, False, False]
    """
    words = {word.lower() for word in _WORD.findall(column)}
    return words == _IDENTITY or bool(words & _SECTION_WORDS and words <= _SECTION_WORDS | _FILLERS)


def _same_partition(codes: np.ndarray, others: np.ndarray) -> bool:
    pairs = np.unique(np.column_stack([codes, others]), axis=0)
    return len(pairs) == len(np.unique(codes)) == len(np.unique(others))


def _own_and_other(
    places: np.ndarray, codes: np.ndarray, distances: np.ndarray, nearest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return each spot's distance to the nearest spot of its group, and of another group."""
    differs = (codes[nearest] != codes[:, None]) & (codes[nearest] >= 0)
    other = np.where(differs, distances, np.inf).min(axis=1)
    own = np.full(len(places), np.inf)
    for code in range(codes.max() + 1):
        members = np.flatnonzero(codes == code)
        own[members] = cKDTree(places[members]).query(places[members], k=2)[0][:, 1]
    return own, other


def _on_two_lattices(codes: np.ndarray, own: np.ndarray, other: np.ndarray) -> bool:
    """Return whether each group lies on a lattice, closer to each other than the spots of one lattice."""
    pitch = np.full(len(codes), np.nan)
    for code in range(codes.max() + 1):
        members = codes == code
        middle = np.median(own[members])
        if middle > 0 and np.mean(np.abs(own[members] / middle - 1) < _REGULAR) >= 0.8:
            pitch[members] = middle
    regular = ~np.isnan(pitch)
    if regular.mean() < 0.8:
        return False
    closer = other < _CLOSER * pitch
    of_groups = [closer[codes == code].mean() for code in np.unique(codes[regular])]
    return bool(closer[regular].mean() >= _LEAST_CLOSER or max(of_groups) >= _LEAST_MIXED)


def _mixed(codes: np.ndarray, own: np.ndarray, other: np.ndarray) -> bool:
    """Return whether the spots of a group lie among those of others, not only along a border."""
    return any(np.mean(other[codes == code] < own[codes == code]) >= _LEAST_MIXED for code in range(codes.max() + 1))
