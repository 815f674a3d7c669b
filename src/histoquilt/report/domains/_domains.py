"""Content of the page about the domains of one AnnData: tables, maps, genes, and how domains were found."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, listed, message_of
from histoquilt.draw import (
    STABLE,
    UNLABELLED,
    as_categories,
    color_top,
    denoised_expression,
    domain_colors,
    gene_rows,
    marked_number,
    marker_table,
    model_record,
    raw_expression,
    section_names,
    spot_places,
    stability_curve,
    training_history,
)
from histoquilt.report._annotation import ShownAnnotation
from histoquilt.report._charts import curve_svg
from histoquilt.report._encode import browser_colors, packed, shades
from histoquilt.report._genes import PackedGenes
from histoquilt.report._map import even_samples, section_map, spot_names
from histoquilt.report.domains._levels import DomainLevels, differing_mixture, level_stabilities
from histoquilt.study import check_obs_key

_N_GENES = 4  # genes shown as measured and denoised
_N_TOP = 5  # markers named next to a domain
_STATISTICS = ["score", "log2_fold_change", "p_adjusted", "share_in", "share_out"]  # of a marker
_STOPPED = {
    "converged": "Training stopped by itself when the embedding no longer changed",
    "max_epochs": "Training ran to the upper limit of epochs without settling: raise max_epochs to be sure",
}


class DomainData:
    """Domains of one AnnData; ``joint`` is the study that it is a section of, whose colours and markers are used."""

    def __init__(
        self,
        adata: AnnData,
        *,
        domain_key: str,
        spatial_key: str,
        label_key: str | None = None,
        joint: "DomainData | None" = None,
    ) -> None:
        check_obs_key(adata, domain_key, argument="domain_key")
        self.adata, self.domain_key, self.joint = adata, domain_key, joint
        self.points = spot_places(adata, spatial_key)
        self.colors: dict[str, str] = _colors_of(adata, domain_key, None if joint is None else joint.colors)
        self.domains = as_categories(adata, domain_key)
        self.codes = self.domains.codes
        self.markers: pd.DataFrame = _markers(adata, list(self.colors)) if joint is None else joint.markers
        self.confidence: np.ndarray | None = None
        if Keys.CONFIDENCE in adata.obs:
            self.confidence = pd.to_numeric(adata.obs[Keys.CONFIDENCE], errors="coerce").to_numpy(dtype=float)
        self.levels = DomainLevels(adata, domain_key, list(self.colors), list(self.colors.values()))
        self.stabilities = level_stabilities(adata, domain_key, len(self.levels.shown))
        self.mixture = differing_mixture(adata, domain_key, list(self.colors))
        self.annotation: ShownAnnotation | None = ShownAnnotation.of(
            adata, label_key, None if joint is None else joint.annotation
        )

    def summary(self) -> dict[str, Any]:
        """Return the content that sections and studies have in common."""
        return {
            "n_spots": self.adata.n_obs,
            "domains": self._table(),
            "n_unlabelled": int((self.codes < 0).sum()),
            "has_confidence": self.confidence is not None,
            "resampled": self._resampled(),
            "levels": self.levels.shown,
            "level": self.levels.start,
            "annotation": None if self.annotation is None else self.annotation.compared(self.domains),
            "mixture_agreement": None if self.mixture is None else self.mixture[1],
            "markers": [] if self.joint is not None else self.markers.to_dict("records"),
            **_how_found(None if self.joint is not None else self.adata, self.domain_key),
        }

    def spots(self, rows: np.ndarray) -> dict[str, Any]:
        """Return domain codes and confidence of some spots, encoded for the script of the page."""
        codes = self.codes[rows]
        return {
            "codes": packed(np.where(codes < 0, len(self.colors), codes), "u2"),
            "confidence": None if self.confidence is None else packed(shades(self.confidence[rows], 1.0), "u1"),
            "stabilities": [packed(shades(values[rows], 1.0), "u1") for values in self.stabilities],
            "parts": None if self.levels.parts is None else packed(self.levels.parts[rows], "u2"),
            "mixture": None if self.mixture is None else packed(self.mixture[0][rows], "u2"),
            "annotation": None if self.annotation is None else self.annotation.spots(rows),
        }

    def pack_genes(self, rows: np.ndarray, layer: str | None, n_bytes: int) -> PackedGenes | None:
        """Pack the expression of the drawn spots, markers first; None if there is none."""
        try:
            return PackedGenes.of(self.adata, rows, self.markers["gene"], layer=layer, n_bytes=n_bytes)
        except (KeyError, ValueError):  # the section has domains of an embedding, say, and no counts
            return None

    def _resampled(self) -> str:
        """Return what was resampled for the stability of domains; empty if it was not computed."""
        record = self.adata.uns.get(Keys.UNS, {}).get(f"{self.domain_key}_stability", {})
        named = {"spots": "spots", "seeds": "random starts", "counts": "halves of the counts"}
        sources = [named.get(str(source), str(source)) for source in record.get("sources", [])]
        return " and ".join(filter(None, [", ".join(sources[:-1]), *sources[-1:]])) if self.stabilities else ""

    def _table(self) -> list[dict[str, Any]]:
        best = self.markers.groupby("domain", sort=False)["symbol"].apply(list).to_dict()
        rows = []
        for code, (name, color) in enumerate(self.colors.items()):
            inside = self.codes == code
            rows.append({
                "name": name, "color": color, "n": int(inside.sum()), "share": float(inside.mean()),
                "confidence": None if self.confidence is None else _mean(self.confidence[inside]),
                "stability": None if not self.stabilities else _mean(self.stabilities[self.levels.start][inside]),
                "top": [str(symbol) for symbol in best.get(name, [])[:_N_TOP]],
            })  # fmt: skip
        return rows


def _mean(values: np.ndarray) -> float | None:
    """Return the mean of the finite values, or None if there are none."""
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None


def describe_section(
    data: DomainData, name: str, number: int, budget: int, *, section_key: str | None, layer: str | None
) -> dict[str, Any]:
    """Return the content of the page about one AnnData; at most ``budget`` spots are drawn."""
    adata, points = data.adata, data.points
    rows_of = section_names(adata, section_key) or {name or "section": np.arange(adata.n_obs)}
    drawn = even_samples(rows_of, points, budget)
    every_row = np.concatenate(list(drawn.values()))
    genes, note = _genes(data, every_row, layer) if adata.n_vars else ([], "")
    is_single = len(rows_of) == 1
    maps = [
        {
            "name": (name or section) if is_single else section,
            "n_spots": len(rows_of[section]),
            **section_map(
                adata if is_single else adata[rows_of[section]], points[rows_of[section]], points[rows], section_key
            ),
            **data.spots(rows),
            "names": spot_names(adata, rows),
            "n_drawn": len(rows),
        }
        for section, rows in drawn.items()
    ]
    return {
        **data.summary(), "name": name or (maps[0]["name"] if is_single else ""), "number": number,
        "n_genes": adata.n_vars, "maps": maps, "drawn": every_row, "genes": genes, "gene_note": note,
        "is_of_study": data.joint is not None,
    }  # fmt: skip


def domains_payload(shown: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Return the data of a section or a study for the script of the page."""
    domains = [{key: domain[key] for key in ("name", "color", "top")} for domain in shown["domains"]]
    return {"domains": domains, "unlabelled": UNLABELLED, **{key: shown[key] for key in keys}}


def scalars(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Return every text and number inside nested dicts, named by the path to it."""
    if isinstance(value, dict):  # sorted, because a file does not keep the order
        return [pair for key in sorted(value) for pair in scalars(value[key], f"{name}.{key}" if name else str(key))]
    if isinstance(value, str | bool | int | float | np.generic):
        return [(name, f"{value:g}" if isinstance(value, float) else str(value))]
    return []


def _colors_of(adata: AnnData, domain_key: str, shared: Mapping[str, str] | None) -> dict[str, str]:
    """Return domain -> hexadecimal colour; ``shared`` are those of the study."""
    if shared is not None:
        unknown = [name for name in as_categories(adata, domain_key).categories if name not in shared]
        if unknown:
            raise ValueError(
                f"A section has domains that study= does not have: {listed(unknown)} (the study has {listed(shared)}). "
                "Pass the sections that the study was made of, e.g. histoquilt.io.split_sections(study), or leave "
                "study= out."
            )
    return browser_colors(domain_colors(adata, domain_key, shared))


def _markers(adata: AnnData, domains: list[str]) -> pd.DataFrame:
    """Return the markers of the domains in their order; empty if none were recorded."""
    columns = ["domain", "gene", "symbol", *_STATISTICS]
    try:
        table = marker_table(adata)
    except KeyError:
        return pd.DataFrame(columns=columns)
    table = table[table["domain"].isin(domains)]
    order = table["domain"].map(domains.index).to_numpy().argsort(kind="stable")
    return table.iloc[order].reindex(columns=columns)


def _genes(data: DomainData, rows: np.ndarray, layer: str | None) -> tuple[list[dict[str, Any]], str]:
    """Return the best markers of different domains, measured and denoised, and why measured ones are missing."""
    adata, markers, table = data.adata, data.markers, data.adata.obsm.get(Keys.DENOISED)
    if not isinstance(table, pd.DataFrame):
        return [], ""
    known = markers[markers["gene"].isin(table.columns) & markers["gene"].isin(adata.var_names)]
    best = known.drop_duplicates("domain").drop_duplicates("gene")
    best = best.sort_values("score", ascending=False, kind="stable").head(_N_GENES).sort_index()
    if best.empty:
        return [], ""
    columns = gene_rows(adata, best["gene"].tolist())
    denoised = denoised_expression(adata, columns)[rows]
    note, measured = "", None
    try:
        measured = raw_expression(adata, columns, layer=layer)[rows]
    except (KeyError, ValueError) as error:
        note = f"Measured values are not shown: {message_of(error)}"
    panels = [None] * len(best) if measured is None else [_panel(values) for values in measured.T]
    rows_shown = zip(best["symbol"], best["domain"], panels, map(_panel, denoised.T), strict=True)
    return [dict(zip(("symbol", "domain", "measured", "denoised"), row, strict=True)) for row in rows_shown], note


def _panel(values: np.ndarray) -> dict[str, Any]:
    top = color_top(values)
    return {"top": round(top, 2), "values": packed(shades(values, top), "u1")}


def _how_found(adata: AnnData | None, domain_key: str) -> dict[str, Any]:
    """Return how domains were found: stability of their number, training curves, parameters; empty without AnnData."""
    if adata is None:
        return {"stability": None, "curves": [], "stopped": "", "parameters": []}
    recorded = adata.uns.get(Keys.UNS, {})
    kinds = ("domain", model_record(adata)[0], "coordinates", "genes", "scale")
    parameters = [pair for kind in kinds for pair in scalars(recorded.get(kind, {}), kind)]
    curves, stopped = _training(adata)
    return {
        "stability": _stability(adata, domain_key), "curves": curves, "stopped": stopped, "parameters": parameters,
    }  # fmt: skip


def _stability(adata: AnnData, domain_key: str) -> dict[str, Any] | None:
    try:
        curve = stability_curve(adata)
    except KeyError:  # the number of domains was given
        return None
    number, how = marked_number(adata, curve, domain_key)
    k = curve["n_domains"].to_numpy(float)
    lines = [(k, curve[name].to_numpy(float)) for name in ("stability", "weakest") if name in curve]
    label = "how surely domains are found again, by number of domains"
    svg = curve_svg(lines, label=label, x_label="number of domains", level=STABLE, mark=number)
    return {"svg": svg, "number": number, "how": how, "has_weakest": "weakest" in curve, "threshold": STABLE}


def _training(adata: AnnData) -> tuple[list[dict[str, Any]], str]:
    model, recorded = model_record(adata)
    try:
        history = training_history(adata, model)
    except KeyError:  # no training was recorded
        return [], ""
    runs = [run for _, run in history.groupby("run", sort=False)]
    loss, change = (
        [(run["epoch"].to_numpy(float), run[column].to_numpy(float)) for run in runs]
        for column in ("loss", "embedding_change")
    )
    curves = [{"title": "Loss", "svg": curve_svg(loss, label="loss per epoch")}]
    if (history["embedding_change"] > 0).any():
        svg = curve_svg(change, label="change of the embedding per epoch", log=True)
        curves.append({"title": "Change of the embedding", "svg": svg})
    n_epochs = recorded.get("n_epochs", history["epoch"].nunique())
    reason = _STOPPED.get(str(recorded.get("stopped")), "Training ended")
    each = f" in each of {len(runs)} runs" if len(runs) > 1 else ""
    return curves, f"{reason}, after {n_epochs} epochs{each}."
