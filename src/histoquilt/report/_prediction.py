"""Page of predicted sections: predicted next to measured genes, and their reliability; also part of evaluations."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from markupsafe import Markup

from histoquilt._base import Keys
from histoquilt.draw import (
    ADJUSTED,
    BEATS_MEAN,
    RELIABILITY,
    UNLABELLED,
    agreement,
    gene_symbols,
    prediction_layer,
    reliability_order,
    spot_places,
)
from histoquilt.report._annotation import ShownAnnotation
from histoquilt.report._encode import finite, packed, shades
from histoquilt.report._facts import facts_of
from histoquilt.report._genes import BESIDE_BYTES, PackedGenes, embed_genes
from histoquilt.report._map import even_sample, fair_shares, section_map, spot_names
from histoquilt.report._render import as_json, write_page
from histoquilt.study import check_adata

MAX_SPOTS = 20_000  # spots of all sections together: each is drawn with many genes
MAX_VALUES = 6_000_000  # spots times genes of the tables, which are compared with the measurement
MANY_OUTSIDE = 0.1  # share of spots unlike training above which the page warns, as predict does


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
        Path of the file, written atomically; an existing file is replaced.
    sections
        Name -> result of the ``predict`` method of an expression model; not changed, and read one after another, so
        that a mapping may load each from its file. Shown if present: measured expression, the image in
        ``uns["spatial"]``, ``obs["out_of_distribution"]``, reliability.
    facts, title
        Contents of ``run.json``, and headline of the page.
    method, spatial_key
        Method whose prediction is shown, if there are several; key in ``obsm`` of the spot centres.
    links
        Link text -> address of further pages, shown at the top of this one.

    Raises
    ------
    TypeError, KeyError, ValueError
        A section is not an AnnData, or has no prediction or coordinates; or there is no section.

    Notes
    -----
    At most 20,000 spots are drawn for all sections together, an even sample of larger ones, and at most 6,000,000
    values of genes are listed, the most reliable first. Other genes can be typed; those that do not fit into the page
    (2.5 MB) are written beside it, to ``<name>.genes.js`` (30 MB at most), from where the page loads them.

    Examples
    --------
    >>> import histoquilt as hq, os, tempfile
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> unseen = study.pop("s3")
    >>> predicted = hq.models.RidgeOnEmbedding().fit(study, use_rep="X_image").predict(unseen)
    >>> page = os.path.join(tempfile.mkdtemp(), "prediction.html")
    >>> hq.report.write_prediction_report(page, {"s3": predicted})
    >>> os.path.exists(page)
    True
    """
    shown = describe_predictions(sections, method=method, spatial_key=spatial_key)
    cards = [
        ("Sections", f"{len(shown):,}"),
        ("Spots", f"{sum(section['n_spots'] for section in shown):,}"),
        ("Genes", f"{max(section['n_genes'] for section in shown):,}"),
        ("Method", ", ".join(dict.fromkeys(section["method"] for section in shown))),
    ]
    write_page(
        path,
        "_prediction.html",
        "_explorer.js",
        "_prediction.js",
        title=title,
        links=links,
        sections=shown,
        n_unmeasured=sum(not section["measured"] for section in shown),
        facts=facts_of(cards, facts or {}),
        data=predictions_json(shown, path),
    )


def describe_predictions(
    sections: Mapping[str, AnnData], *, method: str | None = None, spatial_key: str = Keys.SPATIAL
) -> list[dict[str, Any]]:
    """Return the content of the page about each section, within the limits of one page."""
    if not sections:
        raise ValueError("There is no section to report on. Pass a dict from name to what predict returned.")
    sizes, n_layers = [], []
    for adata in sections.values():  # one after another: a mapping may read them from their files
        check_adata(adata)
        sizes.append(adata.n_obs)
        n_layers.append(1 + (Keys.MEASURED in adata.layers))
    budgets = fair_shares(sizes, MAX_SPOTS)
    n_values = sum(budget * layers for budget, layers in zip(budgets, n_layers, strict=True))  # of one gene
    n_genes = max(MAX_VALUES // max(n_values, 1), 1)
    n_bytes = BESIDE_BYTES // sum(n_layers)  # of one layer
    return [
        {
            "name": str(name),
            "number": number,
            **_describe(adata, budgets[number], n_genes, n_bytes, method, spatial_key),
        }
        for number, (name, adata) in enumerate(sections.items())
    ]


def predictions_json(shown: list[dict[str, Any]], path: str | os.PathLike[str]) -> Markup:
    """Return the data for the script of the page at ``path``; genes that do not fit are written beside it."""
    genes = iter(embed_genes([packed for section in shown for packed in section["packed"]], path))
    drawn = [
        {
            **section["drawn"], "name": section["name"], "predicted": next(genes), "measured": next(genes),
            "labelings": [labeling["drawn"] for labeling in section["labelings"]],
        }
        for section in shown
    ]  # fmt: skip
    return as_json({"sections": drawn, "unknown": UNLABELLED})


def _describe(
    adata: AnnData, budget: int, n_genes: int, n_bytes: int, method: str | None, spatial_key: str
) -> dict[str, Any]:
    """Return the content about a section; at most ``budget`` spots are drawn and ``n_genes`` genes listed."""
    layer = prediction_layer(adata, method)
    points = spot_places(adata, spatial_key)
    rows = even_sample(np.arange(adata.n_obs), points, budget)
    order = reliability_order(adata) if RELIABILITY in adata.var else np.arange(adata.n_vars)
    columns = order[:n_genes]
    near = agreement(adata, columns, layer)
    genes = _genes(adata, columns, near)
    recorded = adata.uns.get(Keys.UNS, {}).get("prediction", {})
    score = adata.obs.get(f"{Keys.OUT_OF_DISTRIBUTION}_score")
    outside = adata.obs.get(Keys.OUT_OF_DISTRIBUTION)
    share = None if outside is None else float(outside.astype(bool).mean())
    whole_score = float(recorded.get("section_out_of_distribution_score", 0.0))
    annotation = ShownAnnotation.of(adata)
    drawn = {
        **section_map(adata, points, points[rows], None),
        "names": spot_names(adata, rows),
        "annotation": None if annotation is None else annotation.spots(rows),
        "regions": None if annotation is None else annotation.legend(),
        "unlike": None if score is None else packed(shades(score.to_numpy(dtype=np.float64)[rows], 2.0), "u1"),
    }
    return {
        "method": layer.removeprefix("predicted_"),
        "members": str(recorded.get("members", "")),
        "trained_on": str(recorded.get("trained_on", "")),
        "n_spots": adata.n_obs,
        "n_drawn": len(rows),
        "n_genes": adata.n_vars,
        "measured": near is not None,
        "outside": share,
        "whole_score": whole_score,
        "transfers": recorded.get("transfers"),
        "warning": " ".join(filter(None, [_warning(whole_score, share or 0.0), _warning_of_transfer(recorded)])),
        "caution": str(recorded.get("caution", "")),
        "seen": str(recorded.get("seen_in_training", "")),
        "genes": genes,
        "n_beat": int(adata.var[BEATS_MEAN].astype(bool).sum()) if BEATS_MEAN in adata.var else None,
        "median_reliability": _median(gene["reliability"] for gene in genes),
        "median_adjusted": _median(gene["adjusted"] for gene in genes),
        "median_pearson": None if near is None else float(near["pearson"].median()),
        "median_here_adjusted": _median(gene["here_adjusted"] for gene in genes),
        "rows": rows,
        "drawn": drawn,
        "labelings": [],  # those of evaluations
        "packed": [
            PackedGenes.of_layer(adata, layer, rows, order, n_bytes=n_bytes),
            None if near is None else PackedGenes.of_layer(adata, Keys.MEASURED, rows, order, n_bytes=n_bytes),
        ],
    }


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _warning(whole_score: float, outside: float) -> str:
    if whole_score > 1:
        return (
            "This section as a whole looks unlike the tissue that the model was trained on: another organ, stain, "
            "scanner or focus. Do not trust its prediction."
        )
    if outside > MANY_OUTSIDE:
        return (
            f"{outside:.0%} of the spots look unlike the tissue that the model was trained on. Do not trust "
            'the prediction there; colour the map by "unlike training" to see where.'
        )
    return ""


def _warning_of_transfer(recorded: Mapping[str, Any]) -> str:
    if recorded.get("transfers", True):
        return ""
    low, high = recorded["transfer_left_out"]
    return (
        "The image features of this section vary differently than in training, so reliability does not transfer: "
        f"{recorded['transfer_share']:.2f} of their variance is in the training components, {low:.2f} to {high:.2f} in "
        f"left-out training sections (limit {recorded['transfer_limit']:.2f})."
    )


def _genes(adata: AnnData, columns: np.ndarray, near: pd.DataFrame | None) -> list[dict[str, Any]]:
    var, symbols = adata.var.iloc[columns], gene_symbols(adata)[columns]
    reliability, adjusted = (var.get(name, pd.Series(np.nan, var.index)) for name in (RELIABILITY, ADJUSTED))
    return [
        {
            "name": str(name),
            "symbol": str(symbols[place]),
            "reliability": finite(reliability.iloc[place]),
            "adjusted": finite(adjusted.iloc[place]),
            "beats_mean": bool(var[BEATS_MEAN].iloc[place]) if BEATS_MEAN in var else None,
            "pearson": None if near is None else float(near["pearson"].iloc[place]),
            "here_adjusted": None if near is None else finite(near["pearson_adjusted"].iloc[place]),
            "undefined": False if near is None else bool(near["undefined"].iloc[place]),
        }
        for place, name in enumerate(var.index)
    ]
