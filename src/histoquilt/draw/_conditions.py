"""Comparison of conditions: as recorded, and the values of its patients."""

import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, MissingKey, listed
from histoquilt.metrics import ConditionComparison


def condition_comparison(given: ConditionComparison | AnnData, key: str = Keys.CONDITIONS) -> ConditionComparison:
    """Return a comparison of conditions, read from ``uns[key]`` if an AnnData is given."""
    if isinstance(given, ConditionComparison):
        return given
    if not isinstance(given, AnnData):
        raise TypeError(f"Expected a ConditionComparison or an AnnData, got {type(given).__name__}.")
    if key not in given.uns:
        raise MissingKey(key, "adata.uns", given.uns, "Make it with histoquilt.tl.compare_conditions(adata).")
    return ConditionComparison(**given.uns[key])


def compared_with(comparison: ConditionComparison, condition: str | None) -> tuple[str, str]:
    """Return a condition, by default the first, and its reference; raise ``KeyError`` if it was not compared."""
    names = comparison.contrasts["condition"].astype(str).tolist()
    condition = names[0] if condition is None else str(condition)
    if condition not in names:
        raise KeyError(f"The condition {condition!r} was not compared (found: {listed(names)}).")
    return condition, str(comparison.facts["reference"])


def of_condition(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Return the rows of a table of tests for one condition, numbered from 0."""
    return table[table["condition"].astype(str) == condition].reset_index(drop=True)


def patient_values(comparison: ConditionComparison, measure: str) -> pd.DataFrame:
    """Return ``domain, condition, patient, value``, means over the sections of a patient, in the order of domains."""
    table = comparison.values  # noqa: PD011
    rows = table[table["measure"].astype(str) == measure]
    keys = ["domain", "condition", "patient"]
    return rows.astype(dict.fromkeys(keys, str)).groupby(keys, sort=False)["value"].mean().reset_index()
