"""The page of an evaluation: methods beside baselines and oracles on held-out sections, in plain words."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt.draw import GENE_SETS, POOLED, gene_means, method_order, section_scores
from histoquilt.report._dots import dots_svg
from histoquilt.report._facts import told_facts
from histoquilt.report._prediction import payload, predicted_sections
from histoquilt.report._render import as_json, write_page

if TYPE_CHECKING:  # tl loads torch, which a page does not need
    from histoquilt.evaluate import Evaluation

MAX_GENES = 500  # rows of the table of genes; genes.csv has all
COLUMNS = {
    "pcc_median": "Median PCC", "pcc_mean": "Mean PCC", "spearman_mean": "Mean Spearman", "rmse": "RMSE",
    "mae": "MAE", "n_undefined": "Undefined genes",
}  # fmt: skip
RIDGES = {"ridge_plain": "single-patch ridge", "ridge": "the best ridge"}  # as in tl


def write_evaluation_report(
    path: str | os.PathLike[str],
    evaluation: "Evaluation",
    *,
    facts: Mapping[str, Any] | None = None,
    title: str = "Expression from H&E, judged on held-out tissue",
    predictions: Mapping[str, AnnData] | None = None,
) -> None:
    """Write an HTML report of how well methods predict expression, and whether they beat ridge.

    Parameters
    ----------
    path
        Path of the file, written completely or not at all. An existing file is replaced.
    evaluation
        Result of :func:`histoquilt.tl.evaluate_expression`; not changed.
    facts
        Contents of ``run.json``. Unknown entries are listed as they are.
    title
        Headline of the page.
    predictions
        Held-out section -> its prediction, as ``predict`` returns it, to be shown on the tissue next to its
        measurement.

    Raises
    ------
    TypeError
        ``evaluation`` is of another type.

    Notes
    -----
    The table of genes holds at most 500, those that any method predicts best; ``genes`` of the evaluation has all.
    """
    from histoquilt.evaluate import Evaluation
    from histoquilt.metrics import PROTOCOL

    if not isinstance(evaluation, Evaluation):
        raise TypeError(
            f"Expected what histoquilt.tl.evaluate_expression returns, got {type(evaluation).__name__}. "
            "histoquilt.report.write_prediction_report(path, sections) shows predictions alone."
        )
    known = evaluation.facts
    run = facts or {}
    methods = [name for name, kind in _kinds(evaluation).items() if kind != "oracle"]
    cards = [
        ("Sections", f"{known.get('n_sections', len(evaluation.intervals)):,}"),
        ("Spots", f"{known['n_spots']:,}" if "n_spots" in known else None),
        ("Left out", f"one {known['leave_out']} at a time" if "leave_out" in known else None),
        ("Methods", f"{len(methods)}"),
        ("Seeds", ", ".join(map(str, known.get("seeds", []))) or None),
    ]
    shown = predicted_sections(predictions) if predictions else []
    told = {"leave_out", "methods", "seeds", "protocol", "optimistic"}
    write_page(
        path,
        "_evaluation.html",
        "_prediction.js",
        title=title,
        optimistic=evaluation.optimistic,
        published=_rows(evaluation.published),
        protocol=PROTOCOL,
        leave_out=known.get("leave_out", "section"),
        folds=_folds(evaluation.folds),
        gene_sets=_gene_sets(evaluation),
        columns=COLUMNS,
        verdicts=_verdicts(evaluation),
        genes=_genes(evaluation),
        n_genes=evaluation.gene_summary["gene"].nunique() if len(evaluation.gene_summary) else 0,
        structure=_means(evaluation.structure, ["correlation"]),
        domains=_means(evaluation.domains, ["ari", "nmi"]),
        enrichment=_rows(evaluation.enrichment.sort_values("p_value").head(50)) if len(evaluation.enrichment) else [],
        unmeasured=_unmeasured(evaluation.scores),
        sections=shown,
        facts=told_facts(cards, {**run, "encoders": known.get("encoders") or None}, told=told),
        data=as_json(payload(shown)),
    )


def _kinds(evaluation: "Evaluation") -> dict[str, str]:
    kinds = evaluation.scores.groupby("method", sort=False)["kind"].first()
    return {str(name): str(kind) for name, kind in kinds.items()}


def _gene_sets(evaluation: "Evaluation") -> list[dict[str, Any]]:
    """For each set of genes the rows of its table, and its chart."""
    found = []
    for gene_set in evaluation.scores["gene_set"].unique():
        rows = section_scores(evaluation.scores, "pcc_median", gene_set)
        own = evaluation.intervals[evaluation.intervals["gene_set"] == gene_set].set_index("method")
        # seeds of a section first, so that a section counts once
        by_section: Any = rows.groupby(["method", "section"], sort=False)[list(COLUMNS)].mean()
        table = []
        for name in method_order(rows, "pcc_median"):
            interval = own.loc[name] if name in own.index else None
            values = by_section.loc[name].mean()
            table.append({
                "method": name,
                "kind": rows.loc[rows["method"] == name, "kind"].iloc[0],
                "values": {column: _number(values[column]) for column in COLUMNS},
                "mean": float(values["pcc_median"]),
                "low": np.nan if interval is None else float(interval["low"]),
                "high": np.nan if interval is None else float(interval["high"]),
                "note": "" if interval is None else str(interval["note"]),
                "sections": by_section.loc[name, "pcc_median"].tolist(),
            })  # fmt: skip
        chart = dots_svg(table, label="median correlation over genes")
        words = GENE_SETS.get(gene_set, gene_set)
        found.append({"name": gene_set, "words": words, "n_genes": _span(rows["n_genes"]), "rows": table, "svg": chart})
    return found


def _verdicts(evaluation: "Evaluation") -> list[dict[str, Any]]:
    """Every method against both ridges on the panel, in words; the better side is never left to the reader."""
    table = evaluation.differences
    table = table[table["gene_set"] == "panel"] if len(table) else table
    kinds = _kinds(evaluation)
    found = []
    for row in table.to_dict("records"):
        if kinds.get(row["method"]) == "oracle":
            continue
        beats, falls = row["ci_low"] > 0, row["difference"] <= 0
        what = "beats" if beats else "does not beat" if falls else "is not shown to beat"
        size = f"by {row['difference']:.3f}" if beats else f"difference {row['difference']:+.3f}"
        has_interval = np.isfinite(row["ci_low"]) and np.isfinite(row["ci_high"])
        interval = f"95 % CI {row['ci_low']:+.3f} to {row['ci_high']:+.3f}" if has_interval else "no interval"
        found.append({
            "method": row["method"], "kind": kinds.get(row["method"], "method"), "what": what, "beats": beats,
            "against": RIDGES.get(row["against"], row["against"]),
            "size": f"{size} ({interval}, {row['n']} folds; higher in {row['n_higher']} of {row['n_pairs']} pairs)",
            "note": row["note"],
        })  # fmt: skip
    return sorted(found, key=lambda row: row["kind"] != "method")


def _genes(evaluation: "Evaluation") -> dict[str, Any]:
    """Genes by methods, the best predicted first."""
    if evaluation.genes.empty:
        return {"methods": [], "rows": [], "total": 0}
    kinds = _kinds(evaluation)
    wide = gene_means(evaluation.genes)
    methods = [name for name in method_order(evaluation.genes, "pearson") if kinds.get(name) != "oracle"]
    methods = [name for name in methods if name in wide]
    best = wide[methods].max(axis=1).sort_values(ascending=False, kind="stable").index[:MAX_GENES]
    symbols = evaluation.genes.groupby("gene", sort=False)["symbol"].first()
    fdr = evaluation.gene_summary.pivot_table(index="gene", columns="method", values="fdr", aggfunc="first")
    rows = [
        {
            "gene": str(gene),
            "symbol": str(symbols[gene]) if pd.notna(symbols[gene]) else str(gene),
            "values": [_number(wide.loc[gene, name]) for name in methods],
            "sure": [bool(gene in fdr.index and name in fdr and fdr.loc[gene, name] < 0.05) for name in methods],
        }
        for gene in best
    ]
    return {"methods": methods, "rows": rows, "total": len(wide)}


def _means(table: pd.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    """Means over held-out sections, one row a method, best first."""
    if table.empty:
        return []
    alone = table[~table["section"].isin(POOLED)]
    means = alone.groupby(["method", "kind"], sort=False)[columns].mean().sort_values(columns[0], ascending=False)
    return [
        {"method": row["method"], "kind": row["kind"], "values": [_number(row[column]) for column in columns]}
        for row in means.reset_index().to_dict("records")
    ]


def _folds(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"fold": row["fold"], "train": ", ".join(row["train"]), "test": ", ".join(row["test"]),
         "optimistic": bool(row["optimistic"]), "n_panel": row.get("n_panel")}
        for row in table.to_dict("records")
    ]  # fmt: skip


def _unmeasured(scores: pd.DataFrame) -> int:
    return int(scores["n_unmeasured"].max()) if "n_unmeasured" in scores and len(scores) else 0


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _span(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
