"""Content of the page about a study: overview, alignment, mixing and integration."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import MIXING_METRICS, mixing_values, section_height, spot_places, stack_order
from histoquilt.report._encode import finite
from histoquilt.report._map import even_samples, map_frame, spot_map
from histoquilt.report.domains._domains import DomainData, scalars

MAX_SPOTS = 40_000  # spots of all sections together in the overview, where each is drawn as a thumbnail


def describe_study(data: DomainData, section_key: str | None) -> dict[str, Any]:
    """Return the content of the page about a joint AnnData."""
    adata, points = data.adata, data.points
    rows_of = stack_order(adata, section_key)
    drawn = even_samples(rows_of, points, MAX_SPOTS)
    overview = [
        {**spot_map(points[rows_of[name]], points[rows], *map_frame(points[rows_of[name]])), **data.spots(rows)}
        for name, rows in drawn.items()
    ]
    integration = scalars(adata.uns.get(Keys.UNS, {}).get("integration", {}))
    return {
        **data.summary(),
        "sections": [_section(data, name, rows) for name, rows in rows_of.items()],
        "is_sampled": sum(map(len, drawn.values())) < adata.n_obs,
        "overview": overview,
        "aligned": _aligned(adata, rows_of, drawn),
        "mixing": _mixing(adata),
        "integration": [(name.replace("_", " "), value) for name, value in integration],
    }


def _section(data: DomainData, name: str, rows: np.ndarray) -> dict[str, Any]:
    codes = data.codes[rows]
    fit = data.adata.uns.get(Keys.UNS, {}).get("alignment", {}).get(name, {})
    is_moved = fit.get("reference") != name  # the reference stays where it is
    return {
        "name": name,
        "z_um": section_height(data.adata, rows),
        "n_spots": len(rows),
        "shares": (np.bincount(codes[codes >= 0], minlength=len(data.colors)) / len(rows)).tolist(),
        "annotation": None if data.annotation is None else data.annotation.numbers(data.domains, rows),
        **{key: finite(fit.get(key)) if is_moved else None for key in ("residual_um", "agreement")},
    }


def _aligned(
    adata: AnnData, rows_of: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Return the positions of all sections in one frame, in microns; empty if they were not aligned."""
    if Keys.ALIGNED not in adata.obsm:
        return []
    points = spot_places(adata, Keys.ALIGNED)
    frame = map_frame(*(points[rows] for rows in rows_of.values()))
    return [spot_map(points[rows_of[name]], points[rows], *frame) for name, rows in drawn.items()]


def _mixing(adata: AnnData) -> dict[str, Any] | None:
    """Return mixing by embedding, for all sections and for pairs; None if none was recorded."""
    try:
        table = mixing_values(adata)
    except KeyError:
        return None
    recorded = set(table["metric"])
    metrics = [metric for metric in MIXING_METRICS if metric in recorded]
    metrics = [metric for metric in metrics if metric not in ("ilisi", "clisi")] or metrics
    embeddings = table["embedding"].unique().tolist()
    value = table.groupby(["sections", "embedding", "metric"], sort=False)["value"].first()
    return {
        "metrics": [MIXING_METRICS[metric] for metric in metrics],
        "all": [(name, [finite(value.get(("all", name, metric))) for metric in metrics]) for name in embeddings],
        "embeddings": embeddings,
        "pairs": [
            (pair, MIXING_METRICS[metric], [finite(value.get((pair, name, metric))) for name in embeddings])
            for pair in table["sections"].unique()
            if pair != "all"
            for metric in metrics[:2]  # mixing, and separation of domains
        ],
        "has_domains": any(metric.startswith("clisi") for metric in recorded),
    }
