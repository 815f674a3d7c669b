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
    color_ends,
    gene_symbols,
    prediction_layer,
    reliability_order,
    spot_places,
)
from histoquilt.report._annotation import ShownAnnotation
from histoquilt.report._encode import finite, packed, shades
from histoquilt.report._facts import facts_of
from histoquilt.report._map import even_sample, fair_shares, section_map, spot_names
from histoquilt.report._render import as_json, write_page
from histoquilt.study import check_adata

MAX_SPOTS = 20_000  # spots of all sections together: each is drawn with many genes
MAX_VALUES = 6_000_000  # values of all maps, a byte each: keeps the page below some 10 MB
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
    At most 20,000 spots are drawn for all sections together, an even sample of larger ones; if that is still too much
    for one page, only the most reliable genes.

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
        "_prediction.js",
        title=title,
        links=links,
        sections=shown,
        n_unmeasured=sum(not section["measured"] for section in shown),
        facts=facts_of(cards, facts or {}),
        data=predictions_json(shown),
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
    return [
        {"name": str(name), "number": number, **_describe(adata, budgets[number], n_genes, method, spatial_key)}
        for number, (name, adata) in enumerate(sections.items())
    ]


def predictions_json(shown: list[dict[str, Any]]) -> Markup:
    """Return the data for the script of the page."""
    drawn = [{**section["drawn"], "labelings": [one["drawn"] for one in section["labelings"]]} for section in shown]
    return as_json({"sections": drawn, "unknown": UNLABELLED})


def _describe(adata: AnnData, budget: int, n_genes: int, method: str | None, spatial_key: str) -> dict[str, Any]:
    layer = prediction_layer(adata, method)
    points = spot_places(adata, spatial_key)
    rows = even_sample(np.arange(adata.n_obs), points, budget)
    columns = (reliability_order(adata) if RELIABILITY in adata.var else np.arange(adata.n_vars))[:n_genes]
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
        "genes": [gene["symbol"] for gene in genes],
        "predicted": _values(adata, layer, rows, columns),
        "measured": None if near is None else _values(adata, Keys.MEASURED, rows, columns),
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


def _values(adata: AnnData, layer: str, rows: np.ndarray, columns: np.ndarray) -> dict[str, Any]:
    """Return genes of one layer as shades between the ends of each gene, and these ends."""
    matrix = adata.layers[layer][:, columns]
    dense = np.asarray(matrix.toarray() if hasattr(matrix, "toarray") else matrix, dtype=np.float64)
    ends = [color_ends(dense[:, i]) for i in range(dense.shape[1])]
    shaded = [shades(dense[rows, i] - low, high - low) for i, (low, high) in enumerate(ends)]
    return {
        "shades": packed(np.concatenate(shaded), "u1"),
        "ends": [[float(f"{low:.3g}"), float(f"{high:.3g}")] for low, high in ends],
    }
