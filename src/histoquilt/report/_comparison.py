"""Page of a comparison of conditions: proportions, neighbours, shape and markers of domains."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import condition_comparison, of_condition, patient_values
from histoquilt.metrics import FDR_LEVEL, SHAPE_MEASURES, ConditionComparison
from histoquilt.report._charts import dots_svg
from histoquilt.report._encode import finite
from histoquilt.report._facts import facts_of
from histoquilt.report._render import write_page

MAX_GENES = 300  # rows of the table of markers of a condition
_UNITS = {"area": 2, "perimeter": 1, "border_distance": 1}  # powers of the unit of length
_SHOWN = {"contrasts", "found", "condition_key", "patient_key", "patients_known", "n_sections", "n_patients", "unit"}


def write_comparison_report(
    path: str | os.PathLike[str],
    comparison: ConditionComparison | AnnData,
    *,
    facts: Mapping[str, Any] | None = None,
    title: str | None = None,
    key: str = Keys.CONDITIONS,
) -> None:
    """Write an HTML report of a comparison of conditions.

    Parameters
    ----------
    path
        Path of the file, written atomically; an existing file is replaced.
    comparison
        Result of :func:`histoquilt.tl.compare_conditions`, or the AnnData that it was written into.
    facts, title
        Contents of ``run.json``, and headline of the page.
    key
        Key in ``uns`` of the AnnData.

    Raises
    ------
    KeyError
        There is no comparison in the AnnData.
    TypeError
        ``comparison`` is of another type.

    Notes
    -----
    The table of markers holds at most 300 genes of each condition, those with the smallest p-values.

    Examples
    --------
    >>> import histoquilt as hq, os, tempfile
    >>> sections = hq.datasets.toy_conditions(n_patients=2, n_spots=200, n_genes=50, n_domains=3, seed=0)
    >>> found = hq.tl.compare_conditions(sections, domain_key="domain_true")
    >>> page = os.path.join(tempfile.mkdtemp(), "compared.html")
    >>> hq.report.write_comparison_report(page, found)
    >>> os.path.exists(page)
    True
    """
    found = condition_comparison(comparison, key)
    known = found.facts
    contrasts = [_contrast(found, row) for row in found.contrasts.to_dict("records")]
    names = ", ".join(str(contrast["condition"]) for contrast in contrasts)
    cards = [
        ("Sections", str(known["n_sections"])),
        ("Patients", str(known["n_patients"]) if known["patients_known"] else "not named"),
        ("Domains", str(found.proportions["domain"].nunique())),
        ("Compared by", str(known["condition_key"])),
    ]
    write_page(
        path,
        "_comparison.html",
        "_prediction.js",
        title=title or f"{names} against {known['reference']}",
        contrasts=contrasts,
        patients_known=bool(known["patients_known"]),
        level=FDR_LEVEL,
        unit={"um": "µm"}.get(str(known["unit"]), "spot distances"),
        facts=facts_of(cards, facts or {}, shown=_SHOWN),
    )


def _contrast(found: ConditionComparison, row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return what the page shows of one condition and its reference."""
    condition = str(row["condition"])
    tables = {name: of_condition(table, condition) for name, table in found.tables.items()}
    proportions = tables["proportions"].to_dict("records")
    shape = tables["shape"].to_dict("records")
    for one in shape:
        one["power"] = _UNITS.get(one["measure"], 0)
        one["title"] = SHAPE_MEASURES[one["measure"]]
    markers = tables["markers"].astype({"p_adjusted": float, "p": float, "p_specific": float})
    smallest = markers[["p", "p_specific"]].min(axis=1)
    return {
        **row,
        "proportions": proportions,
        "svg": _proportions_svg(found, proportions, condition, str(row["reference"])),
        "neighbours": _grid(tables["neighbours"]),
        "shape": shape,
        "markers": markers.loc[smallest.sort_values(kind="stable").index[:MAX_GENES]].to_dict("records"),
        "n_markers": len(markers),
        "found": {name: table[table["p_adjusted"] < FDR_LEVEL].to_dict("records") for name, table in tables.items()},
        "genes_by_domain": _genes_by_domain(markers, "p_adjusted"),
        "specific_by_domain": _genes_by_domain(markers, "p_specific_adjusted"),
    }


def _genes_by_domain(markers: pd.DataFrame, column: str) -> dict[str, int]:
    """Return domain -> number of genes found, of domains with some."""
    sizes = markers[markers[column] < FDR_LEVEL].groupby("domain", sort=False).size()
    return {str(domain): int(n) for domain, n in sizes.items()}


def _proportions_svg(found: ConditionComparison, tests: list[dict[Any, Any]], condition: str, reference: str) -> Any:
    """Draw two rows per domain, a faint dot per patient."""
    values = patient_values(found, "proportion")
    rows = []
    for test in tests:
        for name, kind in ((reference, "baseline"), (condition, "method")):
            is_own = (values["domain"] == str(test["domain"])) & (values["condition"] == name)
            own = values.loc[is_own, "value"].tolist()
            label = f"{test['domain']}: {name}"
            mean = float(np.mean(own))
            rows.append({"method": label, "kind": kind, "sections": own, "mean": mean, "low": np.nan, "high": np.nan})
    return dots_svg(rows, label="share of spots")


def _grid(tests: pd.DataFrame) -> dict[str, Any]:
    """Return the differences of all pairs of domains as rows of cells, with the strength of their colour."""
    domains = tests["domain"].astype(str).unique().tolist()
    top = max(float(tests["difference"].abs().max()), 0.5)
    cells = {}
    for row in tests.to_dict("records"):
        value = finite(row["difference"])
        share = 0 if value is None else round(70 * abs(value) / top)
        cell = {**row, "value": value, "share": share, "is_found": row["p_adjusted"] < FDR_LEVEL}
        cells[row["domain"], row["neighbour"]] = cells[row["neighbour"], row["domain"]] = cell
    return {"domains": domains, "rows": [[cells[one, other] for other in domains] for one in domains]}
