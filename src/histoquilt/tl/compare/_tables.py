"""Tables of tests and of what was tested."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from histoquilt.metrics import Contrast, compare_patients, patient_means


def contrast_table(
    values: pd.DataFrame, contrasts: Sequence[Contrast], shown: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Test all columns in every contrast (:func:`compare_patients`); p-values are corrected within each.

    The means are those of ``shown`` if given, and columns that are zero in both conditions are left out.
    """
    tables = []
    for contrast in contrasts:
        table = compare_patients(values, contrast)
        if shown is not None:
            own, other = patient_means(shown, contrast)
            table = table.assign(mean_reference=other.mean(axis=0), mean_condition=own.mean(axis=0))
            table = table[table[["mean_reference", "mean_condition"]].sum(axis=1) > 0]
        tables.append(labelled(table.assign(p_adjusted=adjusted(table["p"])).reset_index(), contrast))
    return pd.concat(tables, ignore_index=True)


def labelled(table: pd.DataFrame, contrast: Contrast) -> pd.DataFrame:
    """Return a table with the two conditions as its first columns."""
    table.insert(0, "condition", contrast.condition)
    table.insert(1, "reference", contrast.reference)
    return table


def adjusted(p: pd.Series) -> np.ndarray:
    """Return p-values corrected by Benjamini and Hochberg; missing ones do not count."""
    values = p.to_numpy(np.float64)
    tested = np.isfinite(values)
    found = np.full(len(values), np.nan)
    if tested.any():
        found[tested] = false_discovery_control(values[tested])
    return found


def tidy_values(measured: Mapping[str | None, pd.DataFrame], design: pd.DataFrame) -> pd.DataFrame:
    """Return ``section, patient, condition, measure, domain, neighbour, value``, one row per section and quantity.

    ``measured`` are tables ``(n_sections, n_quantities)`` by measure, or None if their columns name the measure.
    """
    parts = []
    for measure, table in measured.items():
        long = table.rename_axis("section").melt(ignore_index=False).reset_index()
        long = long if measure is None else long.assign(measure=measure)
        parts.append(long if "neighbour" in long else long.assign(neighbour=""))
    values = pd.concat([part for part in parts if len(part)], ignore_index=True).dropna(subset="value")
    values = values.join(design[["patient", "condition"]], on="section")
    return values[["section", "patient", "condition", "measure", "domain", "neighbour", "value"]].reset_index(drop=True)
