"""Legacy Spatial Transcriptomics: a TSV of counts with spots named by array position, and a TSV of selected spots."""

import re
from pathlib import Path

import pandas as pd
from anndata import AnnData

from histoquilt._base import either, listed
from histoquilt.io._files import PathLike, check_unique, existing_file, first_file, read_delimited
from histoquilt.io._tables import counts_to_adata, place_spots, read_counts_table
from histoquilt.runtime import logger, warn_user
from histoquilt.study import LEGACY_ST_PITCH_UM, record_pitch

_SPOT = re.compile(r"^(\d+(?:\.\d+)?)x(\d+(?:\.\d+)?)$")


def read_legacy_st(counts: PathLike, *, selection: PathLike | None = None) -> AnnData:
    r"""Read a legacy ST section (200 um pitch, about 1,000 spots) as it is published.

    Parameters
    ----------
    counts
        Path of a TSV, may be gzip-compressed: one row per spot, named ``"10x13"`` by its array position, one column per
        gene.
    selection
        Path of the TSV of the spot detector with columns ``x, y, new_x, new_y, pixel_x, pixel_y`` and perhaps
        ``selected``. By default ``<name>_selection.tsv``, ``spot_data-selection-<name>.tsv`` or
        ``alignment_table_<name>.tsv`` in the folder of the counts (``A1_selection.tsv`` for ``A1.tsv.gz``).

    Returns
    -------
    AnnData ``(n_spots, n_genes)`` with the spots that were selected as lying in tissue, in the order of the counts:

    ``X`` : raw counts, CSR float32, declared as ``"counts"``
    ``obs`` : ``array_x``, ``array_y``, and ``new_x``, ``new_y`` (array position corrected by the spot detector)
    ``obsm["spatial"]`` : float64 ``(n_spots, 2)``, ``pixel_x, pixel_y``
    ``uns["histoquilt"]["coordinates"]`` : ``"pixel"``, ``pitch_um`` 200, and ``mpp`` from the pitch

    Raises
    ------
    FileNotFoundError
        The counts, or their selection, do not exist.
    ValueError
        The counts are not such a table, or none of their spots is in the selection.

    Examples
    --------
    >>> import histoquilt as hq, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "A1.tsv").write_text("\tERBB2\tESR1\n10x13\t3\t0\n10x14\t1\t2\n")
    >>> header = "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n"
    >>> spots = "10\t13\t10\t13\t2900\t3770\t1\n10\t14\t10\t14\t2900\t4060\t1\n"
    >>> _ = (folder / "A1_selection.tsv").write_text(header + spots)
    >>> hq.io.read_legacy_st(folder / "A1.tsv").obsm["spatial"].tolist()
    [[2900.0, 3770.0], [2900.0, 4060.0]]
    """
    counts_file = existing_file(counts, "a legacy ST counts table (.tsv or .tsv.gz)")
    selection_file = find_selection(counts_file) if selection is None else existing_file(selection, "a selection table")
    if selection_file is None:
        remedy = either("name it with selection=", "give yours that name")
        raise FileNotFoundError(
            f"No selection table next to {counts_file}: looked for {_stem(counts_file)}_selection.tsv, "
            f"spot_data-selection-{_stem(counts_file)}.tsv and alignment_table_{_stem(counts_file)}.tsv. It gives the "
            f"spots their pixel positions; {remedy}, or read the counts with your own coordinates: "
            "histoquilt.io.read_table."
        )
    places = _read_selection(selection_file)
    table = read_counts_table(counts_file, sep="\t")
    _check_spot_names(table, counts_file)
    inside = table.index.isin(places.index)
    if not inside.any():
        raise ValueError(
            f"No spot of {counts_file.name} (named like {listed(table.index[:2])}) is in {selection_file.name} "
            f"(named like {listed(places.index[:2])}). Are they of the same section?"
        )
    if not inside.all():
        warn_user(
            f"{(~inside).sum():,} of {len(inside):,} spots of {counts_file.name} are not selected as tissue in "
            f"{selection_file.name} and are left out."
        )
    if n_bare := len(places.index.difference(table.index)):
        logger.info("%d selected spots have no counts", n_bare)
    adata = counts_to_adata(table[inside], counts_file)
    places = places.loc[adata.obs_names]
    adata.obs["array_x"] = places["x"].astype(int).to_numpy()
    adata.obs["array_y"] = places["y"].astype(int).to_numpy()
    for column in ("new_x", "new_y"):
        if column in places:
            adata.obs[column] = places[column].to_numpy(dtype=float)
    place_spots(adata, places, "pixel_x", "pixel_y", selection_file)
    record_pitch(adata, LEGACY_ST_PITCH_UM)
    return adata


def find_selection(counts: Path) -> Path | None:
    """Return the selection table that belongs to a counts table, by name, or None."""
    stem = _stem(counts)
    names = (f"{stem}_selection", f"spot_data-selection-{stem}", f"alignment_table_{stem}", f"{stem}_alignment_table")
    return first_file(counts.parent, (f"{name}.tsv" for name in names))


def _stem(counts: Path) -> str:
    """Return a file name without .gz and .tsv."""
    return counts.name.removesuffix(".gz").removesuffix(".tsv")


def _read_selection(path: Path) -> pd.DataFrame:
    """Read the selected spots, named ``XxY`` as in the counts."""
    table = read_delimited(path, sep="\t")
    missing = [column for column in ("x", "y", "pixel_x", "pixel_y") if column not in table]
    if missing:
        raise ValueError(
            f"{path} is not a legacy ST selection: it lacks {listed(missing)} (found: {listed(table.columns)})."
        )
    if "selected" in table:
        table = table[table["selected"] == 1]
    table.index = pd.Index([f"{x:g}x{y:g}" for x, y in zip(table["x"], table["y"], strict=True)])
    check_unique(table.index, path)
    return table


def _check_spot_names(table: pd.DataFrame, path: Path) -> None:
    """Raise ``ValueError`` unless the rows are named by array position."""
    if len(table) and all(_SPOT.match(name) for name in table.index[:20]):
        return
    is_transposed = table.shape[1] > 0 and all(_SPOT.match(str(name)) for name in table.columns[:20])
    remedy = " Its columns are: it is genes x spots; transpose it, or use histoquilt.io.read_table(transpose=True)."
    raise ValueError(
        f"{path.name} is not a legacy ST counts table: its rows should be named by array position, like '10x13', and "
        f"are named like {listed(table.index[:2])}." + (remedy if is_transposed else "")
    )
