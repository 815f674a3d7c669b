"""Page of an evaluation: methods, baselines and oracles on held-out sections."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import (
    GENE_SETS,
    POOLED,
    THIRDS,
    as_categories,
    domain_colors,
    gene_means,
    section_scores,
)
from histoquilt.report._annotation import ShownAnnotation
from histoquilt.report._charts import dots_svg
from histoquilt.report._encode import browser_colors, finite, packed
from histoquilt.report._facts import facts_of, span
from histoquilt.report._prediction import describe_predictions, predictions_json
from histoquilt.report._render import write_page

if TYPE_CHECKING:  # evaluate loads torch, which a page does not need
    from histoquilt.evaluate import Evaluation

MAX_GENES = 500  # rows of the table of genes
COLUMNS = {
    "pcc_median": "Median PCC", "pcc_median_adjusted": "At equal depth", "deviance_median": "Deviance explained",
    "deviance_above_0": "Genes above 0", "pcc_mean": "Mean PCC", "spearman_mean": "Mean Spearman", "rmse": "RMSE",
    "mae": "MAE", "n_undefined": "Undefined genes",
}  # fmt: skip
LABELS = {"pcc_median": "median correlation", "pcc_median_adjusted": "median correlation at equal depth"}
RIDGES = {"ridge_plain": "single-patch ridge", "ridge": "the best ridge"}
_SHOWN = {
    "leave_out",
    "methods",
    "seeds",
    "protocol",
    "optimistic",
    "unlabelled",
}  # entries of run.json shown elsewhere


def write_evaluation_report(
    path: str | os.PathLike[str],
    evaluation: "Evaluation",
    *,
    facts: Mapping[str, Any] | None = None,
    title: str = "Expression from H&E, judged on held-out tissue",
    predictions: Mapping[str, AnnData] | None = None,
) -> None:
    """Write an HTML report of the evaluation of methods, and whether they beat ridge.

    Parameters
    ----------
    path
        Path of the file, written atomically; an existing file is replaced.
    evaluation
        Result of :func:`histoquilt.tl.evaluate_expression`; not changed.
    facts, title
        Contents of ``run.json``, and headline of the page.
    predictions
        Held-out section -> its prediction, as ``predict`` returns it, shown next to the measurement.

    Raises
    ------
    TypeError
        ``evaluation`` is of another type.

    Notes
    -----
    The table of genes holds at most 500, the best predicted by any method; ``genes`` of the evaluation has all.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> judged = hq.tl.evaluate_expression(study, ["ridge"], use_rep="X_image", leave_out="section")  # doctest: +SKIP
    >>> hq.report.write_evaluation_report("evaluation.html", judged)  # doctest: +SKIP
    """
    from histoquilt.evaluate import Evaluation
    from histoquilt.metrics import PROTOCOL

    if not isinstance(evaluation, Evaluation):
        raise TypeError(
            f"Expected what histoquilt.tl.evaluate_expression returns, got {type(evaluation).__name__}. "
            "histoquilt.report.write_prediction_report(path, sections) shows predictions alone."
        )
    known, scores, enrichment = evaluation.facts, evaluation.scores, evaluation.enrichment
    kinds = scores.groupby("method", sort=False)["kind"].first().to_dict()
    order = [str(name) for name in evaluation.summary().index]  # of all tables: best first, oracles last
    cards = [
        ("Sections", f"{known.get('n_sections', len(evaluation.intervals)):,}"),
        ("Spots", f"{known['n_spots']:,}" if "n_spots" in known else None),
        ("Left out", _left_out(known.get("leave_out"))),
        ("Methods", str(sum(kind != "oracle" for kind in kinds.values()))),
        ("Seeds", ", ".join(map(str, known.get("seeds", []))) or None),
    ]
    sections = describe_predictions(predictions) if predictions else []
    for section in sections:
        section["labelings"] = _labelings((predictions or {})[section["name"]], section, known)
    run = {**(facts or {}), "encoders": known.get("encoders") or None}
    write_page(
        path,
        "_evaluation.html",
        "_explorer.js",
        "_prediction.js",
        title=title,
        optimistic=evaluation.optimistic,
        published=_in_order(evaluation.published, order).to_dict("records"),
        protocol=PROTOCOL,
        hest=_hest(evaluation.hest, order),
        leave_out=known.get("leave_out", "section"),
        folds=_folds(evaluation.folds),
        gene_sets=_gene_sets(evaluation, order),
        levels=_levels(evaluation, order),
        columns=COLUMNS,
        by_depth=evaluation.decided_by != "pcc_median",
        unadjusted=_unadjusted(scores),
        verdicts=sorted(
            _verdicts(evaluation.differences, kinds, evaluation.decided_by), key=lambda row: order.index(row["method"])
        ),
        stacks=_stacks(known),
        genes=_genes(evaluation, [name for name in order if kinds[name] != "oracle"]),
        structure=_means(evaluation.structure, ["correlation"], order),
        domains=_means(evaluation.domains, ["ari", "nmi"], order),
        enrichment=[] if enrichment.empty else enrichment.sort_values("p_value").head(50).to_dict("records"),
        unmeasured=int(scores["n_unmeasured"].max()) if "n_unmeasured" in scores and len(scores) else 0,
        sections=sections,
        facts=facts_of(cards, run, shown=_SHOWN),
        data=predictions_json(sections, path),
    )


def _stacks(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the members of every stack in every fold, with weights and scores on inner folds."""
    rows = []
    for method, of_folds in facts.get("chosen", {}).items():
        for fold, chosen in of_folds.items():
            for member, weight in chosen.get("weights", {}).items():
                row = {"method": method, "fold": fold, "member": member, "weight": weight}
                row |= {name: chosen[name] for name in ("validated", "at_equal_depth")}
                rows.append({**row, "inner": chosen["inner_scores"][member]})
    return rows


def _labelings(adata: AnnData, section: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return domains of the shown method, of the image and of the measurement, each compared with the labels."""
    key = facts.get("label_key")
    if key is None or key not in adata.obs:
        return []
    annotation = ShownAnnotation(adata, key, unlabelled=facts["unlabelled"])
    titles = {
        section["method"]: f"Domains of the expression predicted by {section['method']}, and the labels",
        "image_only": "Domains of the image alone, and the labels",
        "measured": "Domains of the measured expression, and the labels",
    }
    labelings = []
    for method, title in titles.items():
        column = f"{Keys.DOMAIN}_{method}"
        if column not in adata.obs:  # domains could not be found
            continue
        domains = as_categories(adata, column)
        compared = annotation.compared(domains)
        shown = [{"name": name, "color": color} for name, color in browser_colors(domain_colors(adata, column)).items()]
        drawn = {
            "domains": shown, "annotation": {name: compared[name] for name in ("colors", "stands_for")},
            "codes": packed(np.where(domains.codes < 0, len(shown), domains.codes)[section["rows"]], "u2"),
            "regions": annotation.spots(section["rows"]),
        }  # fmt: skip
        labelings.append({"title": title, "annotation": compared, "domains": shown, "drawn": drawn})
    return labelings


def _gene_sets(evaluation: "Evaluation", order: list[str]) -> list[dict[str, Any]]:
    """Return the table and the chart of each set of genes, thirds by expression apart."""
    shown, value = [], evaluation.decided_by
    sets = [name for name in GENE_SETS if name not in THIRDS and name in set(evaluation.scores["gene_set"])]
    for gene_set in sets:
        rows = section_scores(evaluation.scores, value, gene_set)
        intervals: Any = evaluation.intervals.query("gene_set == @gene_set and value == @value").set_index("method")
        intervals = intervals.reindex(columns=["low", "high", "note"])
        # mean over the seeds of a section first, so that a section counts once
        by_section: Any = rows.groupby(["method", "section"], sort=False)[list(COLUMNS)].mean()
        table = []
        for name in [name for name in order if name in by_section.index.get_level_values(0)]:
            low, high, note = intervals.loc[name] if name in intervals.index else (np.nan, np.nan, "")
            values = by_section.loc[name].mean()
            table.append({
                "method": name,
                "kind": rows.loc[rows["method"] == name, "kind"].iloc[0],
                "values": {column: finite(values[column]) for column in COLUMNS},
                "mean": float(values[value]),
                "low": float(low), "high": float(high), "note": str(note),
                "sections": by_section.loc[name, value].dropna().tolist(),
            })  # fmt: skip
        notes = pd.Series([row["note"] for row in table]).value_counts()
        where = "of your list" if gene_set == "markers" else "chosen on training sections"
        shown.append({
            "words": GENE_SETS[gene_set], "genes": f"{span(rows['n_genes'])} genes, {where}", "rows": table,
            "note": str(notes.index[0]),  # of most rows, said once
            "svg": dots_svg(table, label=f"{LABELS[value]} over genes"),
        })  # fmt: skip
    return shown


def _levels(evaluation: "Evaluation", order: list[str]) -> dict[str, Any]:
    """Return median scores by thirds of expression, one row per method."""
    values = ["pcc_median", "pcc_median_adjusted", "deviance_median"]
    means = evaluation.intervals.pivot_table(
        index="method", columns=["gene_set", "value"], values="mean", sort=False, dropna=False
    )
    thirds = [name for name in THIRDS if name in means.columns.get_level_values(0)]
    kinds = evaluation.intervals.groupby("method", sort=False)["kind"].first()
    rows = [
        {"method": name, "kind": kinds[name],
         "values": [finite(means.loc[name].get((third, value))) for third in thirds for value in values]}
        for name in order
    ]  # fmt: skip
    return {"thirds": [THIRDS[third] for third in thirds], "rows": rows}


def _unadjusted(scores: pd.DataFrame) -> list[str]:
    """Return names of sections without raw counts."""
    alone = scores[~scores["section"].isin(POOLED)]
    return alone.loc[alone["pcc_median_adjusted"].isna(), "section"].drop_duplicates().tolist()


def _verdicts(table: pd.DataFrame, kinds: Mapping[Any, str], decided_by: str) -> list[dict[str, Any]]:
    """Compare each method with both ridges on the panel, in words."""
    table = table[table["gene_set"] == "panel"] if len(table) else table
    raw = table[table["value"] == "pcc_median"].set_index(["method", "against"])["difference"]
    verdicts = []
    for row in table[table["value"] == decided_by].to_dict("records"):
        if kinds.get(row["method"]) == "oracle":
            continue
        beats, falls = row["ci_low"] > 0, row["difference"] <= 0
        what = "beats" if beats else "does not beat" if falls else "is not shown to beat"
        size = f"by {row['difference']:.3f}" if beats else f"difference {row['difference']:+.3f}"
        has_interval = np.isfinite(row["ci_low"]) and np.isfinite(row["ci_high"])
        interval = f"95 % CI {row['ci_low']:+.3f} to {row['ci_high']:+.3f}" if has_interval else "no interval"
        verdicts.append({
            "method": row["method"], "kind": kinds.get(row["method"], "method"), "what": what, "beats": beats,
            "against": RIDGES.get(row["against"], row["against"]),
            "size": f"{size} ({interval}, {row['n']} folds; higher in {row['n_higher']} of {row['n_pairs']} pairs; raw "
            f"difference {raw.get((row['method'], row['against']), np.nan):+.3f})",
        })  # fmt: skip
    return verdicts


def _genes(evaluation: "Evaluation", order: list[str]) -> dict[str, Any]:
    """Return the scores of genes by methods, raw and at equal depth, the best predicted first."""
    if evaluation.genes.empty:
        return {"methods": [], "rows": [], "total": 0}
    raw = gene_means(evaluation.genes)
    decides = "pearson" if evaluation.decided_by == "pcc_median" else "pearson_adjusted"
    wide = gene_means(evaluation.genes, decides)
    methods = [name for name in order if name in wide]
    best = wide[methods].max(axis=1).sort_values(ascending=False, kind="stable").index[:MAX_GENES]
    symbols = evaluation.genes.groupby("gene", sort=False)["symbol"].first()
    tested = "fdr" if decides == "pearson" else "fdr_adjusted"
    fdr = evaluation.gene_summary.pivot_table(index="gene", columns="method", values=tested, aggfunc="first")
    rows = [
        {
            "gene": str(gene),
            "symbol": str(symbols[gene]) if pd.notna(symbols[gene]) else str(gene),
            "values": [finite(wide.loc[gene, name]) for name in methods],
            "raw": [finite(raw.loc[gene, name]) for name in methods],
            "sure": [bool(gene in fdr.index and name in fdr and fdr.loc[gene, name] < 0.05) for name in methods],
        }
        for gene in best
    ]
    return {"methods": methods, "rows": rows, "total": len(wide)}


def _left_out(what: str | None) -> str | None:
    if what is None:
        return None
    return "folds of a file" if what == "own splits" else f"one {what} at a time"


def _in_order(table: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    """Sort rows by their method; those of methods without a score come last."""
    if table.empty:
        return table
    places = {name: place for place, name in enumerate(order)}
    return table.sort_values("method", key=lambda names: names.map(places), kind="stable")


def _means(table: pd.DataFrame, columns: list[str], order: list[str]) -> list[dict[str, Any]]:
    """Return means over held-out sections, one row per method."""
    if table.empty:
        return []
    alone = table[~table["section"].isin(POOLED)]
    means = alone.groupby(["method", "kind"], sort=False)[columns].mean()
    means = _in_order(means.reset_index(), order).set_index(["method", "kind"])
    rows = zip(means.index, means.to_numpy(), strict=True)
    return [{"method": method, "kind": kind, "values": [finite(v) for v in values]} for (method, kind), values in rows]


def _hest(table: pd.DataFrame, order: list[str]) -> list[dict[str, Any]]:
    """Return the scores of HEST-Bench as means over folds and seeds, its probe first."""
    if table.empty:
        return []
    columns = ["pcc_mean", "pcc_mean_defined", "pcc_mean_adjusted"]
    rows = [
        {"method": method, "kind": kind, "values": [finite(part[column].mean(skipna=False)) for column in columns]}
        for (method, kind), part in table.groupby(["method", "kind"], sort=False)
    ]
    return sorted(rows, key=lambda row: ["hest_probe", *order, row["method"]].index(row["method"]))


def _folds(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {"fold": row["fold"], "train": ", ".join(row["train"]), "test": ", ".join(row["test"]),
         "optimistic": bool(row["optimistic"])}
        for row in table.to_dict("records")
    ]  # fmt: skip
