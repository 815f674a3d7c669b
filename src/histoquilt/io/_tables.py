"""Counts and coordinates as plain tables (CSV or TSV, compressed or not)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, listed
from histoquilt.io._controls import finish_genes
from histoquilt.io._files import PathLike, check_unique, existing_file, read_delimited
from histoquilt.study import Unit, check_counts, quiet_duplicates, record_coordinates


def read_table(
    counts: PathLike,
    coordinates: PathLike,
    *,
    unit: Unit,
    x: str = "x",
    y: str = "y",
    spot: str | None = None,
    transpose: bool = False,
    mpp: float | None = None,
    sep: str | None = None,
) -> AnnData:
    r"""Read a section from a table of counts and a table of spot positions.

    Parameters
    ----------
    counts
        CSV or TSV, optionally gzip-compressed: one row per spot and one column per gene, names in the first row and
        column.
    coordinates
        CSV or TSV with a header, one row per spot. Its other columns go to ``obs``.
    unit
        Unit of the coordinates: ``"pixel"``, ``"micron"``, ``"array"`` or ``"unknown"``. There is no default, because a
        wrong guess changes every distance and raises no error.
    x, y
        Columns of ``coordinates`` with the spot centre.
    spot
        Column of ``coordinates`` with the spot names; by default the first column.
    transpose
        Orientation of the counts: if true, one row per gene and one column per spot.
    mpp
        Microns per pixel, if known (``unit="pixel"`` only).
    sep
        Column separator of both tables; by default a comma for ``.csv``, a tab for ``.tsv`` and ``.txt``.

    Returns
    -------
    AnnData ``(n_spots, n_genes)`` in the order of the counts: ``X`` raw counts as CSR float32, ``obsm["spatial"]``
    float64 ``(x, y)``, gene columns as :func:`annotate_genes` writes them. Positions without counts are left out.

    Raises
    ------
    FileNotFoundError
        A table does not exist.
    KeyError
        ``x``, ``y`` or ``spot`` is not a column of ``coordinates``.
    ValueError
        The orientation of the counts contradicts ``transpose``, spots have no position or are repeated, or the counts
        are not raw counts.

    Examples
    --------
    >>> import histoquilt as hq, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "counts.csv").write_text("spot,ERBB2,ESR1\na,3,0\nb,1,2\n")
    >>> _ = (folder / "places.csv").write_text("spot,x,y\nb,100,0\na,0,0\n")
    >>> adata = hq.io.read_table(folder / "counts.csv", folder / "places.csv", unit="micron")
    >>> adata.obsm["spatial"].tolist()
    [[0.0, 0.0], [100.0, 0.0]]
    """
    counts_file = existing_file(counts, "a table of counts (CSV or TSV)")
    places_file = existing_file(coordinates, "a table of spot positions (CSV or TSV)")
    places = read_positions_table(places_file, sep=sep, spot=spot, columns=(x, y))
    table = read_counts_table(counts_file, sep=sep)
    _check_orientation(table, places.index, transpose, counts_file, places_file)
    if transpose:
        table = table.T
    missing = table.index.difference(places.index)
    if len(missing):
        raise ValueError(
            f"{len(missing):,} of {len(table):,} spots in {counts_file.name} have no position in {places_file.name}, "
            f"first: {listed(missing, 3)} (the positions are named like {listed(places.index[:1])})."
        )
    adata = counts_to_adata(table, counts_file)
    places = places.loc[adata.obs_names]
    place_spots(adata, places, x, y, places_file)
    for column in places.columns.drop([x, y]):
        adata.obs[column] = places[column].to_numpy()
    record_coordinates(adata, unit, mpp=mpp)
    return adata


def read_counts_table(path: Path, *, sep: str | None = None) -> pd.DataFrame:
    """Read a table of numbers with names in the first row and column, as it is in the file."""
    # The header is read apart and names are read as text: pandas would rename the second of two equal columns,
    # a spot called 001 stays 001, and a gene called NA stays NA.
    header = read_delimited(path, sep=sep, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].tolist()
    options: dict[str, Any] = {
        "dtype": {0: str},
        "keep_default_na": False,
        "low_memory": False,
    }  # fast
    table = read_delimited(path, sep=sep, header=None, skiprows=1, **options).set_index(0).rename_axis(None)
    names = header[1:] if len(header) == table.shape[1] + 1 else header  # R leaves the corner out
    if len(names) != table.shape[1]:
        raise ValueError(f"{path} has {len(names):,} names in its header, but {table.shape[1]:,} columns of counts.")
    table.columns = pd.Index(names, dtype=object)
    text = table.columns[[not pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes]]
    if len(text):
        raise ValueError(
            f"{path} has columns that are not numbers: {listed(text, 3)}. Expected counts, with names in the first "
            "row and the first column only."
        )
    return table


def read_positions_table(path: Path, *, sep: str | None, spot: str | None, columns: tuple[str, str]) -> pd.DataFrame:
    """Read a table of spot positions, indexed by spot name, with its other columns."""
    table = read_delimited(path, sep=sep)
    for name, argument in zip((*columns, spot), ("x", "y", "spot"), strict=True):
        if name is not None and name not in table:
            raise KeyError(
                f"{name!r} is not a column of {path.name} (found: {listed(table.columns)}). Pass {argument}=."
            )
    names = table.columns[0] if spot is None else spot
    if names in columns:
        raise KeyError(
            f"The first column of {path.name} is {names!r}, a coordinate, so the spots have no names. Name the column "
            "that holds them with spot=."
        )
    # read once more as text, so that a spot called 001 stays 001
    text = read_delimited(path, sep=sep, usecols=[names], dtype=str, keep_default_na=False)[names]
    table = table.drop(columns=names).set_axis(pd.Index(text.to_numpy(), dtype=object), axis=0)
    check_unique(table.index, path)
    return table


def counts_to_adata(table: pd.DataFrame, path: Path) -> AnnData:
    """Convert a table of counts, spots x genes, to an AnnData with CSR float32."""
    matrix = csr_matrix(table.to_numpy(dtype=np.float32))
    if len(table):
        check_counts(matrix, path.name)
    return section_of_counts(matrix, pd.DataFrame(index=table.index), table.columns)


def section_of_counts(matrix: csr_matrix, obs: pd.DataFrame, genes: Iterable[str]) -> AnnData:
    """Return a section of raw counts with annotated genes; controls are moved to ``obsm``."""
    adata = AnnData(matrix, obs=obs)
    with quiet_duplicates():
        adata.var_names = pd.Index(genes, dtype=object)
    return finish_genes(adata, is_counts=True)


def place_spots(adata: AnnData, places: pd.DataFrame, x: str, y: str, path: Path) -> None:
    """Write two columns of a table as spot centres ``(x, y)``; raise ``ValueError`` unless they are finite numbers."""
    numbers = places[[x, y]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    bad = ~np.isfinite(numbers).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{path}: {bad.sum():,} of {len(bad):,} spots have no finite {x!r} and {y!r}, first: "
            f"{listed(places.index[bad], 3)}."
        )
    adata.obsm[Keys.SPATIAL] = numbers


def _check_orientation(
    table: pd.DataFrame, spots: pd.Index, transpose: bool, counts_file: Path, places_file: Path
) -> None:
    """Raise ``ValueError`` if the spot names are on the other axis of the counts, or on none."""
    rows, columns = table.index.isin(spots).sum(), table.columns.isin(spots).sum()
    n_spots, n_other = (columns, rows) if transpose else (rows, columns)
    if n_other > n_spots:
        axis, remedy = (
            ("row", "spots x genes; leave transpose=True out")
            if transpose
            else ("column", "genes x spots; pass transpose=True")
        )
        raise ValueError(
            f"{counts_file.name} has the other orientation: {n_other:,} of its {axis} names are spots of "
            f"{places_file.name}, so it is {remedy}."
        )
    if n_spots == 0:
        raise ValueError(
            f"No name in {counts_file.name} is a spot of {places_file.name}: rows are named like "
            f"{listed(table.index[:2])}, columns like {listed(table.columns[:2])}, spots like {listed(spots[:2])}."
        )
