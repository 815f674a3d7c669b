"""Sections of an evaluation: checked before training, with and without their measured expression."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, MissingKey, argument, is_at_a_command, listed
from histoquilt.evaluate._leaks import check_sections
from histoquilt.models import Measured, embedding_keys, measure
from histoquilt.runtime import warn_user
from histoquilt.study import DEFAULT_SLOTS, Section, Sections, Slots, Study, named_layers
from histoquilt.train import Split, check_split, leave_one_out, section_groups


@dataclass(frozen=True)
class EvaluationStudy:
    """A study with folds, and its sections as models see them in training and in prediction.

    Attributes
    ----------
    study
        Sections as the user gave them; never changed.
    splits
        Folds, checked for leaks.
    reps
        Embedding keys.
    seen, hidden
        Sections as training sees them, with expression and one name for patients that share a slide; and as prediction
        sees them, with embeddings and coordinates only.
    markers
        Genes of the user's list, as they are named in all sections.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import read_evaluation_study
    >>> from histoquilt.study import Slots
    >>> sections = hq.datasets.paired_study(n_sections=3, n_spots=40, n_genes=8, seed=0)
    >>> study = read_evaluation_study(
    ...     sections, Slots(), use_rep="X_image", leave_out="patient", splits=None, patient_key="patient",
    ...     slide_key="slide", protocol="honest", markers=[],
    ... )
    >>> study.reps, study.measured("s1").values.shape
    (('X_image',), (40, 8))
    >>> study.hidden["s1"].adata.shape  # prediction sees no expression
    (40, 0)
    """

    study: Study
    splits: list[Split]
    reps: tuple[str, ...]
    seen: Study
    hidden: Study
    markers: list[str]

    def measured(self, name: str) -> Measured:
        """Return the measured expression of a section, whole transcriptome."""
        return measure(self.seen[name])

    def log_depth(self, name: str) -> np.ndarray | None:
        """Return the log of each spot's total counts, ``-inf`` of none; ``None`` without raw counts."""
        depth = self.measured(name).depth
        with np.errstate(divide="ignore"):
            return None if depth is None else np.log(depth.astype(np.float64))

    def counts(self, name: str, genes: Sequence[str]) -> csr_matrix | None:
        """Return the raw counts of some genes, ``(n_spots, n_genes)``; ``None`` if the section has none."""
        found = self.study[name].expression
        return found.of_genes(genes) if found.scale == "counts" else None

    def symbols(self, name: str) -> dict[str, str]:
        """Return gene -> display name of a section; empty where it has none."""
        var = self.study[name].owner.var
        return var[Keys.GENE_SYMBOL].astype(str).to_dict() if Keys.GENE_SYMBOL in var else {}


def read_evaluation_study(
    sections: Sections,
    slots: Slots,
    *,
    use_rep: str | Sequence[str] | None,
    leave_out: str,
    splits: Sequence[Split] | None,
    patient_key: str,
    slide_key: str,
    protocol: str,
    markers: Sequence[str],
) -> EvaluationStudy:
    """Check all inputs before training; see :func:`histoquilt.tl.evaluate_expression`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import read_evaluation_study
    >>> from histoquilt.study import Slots
    >>> sections = hq.datasets.paired_study(n_sections=3, n_spots=40, n_genes=8, seed=0)
    >>> study = read_evaluation_study(
    ...     sections, Slots(), use_rep="X_image", leave_out="patient", splits=None, patient_key="patient",
    ...     slide_key="slide", protocol="honest", markers=[],
    ... )
    >>> [(split.train, split.test) for split in study.splits]
    [(['s2', 's3'], ['s1']), (['s1', 's3'], ['s2']), (['s1', 's2'], ['s3'])]
    """
    study = Study.of(sections, slots)
    table = _table(study, patient_key, slide_key, needs_patient=leave_out == "patient" and splits is None)
    folds = _folds(study, table, leave_out, splits)
    reps = embedding_keys(study, use_rep)
    for name, section in study.items():
        section.embeddings(reps)
        if protocol != "honest" and section.expression.scale != "counts":
            raise ValueError(
                f"{argument('protocol', protocol)} scores raw counts, and section {name!r} has normalised "
                "expression only. Give raw counts in layers['counts'], or leave the protocol at 'honest'."
            )
        measure(section)
        section.pitch_um  # noqa: B018  # resolved here, so that both sides share it
    known = Keys.PATIENT in table and table[Keys.PATIENT].notna().all()
    groups = section_groups(table) if known else {}
    keys = (*reps, slots.spatial_key)
    seen = [section.replace(_seen(section, groups.get(name), keys), expression=True) for name, section in study.items()]
    hidden = [section.replace(_hidden(section, keys), expression=False) for section in study.values()]
    found = match_markers({name: section.owner.var for name, section in study.items()}, markers)
    return EvaluationStudy(study, folds, reps, Study(seen, slots), Study(hidden, slots), found)


def _seen(section: Section, group: str | None, keys: Sequence[str]) -> AnnData:
    """Return a section for training; its arrays are those of the user, not copies."""
    adata = section.adata
    obs = pd.DataFrame(index=adata.obs_names)
    if group is not None:
        obs[Keys.PATIENT] = pd.Categorical([group] * adata.n_obs)
    return AnnData(
        X=adata.X,
        obs=obs,
        var=adata.var,
        obsm={key: adata.obsm[key] for key in keys},
        layers=named_layers(adata),
        uns=_our_records(adata),
    )


def _hidden(section: Section, keys: Sequence[str]) -> AnnData:
    """Return a section for prediction, without expression."""
    adata = section.adata
    return AnnData(
        obs=pd.DataFrame({Keys.SECTION: pd.Categorical([section.name] * adata.n_obs)}, index=adata.obs_names),
        obsm={key: adata.obsm[key] for key in keys},
        uns=_our_records(adata),
    )


def _our_records(adata: AnnData) -> dict[str, object] | None:
    return {Keys.UNS: adata.uns[Keys.UNS]} if Keys.UNS in adata.uns else None


def match_markers(tables: Mapping[str, pd.DataFrame], markers: Sequence[str]) -> list[str]:
    """Return the genes of a user's list as all sections name them.

    Parameters
    ----------
    tables
        Section -> its ``var``.
    markers
        Names in ``var_names``, or symbols that one gene has.

    Raises
    ------
    ValueError
        None of them was measured in all sections.

    Warns
    -----
    UserWarning
        Some were not, and are left out.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.evaluate import match_markers
    >>> var = pd.DataFrame({"gene_symbol": ["MBP", "PLP1"]}, index=["ENSG00000197971", "ENSG00000123560"])
    >>> match_markers({"s1": var, "s2": var}, ["PLP1", "ENSG00000197971"])
    ['ENSG00000123560', 'ENSG00000197971']
    """
    if not len(markers):
        return []
    first = next(iter(tables.values()))
    shared = set.intersection(*(set(var.index) for var in tables.values()))
    symbols = first[Keys.GENE_SYMBOL].astype(str) if Keys.GENE_SYMBOL in first else pd.Series(dtype=str)
    of_symbol = {
        str(symbol): str(gene) for gene, symbol in symbols.drop_duplicates(keep=False).items() if gene in shared
    }
    found = [gene if gene in shared else of_symbol.get(gene) for gene in map(str, markers)]
    missing = [str(gene) for gene, match in zip(markers, found, strict=True) if match is None]
    if len(missing) == len(found):
        raise ValueError(
            f"None of the {len(found):,} genes of {argument('markers')} was measured in all sections: "
            f"{listed(missing, 5)} (the first section has {listed(first.index, 3)}). Name genes as in var_names, or "
            "by symbol."
        )
    if missing:
        warn_user(
            f"{len(missing):,} of the {len(found):,} genes of {argument('markers')} were not measured in all sections "
            f"and are left out: {listed(missing, 10)}."
        )
    return list(dict.fromkeys(gene for gene in found if gene is not None))


def plan_folds(
    sections: Mapping[str, AnnData],
    leave_out: str,
    splits: Sequence[Split] | None = None,
    *,
    patient_key: str = Keys.PATIENT,
    slide_key: str = Keys.SLIDE,
) -> list[Split]:
    """Return the folds of a study, checked: those given, or by ``leave_out``.

    Raises
    ------
    KeyError, ValueError
        As :func:`evaluate_expression` for patients and folds.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import plan_folds
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=40, n_genes=8, seed=0)
    >>> [(split.fold, split.test) for split in plan_folds(study, "section")]
    [('s1', ['s1']), ('s2', ['s2']), ('s3', ['s3'])]
    """
    study = Study([Section(name, adata) for name, adata in sections.items()], DEFAULT_SLOTS)
    table = _table(study, patient_key, slide_key, needs_patient=leave_out == "patient" and splits is None)
    return _folds(study, table, leave_out, splits)


def _folds(study: Study, table: pd.DataFrame, leave_out: str, splits: Sequence[Split] | None) -> list[Split]:
    """Return the folds, checked."""
    folds = _checked_folds(table, leave_one_out(table, by=leave_out) if splits is None else list(splits))
    check_sections(folds, study, dict(zip(study, table.get(Keys.PATIENT, [None] * len(table)), strict=True)))
    return folds


def _checked_folds(table: pd.DataFrame, folds: list[Split]) -> list[Split]:
    """Raise for folds that leak, share a name, or have fewer than two training sections."""
    fold_names = [split.fold for split in folds]
    if not folds or len(set(fold_names)) < len(folds):
        raise ValueError(f"splits must be one or more folds, each with a name of its own, got {listed(fold_names)}.")
    for split in folds:
        check_split(split, table)
        if len(split.train) < 2:
            raise ValueError(
                f"Fold {split.fold!r} leaves one section to train on ({listed(split.train)}); settings are chosen by "
                "leaving a training section out, so two are needed. Add sections."
            )
    return folds


def _check_patients(study: Study, patient_key: str) -> None:
    """Raise if a section has no patient."""
    unknown = [section for section in study.values() if patient_key not in section.owner.obs]
    if not unknown:
        return
    first, *others = [section.name for section in unknown]
    told = f"Section {first!r} has no patient{f', nor have {listed(others)}' if others else ''}."
    if is_at_a_command():
        raise ValueError(f"{told} Fill the column {patient_key!r} of samples.csv, or use --leave-out section.")
    raise MissingKey(patient_key, "adata.obs", unknown[0].owner.obs.columns, f"{told} Pass patient_key=.")


def _table(study: Study, patient_key: str, slide_key: str, *, needs_patient: bool) -> pd.DataFrame:
    """Return one row per section with the columns ``patient``, ``slide`` and ``fold``, if known."""
    table = pd.DataFrame(index=list(study))
    for column, key in ((Keys.PATIENT, patient_key), (Keys.SLIDE, slide_key), (Keys.FOLD, Keys.FOLD)):
        if column == Keys.PATIENT and needs_patient:
            _check_patients(study, patient_key)
        if any(key in section.owner.obs for section in study.values()):
            table[column] = [section.value(key) for section in study.values()]
    return table
