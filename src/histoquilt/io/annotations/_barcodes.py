"""Labels by barcode, from the CSV files of Loupe Browser and Xenium Explorer, and the spots that they name."""

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, argument, listed
from histoquilt.io._files import read_delimited
from histoquilt.io.annotations._annotations import Annotations
from histoquilt.io.exporters._loupe import NONE
from histoquilt.runtime import logger, warn_user

_CELL_ID = "cell_id"
# barcode of the instrument inside a name: AAACAAGTATCTCCCA-1, s_008um_00269_00526-1
_CORE = re.compile(r"([ACGT]{12,}|s_\d{3}um_\d+_\d+)(-\d+)?")
_FEW = 0.9  # share of barcodes in the section below which the file may be of another one


def read_barcodes(path: Path, text: str, column: str | None) -> Annotations:
    """Return the labels of a table with the column ``Barcode`` or ``cell_id``.

    Raises
    ------
    ValueError
        The table has no such column, no labels, or two labels for one barcode.
    KeyError
        ``column`` is not in the table.
    """
    table = read_delimited(path, content=io.StringIO(text), dtype=str, keep_default_na=False)
    known = {str(name).strip().casefold(): name for name in table.columns}
    key = next((known[name] for name in ("barcode", _CELL_ID) if name in known), None)
    others = [str(name) for name in table.columns if name != key and str(name).strip().casefold() != "color"]
    if key is None or not others:
        raise ValueError(
            f"{path} has the columns {listed(table.columns)}; expected Barcode (or cell_id) and labels, as Loupe "
            "Browser exports categories, separated by commas."
        )
    if column is not None and column not in others:
        raise KeyError(f"{path} has no column {column!r} of labels (found: {listed(others)}).")
    chosen = others[0] if column is None else column
    if column is None and len(others) > 1:
        warn_user(f"{path.name}: the annotation is {chosen!r}, the first of the columns {listed(others)}.")
    color = table[known["color"]] if "color" in known else ""
    table = pd.DataFrame({"barcode": table[key].str.strip(), "label": table[chosen].str.strip(), "color": color})
    table = table[~table["label"].isin(["", NONE])].drop_duplicates(["barcode", "label"])
    if table.empty:
        raise ValueError(f"{path} labels no spot: the column {chosen!r} is empty.")
    numbers = pd.to_numeric(table["label"], errors="coerce")
    if (numbers % 1 > 0).all():
        raise ValueError(f"{path}: the column {chosen!r} holds fractions, not classes.")
    twice = table["barcode"][table["barcode"].duplicated()]
    if len(twice):
        raise ValueError(f"{path} has two labels for {listed(twice, 3)} in the column {chosen!r}. A spot has one.")
    return Annotations(
        path,
        table["label"].to_numpy(dtype=object),
        barcodes=table["barcode"].to_numpy(dtype=object),
        by_cell_id=str(key).strip().casefold() == _CELL_ID,
        colors={
            label: color.lower()
            for label, color in zip(table["label"], table["color"].str.strip(), strict=True)
            if re.fullmatch("#[0-9a-fA-F]{6}", color)
        },
    )


def labels_by_barcode(adata: AnnData, annotations: Annotations, name: str) -> np.ndarray:
    """Return the label of every spot, text ``(n_spots,)``; None for spots that the file does not name.

    Spots are found by their name in the section (``obs["obs_name"]``), their name, ``obs["cell_id"]``, or the barcode
    of the instrument inside their name, whichever names most.

    Raises
    ------
    ValueError
        No spot is named, or barcodes name several spots each.
    """
    asked = pd.Index(np.asarray(annotations.barcodes))
    best, n_best = np.full(adata.n_obs, -1), 0
    for what, file, spots in _ways(adata, asked, by_cell_id=annotations.by_cell_id):
        rows = file.get_indexer(spots)
        if (n_named := int((rows >= 0).sum())) > n_best:
            best, n_best, how = rows, n_named, what
    if not n_best:
        raise ValueError(_none_named(adata, asked, annotations.path, name))
    if how != "spot names":
        logger.info("%s: spots of section %s are matched by %s.", annotations.path.name, name, how)
    if n_best < _FEW * len(asked):
        warn_user(
            f"{annotations.path.name}: {len(asked) - n_best:,} of {len(asked):,} barcodes are not in section {name!r}. "
            "Slides of one kind share their barcodes: check that the file is of this section."
        )
    return with_none(annotations.labels)[best]


def with_none(labels: np.ndarray) -> np.ndarray:
    """Return labels with None behind them, which the index -1 takes."""
    return np.array([*labels, None], dtype=object)


def _ways(adata: AnnData, asked: pd.Index, *, by_cell_id: bool) -> list[tuple[str, pd.Index, pd.Index]]:
    """Return ways to name spots: in words, barcodes of the file and of the spots, unique ones."""
    ways = [("spot names", asked, adata.obs_names)]
    if Keys.SECTION in adata.obs:
        joined = adata.obs_names + "-" + adata.obs[Keys.SECTION].astype(str).to_numpy(dtype=object)
        ways.append(("their names in joined sections", asked, joined))
    if Keys.OBS_NAME in adata.obs:
        ways.insert(0, (f"obs[{Keys.OBS_NAME!r}]", asked, pd.Index(adata.obs[Keys.OBS_NAME].astype(str))))
    if _CELL_ID in adata.obs:
        values = adata.obs[_CELL_ID]
        whole = pd.to_numeric(values, errors="coerce") if values.dtype.kind == "f" else None
        texts = values.astype(str) if whole is None or whole.isna().any() else whole.astype("int64").astype(str)
        ways.insert(0 if by_cell_id else len(ways), (f"obs[{_CELL_ID!r}]", asked, pd.Index(texts)))
    ways.append(("the barcodes in their names", _cores(asked), _cores(adata.obs_names)))
    return [(what, file, spots) for what, file, spots in ways if file.is_unique and spots[spots != ""].is_unique]


def _cores(names: pd.Index) -> pd.Index:
    """Return the barcode inside each name; a name without one stays, so that it matches itself only."""
    found = [match.group() if (match := _CORE.search(str(name))) else str(name) for name in names]
    return pd.Index(found, dtype=object)


def _none_named(adata: AnnData, asked: pd.Index, path: Path, name: str) -> str:
    head = (
        f"{path} names none of the {adata.n_obs:,} spots of section {name!r}: the file has {listed(asked[:2])}, the "
        f"section {listed(adata.obs_names[:2])}."
    )
    spots = _cores(adata.obs_names)
    if not spots.is_unique and len(spots.intersection(_cores(asked))):
        return (
            f"{head} Its barcodes occur several times there: annotate sections one by one "
            f"(histoquilt.io.split_sections), not joined by {argument('section_key')}."
        )
    return f"{head} Is it the file of another section?"
