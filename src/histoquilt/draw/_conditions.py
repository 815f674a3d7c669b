"""Comparison of conditions: as recorded, and the values of its patients."""

import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, MissingKey, listed
from histoquilt.metrics import ConditionComparison


def condition_comparison(given: ConditionComparison | AnnData, key: str = Keys.CONDITIONS) -> ConditionComparison:
    """Return a comparison of conditions, read from ``uns[key]`` if an AnnData is given.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import condition_comparison
    >>> parts = ("proportions", "neighbours", "shape", "markers", "values", "contrasts")
    >>> recorded = {**{part: pd.DataFrame() for part in parts}, "facts": {"reference": "control"}}
    >>> condition_comparison(AnnData(uns={"domain_conditions": recorded}), "domain_conditions").facts
    {'reference': 'control'}
    """
    if isinstance(given, ConditionComparison):
        return given
    if not isinstance(given, AnnData):
        raise TypeError(f"Expected a ConditionComparison or an AnnData, got {type(given).__name__}.")
    if key not in given.uns:
        raise MissingKey(key, "adata.uns", given.uns, "Make it with histoquilt.tl.compare_conditions(adata).")
    return ConditionComparison(**given.uns[key])


def compared_with(comparison: ConditionComparison, condition: str | None) -> tuple[str, str]:
    """Return a condition, by default the first, and its reference; raise ``KeyError`` if it was not compared.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.draw import compared_with
    >>> from histoquilt.metrics import ConditionComparison
    >>> none, contrasts = pd.DataFrame(), pd.DataFrame({"condition": ["early", "late"]})
    >>> comparison = ConditionComparison(none, none, none, none, none, contrasts, {"reference": "control"})
    >>> compared_with(comparison, None), compared_with(comparison, "late")
    (('early', 'control'), ('late', 'control'))
    """
    names = comparison.contrasts["condition"].astype(str).tolist()
    condition = names[0] if condition is None else str(condition)
    if condition not in names:
        raise KeyError(f"The condition {condition!r} was not compared (found: {listed(names)}).")
    return condition, str(comparison.facts["reference"])


def of_condition(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Return the rows of a table of tests for one condition, numbered from 0.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.draw import of_condition
    >>> table = pd.DataFrame({"condition": ["early", "late", "late"], "domain": ["1", "1", "2"]})
    >>> of_condition(table, "late")["domain"].to_dict()
    {0: '1', 1: '2'}
    """
    return table[table["condition"].astype(str) == condition].reset_index(drop=True)


def patient_values(comparison: ConditionComparison, measure: str) -> pd.DataFrame:
    """Return ``domain, condition, patient, value``, means over the sections of a patient, in the order of domains.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.draw import patient_values
    >>> from histoquilt.metrics import ConditionComparison
    >>> none = pd.DataFrame()
    >>> values = pd.DataFrame({
    ...     "section": ["s1", "s2"], "patient": "p1", "condition": "late", "measure": "proportion", "domain": "1",
    ...     "value": [0.2, 0.4],
    ... })
    >>> comparison = ConditionComparison(none, none, none, none, values, none)
    >>> patient_values(comparison, "proportion").round(3).values.tolist()
    [['1', 'late', 'p1', 0.3]]
    """
    table = comparison.values  # noqa: PD011
    rows = table[table["measure"].astype(str) == measure]
    keys = ["domain", "condition", "patient"]
    return rows.astype(dict.fromkeys(keys, str)).groupby(keys, sort=False)["value"].mean().reset_index()
