"""What the sections of a study have in common: overview, markers, mixing, alignment, how they were integrated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import (
    MIXING_METRICS,
    UNLABELLED,
    as_categories,
    mixing_values,
    section_height,
    spot_places,
    stack_order,
)
from histoquilt.report._encode import packed, shades
from histoquilt.report._gather import (
    Shared,
    browser_colors,
    confidence_of,
    domain_rows,
    markers_of,
    records,
)
from histoquilt.report._how import number_curve, parameters_of, scalars, training_curves
from histoquilt.report._map import even_sample, fair_shares, map_frame, spot_map
from histoquilt.study import check_adata, check_obs_key

MAX_SPOTS = 40_000  # of all sections together in the overview, where each is drawn as large as a thumbnail


@dataclass(frozen=True)
class Mixing:
    """The measures of mixing as the page shows them."""

    metrics: list[str]  # in words
    all: list[tuple[str, list[float | None]]]  # embedding, one value a metric
    embeddings: list[str]
    pairs: list[tuple[str, str, list[float | None]]]  # sections, measure, one value an embedding
    has_domains: bool  # whether cLISI is there to read the mixing beside


@dataclass(frozen=True)
class Study:
    """What a joint AnnData contributes to the page, beside its sections."""

    shared: Shared
    domains: list[dict[str, Any]]
    sections: list[dict[str, Any]]  # in the order of the stack: name, title, spots, share of each domain, fit
    n_unlabelled: int
    n_spots: int
    has_confidence: bool
    is_sampled: bool
    markers: list[dict[str, Any]]
    overview: list[dict[str, Any]]
    aligned: list[dict[str, Any]]
    mixing: Mixing | None
    stability: dict[str, Any] | None
    curves: list[dict[str, Any]]
    stopped: str
    integration: list[tuple[str, str]]
    parameters: list[tuple[str, str]]

    def payload(self) -> dict[str, Any]:
        """Return what the script of the page reads."""
        return {
            "domains": [{key: domain[key] for key in ("name", "color", "top")} for domain in self.domains],
            "unlabelled": UNLABELLED,
            "overview": self.overview,
            "aligned": self.aligned,
        }


def gather_study(adata: AnnData, *, domain_key: str, spatial_key: str, section_key: str | None) -> Study:
    """Read what a study shows of all its sections together."""
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    points = spot_places(adata, spatial_key)
    colors = browser_colors(adata, domain_key)
    codes = as_categories(adata, domain_key).codes
    markers = markers_of(adata, list(colors))
    confidence = confidence_of(adata)
    rows_of = stack_order(adata, section_key)
    limits = fair_shares([len(rows) for rows in rows_of.values()], MAX_SPOTS)
    drawn = {
        name: even_sample(rows, points[rows], limit)
        for (name, rows), limit in zip(rows_of.items(), limits, strict=True)
    }
    overview = [
        {
            **spot_map(points[rows_of[name]], points[rows], *map_frame(points[rows_of[name]])),
            "codes": packed(np.where(codes[rows] < 0, len(colors), codes[rows]), "u2"),
            "confidence": None if confidence is None else packed(shades(confidence[rows], 1.0), "u1"),
        }
        for name, rows in drawn.items()
    ]
    curves, stopped = training_curves(adata)
    ours = adata.uns.get(Keys.UNS, {})
    return Study(
        shared=Shared(colors, markers),
        domains=domain_rows(colors, codes, confidence, markers),
        sections=[_section(adata, name, rows, codes, len(colors)) for name, rows in rows_of.items()],
        n_unlabelled=int((codes < 0).sum()),
        n_spots=adata.n_obs,
        has_confidence=confidence is not None,
        is_sampled=sum(limits) < adata.n_obs,
        markers=[] if markers is None else records(markers),
        overview=overview,
        aligned=_aligned(adata, rows_of, drawn),
        mixing=_mixing(adata),
        stability=number_curve(adata, domain_key),
        curves=curves,
        stopped=stopped,
        integration=[(name.replace("_", " "), value) for name, value in scalars(ours.get("integration", {}))],
        parameters=parameters_of(adata),
    )


def _section(adata: AnnData, name: str, rows: np.ndarray, codes: np.ndarray, n_domains: int) -> dict[str, Any]:
    counts = np.bincount(codes[rows][codes[rows] >= 0], minlength=n_domains)
    fit = adata.uns.get(Keys.UNS, {}).get("alignment", {}).get(name, {})
    moved = fit.get("reference") != name  # of the section that stays where it is there is nothing to tell
    return {
        "name": name,
        "z_um": section_height(adata, rows),
        "n_spots": len(rows),
        "shares": (counts / len(rows)).tolist(),
        "residual_um": _number(fit.get("residual_um")) if moved else None,
        "agreement": _number(fit.get("agreement")) if moved else None,
    }


def _aligned(
    adata: AnnData, rows_of: Mapping[str, np.ndarray], drawn: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Positions of all sections in one frame, in microns; nothing where they were not aligned."""
    if Keys.ALIGNED not in adata.obsm:
        return []
    points = spot_places(adata, Keys.ALIGNED)
    frame = map_frame(*(points[rows] for rows in rows_of.values()))
    return [spot_map(points[rows_of[name]], points[rows], *frame) for name, rows in drawn.items()]


def _mixing(adata: AnnData) -> Mixing | None:
    try:
        table = mixing_values(adata)
    except KeyError:
        return None
    found = set(table["metric"])
    metrics = [metric for metric in MIXING_METRICS if metric in found and (metric not in ("ilisi", "clisi"))]
    metrics = metrics or [metric for metric in MIXING_METRICS if metric in found]
    embeddings = table["embedding"].unique().tolist()
    value = table.groupby(["sections", "embedding", "metric"], sort=False)["value"].first()

    def row(*keys: str) -> float | None:
        return _number(value.get(keys))

    pairs = [name for name in table["sections"].unique() if name != "all"]
    leading = metrics[:2]  # one is not read without the other
    return Mixing(
        metrics=[MIXING_METRICS[metric] for metric in metrics],
        all=[(name, [row("all", name, metric) for metric in metrics]) for name in embeddings],
        embeddings=embeddings,
        pairs=[
            (pair, MIXING_METRICS[metric], [row(pair, name, metric) for name in embeddings])
            for pair in pairs
            for metric in leading
        ],
        has_domains=any(metric.startswith("clisi") for metric in found),
    )


def _number(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
