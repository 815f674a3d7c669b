"""Markers that differ between conditions: counts summed per patient and domain (pseudo-bulk), moderated t-test."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from histoquilt.metrics import Contrast, compare_patients
from histoquilt.runtime import warn_user
from histoquilt.study import Study, gene_symbols
from histoquilt.tl.compare._measure import Labels, sum_counts
from histoquilt.tl.compare._tables import adjusted, labelled

MIN_COUNT = 10  # of a gene, in as many pseudo-bulks as the smaller condition has
PRIOR_COUNT = 0.5  # added to every gene before the logarithm, in proportion to depth
COLUMNS = [
    "condition", "reference", "domain", "gene", "symbol", "mean_reference", "mean_condition", "log2_fold_change", "low",
    "high", "t", "p", "p_adjusted", "p_adjusted_domain", "n_reference", "n_condition",
]  # fmt: skip


def marker_tests(
    study: Study, design: pd.DataFrame, labels: Labels, contrasts: Sequence[Contrast], min_spots: int
) -> pd.DataFrame:
    """Return the table ``markers`` of :class:`histoquilt.metrics.ConditionComparison`; empty without raw counts.

    ``design`` has the columns ``patient`` and ``condition``, indexed by section.
    """
    try:
        genes = study.shared_genes()
        sums = {
            name: sum_counts(study[name], codes, genes, len(labels.domains)) for name, codes in labels.codes.items()
        }
    except ValueError as error:
        warn_user(f"Markers are left out, since they need raw counts of the same genes: {error}")
        return pd.DataFrame(columns=COLUMNS)
    first = next(iter(study.values())).owner
    symbols = dict(zip(map(str, first.var_names), map(str, gene_symbols(first)), strict=True))
    by_patient = design.groupby(["patient", "condition"], sort=False).groups
    bulks = {key: np.sum([sums[name] for name in names], axis=0) for key, names in by_patient.items()}
    n_spots = {key: labels.counts.loc[names].sum() for key, names in by_patient.items()}
    tables = []
    for contrast in contrasts:
        of_domains = []
        for number, domain in enumerate(labels.domains):
            counts = pd.DataFrame(
                {key: bulk[number] for key, bulk in bulks.items() if n_spots[key][domain] >= min_spots}, index=genes
            ).T
            table = _of_domain(counts, contrast)
            table = table.assign(domain=domain, p_adjusted_domain=adjusted(table["p"]))
            of_domains.append(table.sort_values("p", kind="stable"))
        table = pd.concat(of_domains).rename_axis("gene").reset_index()
        tables.append(labelled(table.assign(p_adjusted=adjusted(table["p"])), contrast))
    found = pd.concat(tables, ignore_index=True).rename(columns={"difference": "log2_fold_change"})
    return found.assign(symbol=found["gene"].map(symbols))[COLUMNS]


def _of_domain(counts: pd.DataFrame, contrast: Contrast) -> pd.DataFrame:
    """Test the genes of one domain that have enough counts; ``counts`` are ``(n_pseudo_bulks, n_genes)``."""
    wanted = [(patient, contrast.condition) for patient in contrast.patients]
    wanted += [(patient, contrast.reference) for patient in contrast.reference_patients]
    counts = counts.loc[[key for key in wanted if key in counts.index]]
    n_smaller = max(1, min(len(contrast.patients), len(contrast.reference_patients)))
    kept = counts.loc[:, (counts >= MIN_COUNT).sum() >= n_smaller]
    return compare_patients(_log_cpm(kept, counts.sum(axis=1)), contrast, moderated=True)


def _log_cpm(counts: pd.DataFrame, depth: pd.Series) -> pd.DataFrame:
    """Return log2 of counts per million, with a prior count in proportion to depth."""
    prior = PRIOR_COUNT * depth / depth.mean()
    return (counts.add(prior, axis=0).div(depth + 2 * prior, axis=0) * 1e6).apply(np.log2)
