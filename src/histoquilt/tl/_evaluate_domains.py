"""Agreement of the domains of predicted expression, of measured expression and of the image alone with labels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, argument
from histoquilt.evaluate import EvaluationStudy, Fold, Run
from histoquilt.metrics import NO_REGION, ari, named_regions, nmi
from histoquilt.runtime import Advance, warn_user
from histoquilt.study import declare_scale, ordinary_zeros
from histoquilt.tl._domains import spatial_domains

COLUMNS = ["fold", "section", "method", "kind", "seed", "n_domains", "n_labelled", "ari", "nmi"]


def labelled_sections(
    sections: Mapping[str, AnnData], label_key: str, unlabelled: Sequence[str] = NO_REGION
) -> dict[str, pd.Series]:
    """Return the labels of the sections that have some; spots without a label are missing values.

    Parameters
    ----------
    sections, label_key
        Sections, and the column of ``obs`` with the labels.
    unlabelled
        Labels that do not name a region, case-insensitive.

    Raises
    ------
    KeyError
        No section has the column.
    ValueError
        No section has two different labels.

    Examples
    --------
    >>> import histoquilt as hq
    >>> sections = hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=3, n_sections=2, seed=0)
    >>> labels = hq.tl.labelled_sections(hq.io.split_sections(sections), "domain_true")
    >>> {name: len(column) for name, column in labels.items()}
    {'s1': 60, 's2': 60}
    """
    columns = {name: adata.obs[label_key] for name, adata in sections.items() if label_key in adata.obs}
    if not columns:
        found = sorted({str(column) for adata in sections.values() for column in adata.obs.columns})
        key = argument("label_key", label_key)
        raise KeyError(f"{key} is in obs of no section (found: {', '.join(map(repr, found))}).")
    regions = {name: pd.Series(named_regions(column, unlabelled)) for name, column in columns.items()}
    labels = {name: own for name, own in regions.items() if len(set(own.dropna())) > 1}
    if not labels:
        raise ValueError(f"obs[{label_key!r}] does not distinguish two regions in any section. Name another column.")
    return labels


def domain_table(
    study: EvaluationStudy, folds: Sequence[Fold], labels: dict[str, pd.Series], advance: Advance
) -> tuple[pd.DataFrame, dict[str, dict[str, np.ndarray]]]:
    """Find domains of predicted and measured expression, and of the image alone; compare them with labels.

    The image (``image_only``) is described by the embeddings from which the models predict. Domains of predicted
    expression that agree no better with the labels than these gain nothing from the prediction.

    Returns
    -------
    Table of scores; and section -> method -> domain of each spot, of the first seed and fold.
    """
    rows = []
    domains: dict[str, dict[str, np.ndarray]] = {}
    for fold in folds:
        for section in (name for name in fold.split.test if name in labels):
            truth = labels[section]
            k = truth.nunique()
            for run, table in _tables(fold, section):
                advance(0, note=f"domains of {section}: {run.label}")
                found = _domains(study, section, table, k, run)
                if found is not None:
                    domains.setdefault(section, {}).setdefault(run.label, found)
                agreement = (0.0, 0.0) if found is None else (ari(truth, found), nmi(truth, found))
                n_labelled = int(truth.notna().sum())
                rows.append((fold.split.fold, section, run.label, run.kind, run.seed, k, n_labelled, *agreement))
                advance(1)
    return pd.DataFrame(rows, columns=COLUMNS), domains


def n_domain_runs(folds: Sequence[Fold], labels: dict[str, pd.Series]) -> int:
    """Return the number of runs of :func:`spatial_domains`."""
    return sum(1 for fold in folds for name in fold.split.test if name in labels for _ in _tables(fold, name))


def _tables(fold: Fold, section: str) -> Iterator[tuple[Run, pd.DataFrame | None]]:
    """Yield runs with the expression of a section; None for the image alone."""
    for run, of_run in fold.predicted.items():
        if run.kind != "oracle":
            yield run, of_run[section]
    seed = next(iter(fold.predicted)).seed
    yield Run("image_only", "baseline", seed), None
    yield Run("measured", "oracle", seed), fold.truth[section]


def _domains(study: EvaluationStudy, section: str, table: pd.DataFrame | None, k: int, run: Run) -> np.ndarray | None:
    """Return domains; None if they cannot be found, or the prediction is the same for all spots."""
    places = {Keys.SPATIAL: study.study[section].microns}
    options: dict[str, Any] = {"denoise": False}
    if table is None:
        adata = AnnData(obsm=places | dict(zip(study.reps, study.study[section].embeddings(study.reps), strict=True)))
        options |= {"image": "only", "image_key": study.reps}
    else:
        values = table.to_numpy(dtype=np.float32)
        if not (np.ptp(values, axis=0) > 1e-6 * np.abs(values).max(initial=1.0)).any():
            return None
        adata = AnnData(csr_matrix(values), obsm=places)
        adata.var_names = [str(gene) for gene in table.columns]
        declare_scale(adata, "X", "log1p_cp10k")
    try:
        with ordinary_zeros():
            spatial_domains(adata, k, **options, seed=run.seed, device="cpu", progress=False)
    except ValueError as error:
        warn_user(f"{run.label} on {section}: its {k} domains could not be found and agree with no label. {error}")
        return None
    return adata.obs[Keys.DOMAIN].astype(str).to_numpy()
