"""From AnnData to what the page shows: maps, domains, markers, genes."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, message_of
from histoquilt.draw import (
    UNLABELLED,
    as_categories,
    color_top,
    denoised_expression,
    domain_colors,
    domain_palette,
    gene_rows,
    marker_table,
    raw_expression,
    section_names,
    spot_places,
)
from histoquilt.report._encode import packed, shades
from histoquilt.report._how import number_curve, parameters_of, training_curves
from histoquilt.report._map import even_sample, fair_shares, one_line, section_map
from histoquilt.study import check_obs_key

MAX_SPOTS = 100_000  # drawn on one page; a browser stays quick, the file below some 5 MB
_N_GENES = 4  # shown as measured beside denoised
_N_TOP = 5  # markers named beside a domain


@dataclass(frozen=True)
class Shared:
    """What the sections of a study take from it."""

    colors: dict[str, str]  # domain -> colour
    markers: pd.DataFrame | None


@dataclass(frozen=True)
class Group:
    """What one AnnData contributes to the page."""

    name: str
    number: int
    n_spots: int
    n_genes: int
    domains: list[dict[str, Any]]  # name, color, n, share, confidence, top markers
    n_unlabelled: int
    has_confidence: bool
    markers: list[dict[str, Any]]
    maps: list[dict[str, Any]]
    genes: list[dict[str, Any]]
    gene_note: str  # why measured values are missing, or nothing
    stability: dict[str, Any] | None  # how the number of domains was chosen
    curves: list[dict[str, Any]]
    stopped: str
    is_of_study: bool
    parameters: list[tuple[str, str]]

    def payload(self) -> dict[str, Any]:
        """Return what the script of the page reads."""
        return {
            "domains": [{key: domain[key] for key in ("name", "color", "top")} for domain in self.domains],
            "unlabelled": UNLABELLED,
            "maps": self.maps,
            "genes": self.genes,
        }


def gather(
    adata: AnnData,
    name: str,
    number: int,
    budget: int,
    *,
    domain_key: str,
    spatial_key: str,
    section_key: str | None,
    layer: str | None,
    shared: Shared | None = None,
) -> Group:
    """Read everything that one AnnData has to show; ``budget`` spots are drawn at most.

    With ``shared`` it is a section of a study, which shows the markers, the training and the parameters itself.
    """
    check_obs_key(adata, domain_key, argument="domain_key")
    points = spot_places(adata, spatial_key)
    colors = browser_colors(adata, domain_key, shared)
    codes = as_categories(adata, domain_key).codes
    markers = markers_of(adata, list(colors)) if shared is None else shared.markers
    confidence = confidence_of(adata)
    rows_of = section_names(adata, section_key) or {name or "section": np.arange(adata.n_obs)}
    limits = fair_shares([len(rows) for rows in rows_of.values()], budget)
    drawn = {
        section: even_sample(rows, points[rows], limit)
        for (section, rows), limit in zip(rows_of.items(), limits, strict=True)
    }
    measured = _genes(adata, markers, np.concatenate(list(drawn.values())), layer) if adata.n_vars else ([], "")
    only = len(rows_of) == 1
    maps = [
        {
            "name": (name or section) if only else section,
            "n_spots": len(rows_of[section]),
            **section_map(
                adata if only else adata[rows_of[section]], points[rows_of[section]], points[rows], section_key
            ),
            "codes": packed(np.where(codes[rows] < 0, len(colors), codes[rows]), "u2"),
            "confidence": None if confidence is None else packed(shades(confidence[rows], 1.0), "u1"),
            "names": "\n".join(one_line(spot) for spot in adata.obs_names[rows]),
            "n_drawn": len(rows),
        }
        for section, rows in drawn.items()
    ]
    curves, stopped = training_curves(adata) if shared is None else ([], "")
    return Group(
        name=name or (maps[0]["name"] if only else ""),
        number=number,
        n_spots=adata.n_obs,
        n_genes=adata.n_vars,
        domains=domain_rows(colors, codes, confidence, markers),
        n_unlabelled=int((codes < 0).sum()),
        has_confidence=confidence is not None,
        markers=[] if markers is None or shared is not None else records(markers),
        maps=maps,
        genes=measured[0],
        gene_note=measured[1],
        stability=number_curve(adata, domain_key) if shared is None else None,
        curves=curves,
        stopped=stopped,
        is_of_study=shared is not None,
        parameters=parameters_of(adata) if shared is None else [],
    )


def browser_colors(adata: AnnData, domain_key: str, shared: Shared | None = None) -> dict[str, str]:
    """Return domain -> colour in hexadecimal: names that matplotlib knows mean nothing to a browser.

    Raises
    ------
    ValueError
        A section has domains that its study does not.
    """
    if shared is not None:
        unknown = [str(n) for n in as_categories(adata, domain_key).categories if str(n) not in shared.colors]
        if unknown:
            raise ValueError(
                f"A section has domains that study= does not have: {', '.join(map(repr, unknown[:8]))} (the study has "
                f"{', '.join(map(repr, list(shared.colors)[:8]))}). Pass the sections that the study was made of, e.g. "
                "histoquilt.io.split_sections(study), or leave study= out."
            )
    colors = domain_colors(adata, domain_key, None if shared is None else shared.colors)
    if all(re.fullmatch(r"#[0-9a-fA-F]{6}", color) for color in colors.values()):
        return colors
    return dict(zip(colors, domain_palette(len(colors)), strict=True))


def confidence_of(adata: AnnData) -> np.ndarray | None:
    if Keys.CONFIDENCE not in adata.obs:
        return None
    return pd.to_numeric(adata.obs[Keys.CONFIDENCE], errors="coerce").to_numpy(dtype=float)


def markers_of(adata: AnnData, domains: list[str]) -> pd.DataFrame | None:
    if not isinstance(adata.uns.get(Keys.MARKERS), pd.DataFrame):
        return None
    table = marker_table(adata)
    table = table[table["domain"].isin(domains)]
    order = table["domain"].map(domains.index).to_numpy().argsort(kind="stable")
    columns = ["score", "log2_fold_change", "p_adjusted", "share_in", "share_out"]
    return table.iloc[order].reindex(columns=["domain", "gene", "symbol", *columns])


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]


def domain_rows(
    colors: dict[str, str], codes: np.ndarray, confidence: np.ndarray | None, markers: pd.DataFrame | None
) -> list[dict[str, Any]]:
    best = {} if markers is None else markers.groupby("domain", sort=False)["symbol"].apply(list).to_dict()
    found = []
    for code, (name, color) in enumerate(colors.items()):
        inside = codes == code
        sure = confidence[inside] if confidence is not None else np.array([])
        sure = sure[np.isfinite(sure)]
        found.append(
            {
                "name": name,
                "color": color,
                "n": int(inside.sum()),
                "share": float(inside.mean()),
                "confidence": float(sure.mean()) if sure.size else None,
                "top": [str(symbol) for symbol in best.get(name, [])[:_N_TOP]],
            }
        )
    return found


def _genes(
    adata: AnnData, markers: pd.DataFrame | None, rows: np.ndarray, layer: str | None
) -> tuple[list[dict[str, Any]], str]:
    """Choose the strongest markers of different domains that were denoised, and read both matrices for them."""
    table = adata.obsm.get(Keys.DENOISED)
    if markers is None or not isinstance(table, pd.DataFrame):
        return [], ""
    known = markers[markers["gene"].isin(table.columns) & markers["gene"].isin(adata.var_names)]
    best = known.drop_duplicates("domain").drop_duplicates("gene")
    best = best.sort_values("score", ascending=False, kind="stable").head(_N_GENES).sort_index()
    if best.empty:
        return [], ""
    columns = gene_rows(adata, best["gene"].tolist())
    smooth = denoised_expression(adata, columns)[rows]
    note, raw = "", None
    try:
        raw = raw_expression(adata, columns, layer=layer)[rows]
    except (KeyError, ValueError) as error:
        note = f"Measured values are not shown: {message_of(error)}"
    shown = []
    for i, (symbol, domain) in enumerate(zip(best["symbol"], best["domain"], strict=True)):
        panels = {"measured": None if raw is None else raw[:, i], "denoised": smooth[:, i]}
        shown.append({"symbol": symbol, "domain": domain, **{key: _panel(v) for key, v in panels.items()}})
    return shown, note


def _panel(values: np.ndarray | None) -> dict[str, Any] | None:
    if values is None:
        return None
    top = color_top(values)
    return {"top": round(top, 2), "values": packed(shades(values, top), "u1")}
