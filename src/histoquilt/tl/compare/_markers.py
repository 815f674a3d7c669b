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
    "high", "t", "p", "p_adjusted", "p_adjusted_domain", "specific_fold_change", "p_specific", "p_specific_adjusted",
    "n_reference", "n_condition",
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
    bulks = {}
    for key, names in design.groupby(["patient", "condition"], sort=False).groups.items():
        is_small = labels.counts.loc[names].sum().to_numpy() < min_spots
        bulks[key] = np.where(is_small[:, None], np.nan, np.sum([sums[name] for name in names], axis=0))
    tables = []
    for contrast in contrasts:
        keys = [(patient, contrast.condition) for patient in contrast.patients]
        keys += [(patient, contrast.reference) for patient in contrast.reference_patients]
        index = pd.MultiIndex.from_tuples(keys)
        by_domain = [
            pd.DataFrame([bulks[key][number] for key in keys], index=index, columns=genes)
            for number in range(len(labels.domains))
        ]
        of_domains = []
        for number, domain in enumerate(labels.domains):
            table = _of_domain(by_domain, number, contrast)
            table = table.assign(domain=domain, p_adjusted_domain=adjusted(table["p"]))
            of_domains.append(table.sort_values("p", kind="stable"))
        table = pd.concat(of_domains).rename_axis("gene").reset_index()
        table = table.assign(p_adjusted=adjusted(table["p"]), p_specific_adjusted=adjusted(table["p_specific"]))
        tables.append(labelled(table, contrast))
    found = pd.concat(tables, ignore_index=True).rename(columns={"difference": "log2_fold_change"})
    return found.assign(symbol=found["gene"].map(symbols))[COLUMNS]


def _of_domain(by_domain: Sequence[pd.DataFrame], number: int, contrast: Contrast) -> pd.DataFrame:
    """Test the genes of one domain that have enough counts, and how they change relative to the other domains.

    ``by_domain`` are counts ``(n_pseudo_bulks, n_genes)`` of each domain, NaN where a patient has too few spots.
    """
    n_smaller = max(1, min(len(contrast.patients), len(contrast.reference_patients)))
    kept = (by_domain[number] >= MIN_COUNT).sum() >= n_smaller
    logs = [_log_cpm(counts.loc[:, kept], counts.sum(axis=1, min_count=1)) for counts in by_domain]
    level = logs.pop(number)
    # every domain counts the same: in a sum of counts, a domain that grows would change all genes
    elsewhere = sum(log.fillna(0.0) for log in logs) / sum(log.notna() for log in logs)
    table = compare_patients(level, contrast, moderated=True)
    specific = compare_patients(level - elsewhere, contrast, moderated=True)
    return table.assign(specific_fold_change=specific["difference"], p_specific=specific["p"])


def _log_cpm(counts: pd.DataFrame, depth: pd.Series) -> pd.DataFrame:
    """Return log2 of counts per million, with a prior count in proportion to depth.

    The median gene is as in the mean over pseudo-bulks, so that a few genes that change do not move all others (median
    of ratios; Anders and Huber 2010).
    """
    prior = PRIOR_COUNT * depth / depth.mean()
    log = (counts.add(prior, axis=0).div(depth + 2 * prior, axis=0) * 1e6).apply(np.log2)
    return log.sub((log - log.mean()).median(axis=1), axis=0)
