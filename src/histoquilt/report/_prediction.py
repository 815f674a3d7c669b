"""The page of predicted sections: genes on the tissue, beside measured ones, and how far to trust them.

Also the maps of the evaluation page, which shows held-out sections in the same way.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import (
    BEATS_MEAN,
    MEASURED,
    RELIABILITY,
    UNLABELLED,
    agreement,
    color_ends,
    gene_symbols,
    prediction_layer,
    reliability_order,
    spot_places,
)
from histoquilt.report._encode import packed, shades
from histoquilt.report._facts import told_facts
from histoquilt.report._map import even_sample, fair_shares, one_line, section_map
from histoquilt.report._render import as_json, write_page
from histoquilt.study import check_adata

MAX_SPOTS = 20_000  # of all sections together: each is drawn with many genes
MAX_VALUES = 6_000_000  # of all maps together, a byte each: the page stays below some 10 MB
MANY_OUTSIDE = 0.1  # share of spots unlike training from which the section is warned about, as in predict


@dataclass(frozen=True)
class PredictedSection:
    """What one predicted section contributes to the page."""

    name: str
    number: int
    method: str
    trained_on: str
    n_spots: int
    n_drawn: int
    n_genes: int
    measured: bool
    outside: float | None  # share of spots unlike training
    whole_score: float  # of the section as a whole; above 1 is unlike training
    genes: list[dict[str, Any]]  # name, symbol, reliability, beats_mean, pearson, undefined: those on the map
    n_beat: int | None
    median_reliability: float | None
    median_pearson: float | None
    drawn: dict[str, Any]

    @property
    def warning(self) -> str:
        """What to warn about; empty where nothing is unusual."""
        if self.whole_score > 1:
            return (
                "This section as a whole looks unlike the tissue that the model was trained on: another organ, stain, "
                "scanner or focus. Do not trust its prediction."
            )
        if self.outside is not None and self.outside > MANY_OUTSIDE:
            return (
                f"{self.outside:.0%} of the spots look unlike the tissue that the model was trained on. Do not trust "
                'the prediction there; colour the map by "unlike training" to see where.'
            )
        return ""


def write_prediction_report(
    path: str | os.PathLike[str],
    sections: Mapping[str, AnnData],
    *,
    facts: Mapping[str, Any] | None = None,
    title: str = "Predicted expression",
    method: str | None = None,
    spatial_key: str = Keys.SPATIAL,
    links: Mapping[str, str] | None = None,
) -> None:
    """Write an HTML report that shows the predicted genes of sections or slides on the tissue.

    Parameters
    ----------
    path
        Path of the file, written completely or not at all. An existing file is replaced.
    sections
        Name -> result of the ``predict`` method of an expression model; not changed, and read one after another, so
        that a mapping may load each from its file. Shown if present: measured expression next to the prediction, the
        image in ``uns["spatial"]``, ``obs["out_of_distribution"]``, reliability.
    facts
        Contents of ``run.json``. Unknown entries are listed as they are.
    title
        Headline of the page.
    method
        Method whose prediction is shown, if a section holds several.
    spatial_key
        Key in ``obsm`` of the spot centres.
    links
        Link text -> address of further pages, shown at the top of this one.

    Raises
    ------
    TypeError
        A section is not an AnnData.
    KeyError
        A section holds no prediction or no coordinates.
    ValueError
        There is no section.

    Notes
    -----
    At most 20,000 spots are drawn for all sections together; of larger ones an even sample is shown, and the page
    states so. If that is still too much for one page, only the most reliable genes are shown.
    """
    run = facts or {}
    shown = predicted_sections(sections, method=method, spatial_key=spatial_key)
    methods = list(dict.fromkeys(section.method for section in shown))
    bare = sum(not section.measured for section in shown)
    cards = [
        ("Sections", f"{len(shown):,}"),
        ("Spots", f"{sum(section.n_spots for section in shown):,}"),
        ("Genes", f"{max(section.n_genes for section in shown):,}"),
        ("Method", ", ".join(methods)),
    ]
    write_page(
        path,
        "_prediction.html",
        "_prediction.js",
        title=title,
        links=links,
        sections=shown,
        n_unmeasured=bare,
        facts=told_facts(cards, run),
        data=as_json(payload(shown)),
    )


def predicted_sections(
    sections: Mapping[str, AnnData], *, method: str | None = None, spatial_key: str = Keys.SPATIAL
) -> list[PredictedSection]:
    """Read what the page shows of all sections, within what one page can hold."""
    if not sections:
        raise ValueError("There is no section to report on. Pass a dict from name to what predict returned.")
    sizes, n_layers = [], []
    for adata in sections.values():  # one after another: a mapping may read them from their files
        check_adata(adata)
        sizes.append(adata.n_obs)
        n_layers.append(1 + (MEASURED in adata.layers))
    budgets = fair_shares(sizes, MAX_SPOTS)
    maps = sum(budget * layers for budget, layers in zip(budgets, n_layers, strict=True))
    n_genes = max(MAX_VALUES // max(maps, 1), 1)
    return [
        _gather(adata, str(name), number, budgets[number], n_genes, method, spatial_key)
        for number, (name, adata) in enumerate(sections.items())
    ]


def payload(shown: list[PredictedSection]) -> dict[str, Any]:
    """Return what the script of the page reads."""
    return {"sections": [section.drawn for section in shown], "unknown": UNLABELLED}


def _gather(
    adata: AnnData, name: str, number: int, budget: int, n_genes: int, method: str | None, spatial_key: str
) -> PredictedSection:
    layer = prediction_layer(adata, method)
    points = spot_places(adata, spatial_key)
    rows = even_sample(np.arange(adata.n_obs), points, budget)
    order = reliability_order(adata) if RELIABILITY in adata.var else np.arange(adata.n_vars)
    columns = order[:n_genes]
    near = agreement(adata, columns, layer)
    genes = [_gene(adata, int(column), near, place) for place, column in enumerate(columns)]
    recorded = adata.uns.get(Keys.UNS, {}).get("prediction", {})
    known = [gene["reliability"] for gene in genes if gene["reliability"] is not None]
    score = adata.obs.get(f"{Keys.OUT_OF_DISTRIBUTION}_score")
    drawn = {
        **section_map(adata, points, points[rows], None),
        "names": "\n".join(one_line(spot) for spot in adata.obs_names[rows]),
        "genes": [gene["symbol"] for gene in genes],
        "predicted": _values(adata, layer, rows, columns),
        "measured": None if near is None else _values(adata, MEASURED, rows, columns),
        "unlike": None if score is None else packed(shades(score.to_numpy(dtype=np.float64)[rows], 2.0), "u1"),
    }
    outside = adata.obs.get(Keys.OUT_OF_DISTRIBUTION)
    return PredictedSection(
        name=name,
        number=number,
        method=layer.removeprefix("predicted_"),
        trained_on=str(recorded.get("trained_on", "")),
        n_spots=adata.n_obs,
        n_drawn=len(rows),
        n_genes=adata.n_vars,
        measured=near is not None,
        outside=None if outside is None else float(outside.astype(bool).mean()),
        whole_score=float(recorded.get("section_out_of_distribution_score", 0.0)),
        genes=genes,
        n_beat=int(adata.var[BEATS_MEAN].astype(bool).sum()) if BEATS_MEAN in adata.var else None,
        median_reliability=float(np.median(known)) if known else None,
        median_pearson=None if near is None else float(near["pearson"].median()),
        drawn=drawn,
    )


def _gene(adata: AnnData, column: int, near: Any, place: int) -> dict[str, Any]:
    known = adata.var[RELIABILITY].iloc[column] if RELIABILITY in adata.var else np.nan
    return {
        "name": str(adata.var_names[column]),
        "symbol": str(gene_symbols(adata)[column]),
        "reliability": float(known) if np.isfinite(known) else None,
        "beats_mean": bool(adata.var[BEATS_MEAN].iloc[column]) if BEATS_MEAN in adata.var else None,
        "pearson": None if near is None else float(near["pearson"].iloc[place]),
        "undefined": False if near is None else bool(near["undefined"].iloc[place]),
    }


def _values(adata: AnnData, layer: str, rows: np.ndarray, columns: np.ndarray) -> dict[str, Any]:
    """Genes of one layer as shades between their own ends, gene after gene, and the ends."""
    matrix = adata.layers[layer][:, columns]
    dense = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
    ends = [color_ends(dense[:, i]) for i in range(dense.shape[1])]
    shaded = [shades(dense[rows, i] - low, high - low) for i, (low, high) in enumerate(ends)]
    return {
        "shades": packed(np.concatenate(shaded), "u1"),
        "ends": [[float(f"{low:.3g}"), float(f"{high:.3g}")] for low, high in ends],
    }
