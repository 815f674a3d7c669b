"""Result of a comparison of conditions: tables and facts."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from histoquilt.metrics.conditions._contrast import FDR_LEVEL

SHAPE_MEASURES = {
    "area": "area", "perimeter": "perimeter", "elongation": "elongation", "n_pieces": "pieces",
    "border_distance": "distance to the tissue border",
}  # fmt: skip


@dataclass(frozen=True)
class ConditionComparison:
    """What differs between conditions, tested between patients (:func:`histoquilt.tl.compare_conditions`).

    The tables ``proportions``, ``neighbours`` and ``shape`` have one row per condition (with the ``reference`` it is
    compared with) and quantity, and the columns ``mean_reference, mean_condition`` (means over patients),
    ``difference`` (log2), ``low, high`` (95 % confidence interval), ``t, p, p_permutation, p_adjusted, n_reference,
    n_condition`` (patients). ``p_adjusted`` is corrected over the rows of a condition (Benjamini-Hochberg); it is NaN
    where there are too few patients.

    Attributes
    ----------
    proportions
        By ``domain``. Means are shares of the spots (0 to 1), the difference is that of centred log-ratios.
    neighbours
        By ``domain`` and ``neighbour``. Means are log2 of observed over expected links.
    shape
        By ``domain`` and ``measure``: ``area``, ``perimeter``, ``elongation``, ``n_pieces``, ``border_distance``.
        Means are geometric, in units of ``facts["unit"]`` and their squares. Empty without shapely.
    markers
        By ``domain`` and ``gene``, sorted by p within each domain: ``condition, reference, domain, gene, symbol,
        mean_reference, mean_condition`` (log2 CPM), ``log2_fold_change, low, high, t, p, p_adjusted`` (over all genes
        of all domains of a condition), ``p_adjusted_domain`` (over the genes of the domain, for a domain that was
        chosen beforehand), ``specific_fold_change, p_specific, p_specific_adjusted`` (change relative to the other
        domains of the same patient), ``n_reference, n_condition``. Empty without raw counts.
    values
        Compared values: one row per section and quantity, ``section, patient, condition, measure`` (``proportion``,
        ``log_ratio``, ``enrichment``, or one of shape), ``domain, neighbour, value``.
    contrasts
        One row per condition: ``condition, reference, paired, n_condition, n_reference, left_out, smallest_p, note``.
        ``smallest_p`` is the smallest p-value that a permutation of these patients can give; ``note`` says if there
        are too few of them.
    facts
        Plain values: ``condition_key, patient_key, domain_key, reference, unit`` (``um``, or ``pitch`` if microns are
        not known for all sections), ``patients_known, n_sections, n_patients, version``.

    Examples
    --------
    >>> import histoquilt as hq
    >>> sections = hq.datasets.toy_conditions(n_patients=4, n_spots=100, n_genes=30, n_domains=3, seed=0)
    >>> comparison = hq.tl.compare_conditions(sections, domain_key="domain_true")
    >>> comparison.contrasts[["condition", "reference", "n_condition"]].values.tolist()
    [['treated', 'control', 4]]
    >>> len(comparison.proportions), comparison.facts["n_patients"]  # one row per domain
    (3, 8)
    """

    proportions: pd.DataFrame
    neighbours: pd.DataFrame
    shape: pd.DataFrame
    markers: pd.DataFrame
    values: pd.DataFrame
    contrasts: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)

    def found(self, level: float = FDR_LEVEL) -> dict[str, int]:
        """Return the number of differences of each table at a false discovery rate."""
        return {name: int((table["p_adjusted"] < level).sum()) for name, table in self.tables.items()}

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables of tests by name: ``proportions``, ``neighbours``, ``shape``, ``markers``."""
        return {name: getattr(self, name) for name in ("proportions", "neighbours", "shape", "markers")}
