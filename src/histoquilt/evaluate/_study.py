"""The sections of an evaluation, checked before anything is trained, and what of them each side may see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, MissingKey, argument, either, listed
from histoquilt.io import check_one_section, name_sections
from histoquilt.models import Measured, embedding_keys, measure, microns, near_spots, read_embeddings
from histoquilt.pp import expression
from histoquilt.study import check_adata, named_layers
from histoquilt.train import Split, check_split, leave_one_out, section_groups

_GROUP = "patient"  # obs of what a model is given: patients that share a slide have one name


@dataclass(frozen=True)
class EvaluationStudy:
    """Checked sections and folds of an evaluation.

    Attributes
    ----------
    sections
        Sections as the user gave them; never changed.
    splits
        Folds, checked for leaks.
    reps
        Embedding keys.
    measured
        Expression of each section, whole transcriptome.
    groups
        Section -> patients that stay together; empty if patients are not known.
    centres_um, adjacencies
        Spot centres in microns, and spatial adjacency, of each section.
    """

    sections: dict[str, AnnData]
    splits: list[Split]
    reps: tuple[str, ...]
    measured: dict[str, Measured]
    groups: dict[str, str]
    centres_um: dict[str, np.ndarray]
    adjacencies: dict[str, csr_matrix]
    spatial_key: str
    layer: str | None

    def training(self, split: Split) -> dict[str, AnnData]:
        """Return the training sections of a fold, and nothing else; arrays are shared, ``obs`` is not."""
        found = {}
        for name in split.train:
            section = self.sections[name]
            obs = pd.DataFrame(index=section.obs_names)
            if self.groups:
                obs[_GROUP] = pd.Categorical([self.groups[name]] * section.n_obs)
            found[name] = AnnData(
                X=section.X,
                obs=obs,
                var=section.var,
                obsm={key: section.obsm[key] for key in (*self.reps, self.spatial_key)},
                layers=named_layers(section),
                uns={Keys.UNS: section.uns[Keys.UNS]} if Keys.UNS in section.uns else None,
            )
        return found

    def held_out(self, name: str) -> AnnData:
        """Return what a model may see of a held-out section: embeddings and places; no expression to peek at."""
        section = self.sections[name]
        return AnnData(
            obs=pd.DataFrame({Keys.SECTION: pd.Categorical([name] * section.n_obs)}, index=section.obs_names),
            obsm={key: section.obsm[key] for key in (*self.reps, self.spatial_key)},
            uns={Keys.UNS: section.uns[Keys.UNS]} if Keys.UNS in section.uns else None,
        )

    def symbols(self, name: str) -> dict[str, str]:
        """Return gene -> display name of a section; empty where it has none."""
        var = self.sections[name].var
        return var[Keys.GENE_SYMBOL].astype(str).to_dict() if Keys.GENE_SYMBOL in var else {}


def read_evaluation_study(
    sections: AnnData | Sequence[AnnData] | Mapping[str, AnnData],
    *,
    use_rep: str | Sequence[str] | None,
    leave_out: str,
    splits: Sequence[Split] | None,
    patient_key: str,
    slide_key: str,
    section_key: str,
    spatial_key: str,
    layer: str | None,
    needs_counts: bool,
) -> EvaluationStudy:
    """Check everything that could stop an evaluation half-way; see :func:`evaluate_expression`."""
    named = name_sections(sections, section_key=section_key)
    for name, adata in named.items():
        check_adata(adata)
        if name in ("pooled", "pooled_centred", "all"):
            raise ValueError(f"No section may be called {name!r}: rows over all sections are. Rename it.")
    table = _table(named, patient_key, slide_key, needs_patient=leave_out == "patient" and splits is None)
    folds = _checked_folds(table, leave_one_out(table, by=leave_out) if splits is None else list(splits))
    reps = embedding_keys(named, use_rep)
    for name, adata in named.items():
        check_one_section(adata, spatial_key=spatial_key, name=name)
        read_embeddings(adata, reps, name)
        if needs_counts and expression(adata, layer).scale != "counts":
            raise ValueError(
                f"{argument('protocol', 'published')} scores raw counts, and section {name!r} has normalised "
                "expression only. Give raw counts in layers['counts'], or leave the protocol at 'honest'."
            )
    centres = {name: microns(adata, name, spatial_key)[0] for name, adata in named.items()}
    return EvaluationStudy(
        sections=named,
        splits=folds,
        reps=reps,
        measured={name: measure(adata, layer) for name, adata in named.items()},
        groups=section_groups(table) if Keys.PATIENT in table and table[Keys.PATIENT].notna().all() else {},
        centres_um=centres,
        adjacencies={name: near_spots(one) for name, one in centres.items()},
        spatial_key=spatial_key,
        layer=layer,
    )


def plan_folds(
    sections: Mapping[str, AnnData], leave_out: str, *, patient_key: str = Keys.PATIENT, slide_key: str = Keys.SLIDE
) -> list[Split]:
    """Return the folds that sections allow, before anything is embedded or trained.

    Raises
    ------
    KeyError, ValueError
        As :func:`evaluate_expression` for patients and folds.
    """
    table = _table(sections, patient_key, slide_key, needs_patient=leave_out == "patient")
    return _checked_folds(table, leave_one_out(table, by=leave_out))


def _checked_folds(table: pd.DataFrame, folds: list[Split]) -> list[Split]:
    """Raise for folds that leak, have one name, or leave too little to train on."""
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


def _table(named: Mapping[str, AnnData], patient_key: str, slide_key: str, *, needs_patient: bool) -> pd.DataFrame:
    """Return one row a section with the columns ``patient`` and ``slide``, as far as they are known."""
    table = pd.DataFrame(index=list(named))
    for column, key in ((Keys.PATIENT, patient_key), (Keys.SLIDE, slide_key)):
        if column == Keys.PATIENT and needs_patient:
            remedy = either(
                "Pass patient_key=.", f"Add the column {patient_key!r} to samples.csv, or use --leave-out section."
            )
            for adata in named.values():
                if patient_key not in adata.obs:
                    raise MissingKey(patient_key, "adata.obs", adata.obs.columns, remedy)
        if any(key in adata.obs for adata in named.values()):
            table[column] = [_one_value(adata, key, name) for name, adata in named.items()]
    return table


def _one_value(adata: AnnData, key: str, name: str) -> str | None:
    """Return the one value of a column of ``obs``, ``None`` where it has none."""
    values = adata.obs[key].dropna().astype(str).unique() if key in adata.obs else []
    if len(values) > 1:
        raise ValueError(
            f"obs[{key!r}] of section {name!r} must be one value for all spots, found {listed(values)}. Several "
            "sections in one AnnData: histoquilt.io.split_sections."
        )
    return str(values[0]) if len(values) else None
