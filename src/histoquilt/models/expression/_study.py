"""Training sections of an expression model, checked and brought to arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, argument, either, listed
from histoquilt.io import check_one_section, name_sections
from histoquilt.models._checkpoint import digest
from histoquilt.models.expression._inputs import (
    check_same_encoder,
    encoder_record,
    microns,
    near_spots,
    read_embeddings,
)
from histoquilt.models.expression._stain_distribution import StainDistribution, fit_stain_distribution
from histoquilt.models.expression._targets import check_panel, choose_panel, measure
from histoquilt.models.expression._views import read_views
from histoquilt.runtime import logger
from histoquilt.study import check_adata, check_obs_key


@dataclass(frozen=True)
class Study:
    """Training sections; lists have one entry per section.

    Attributes
    ----------
    names, groups
        Names of the sections, and the groups that they belong to.
    reps, records
        Embedding keys, and records of their encoders.
    embeddings, centres_um, adjacencies, y, depth
        Arrays as in :class:`ImageSection`.
    views
        Views of each embedding, ``(n_spots, n_views, n_features)``; ``None`` if not needed or not present.
    stain
        Distribution of their stain, if all of them have it.
    genes, symbols
        Names and display names of the genes of the panel.
    digests
        SHA-256 of the training data.
    """

    names: list[str]
    groups: list[str]
    reps: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    embeddings: list[tuple[np.ndarray, ...]]
    centres_um: list[np.ndarray]
    adjacencies: list[csr_matrix]
    y: list[np.ndarray]
    depth: list[np.ndarray | None]
    views: list[tuple[np.ndarray, ...] | None]
    stain: StainDistribution | None
    genes: list[str]
    symbols: list[str] | None
    digests: list[str]


def read_study(
    sections: AnnData | Sequence[AnnData] | Mapping[str, AnnData],
    *,
    use_rep: str | Sequence[str] | None,
    fields: str,
    patient_key: str | None,
    section_key: str,
    spatial_key: str,
    genes: Sequence[str] | None,
    n_genes: int,
    layer: str | None,
    with_views: bool,
) -> Study:
    """Check training sections and bring them to arrays; see :meth:`ExpressionModel.fit`."""
    named = name_sections(sections, section_key=section_key)
    for adata in named.values():
        check_adata(adata)
    if len(named) < 2:
        raise ValueError(
            f"Training needs at least two sections, got {len(named)} ({listed(named)}). What holds for a section that "
            "was not seen can only be chosen, and judged, by leaving one out. Add a section, or take one AnnData with "
            f"several apart by obs[{section_key!r}] ({argument('section_key')})."
        )
    groups = _groups(named, patient_key)
    reps = embedding_keys(named, use_rep)[: 1 if fields == "one" else None]
    embeddings = [read_embeddings(adata, reps, name) for name, adata in named.items()]
    records = _check_alike(named, reps, embeddings)
    for name, adata in named.items():
        check_one_section(adata, spatial_key=spatial_key, name=name)
    centres = [microns(adata, name, spatial_key)[0] for name, adata in named.items()]
    measured = {name: measure(adata, layer) for name, adata in named.items()}
    panel = choose_panel(measured, n_genes) if genes is None else check_panel(measured, genes)
    y = [one.of(panel) for one in measured.values()]
    return Study(
        names=list(named),
        groups=groups,
        reps=reps,
        records=records,
        embeddings=embeddings,
        centres_um=centres,
        adjacencies=[near_spots(one) for one in centres],
        y=y,
        depth=[one.depth for one in measured.values()],
        views=read_views(named, reps, embeddings) if with_views else [None] * len(named),
        stain=fit_stain_distribution(named, groups),
        genes=panel,
        symbols=_symbols(named, panel),
        digests=[
            digest(adata, np.hstack([*own, target]), spatial_key)
            for adata, own, target in zip(named.values(), embeddings, y, strict=True)
        ],
    )


def _groups(named: Mapping[str, AnnData], patient_key: str | None) -> list[str]:
    """Return the patient of every section where there are several, else the sections' own names."""
    if patient_key is None:
        if not all(Keys.PATIENT in adata.obs and adata.obs[Keys.PATIENT].notna().all() for adata in named.values()):
            return list(named)
        patient_key = Keys.PATIENT
    patients = []
    for name, adata in named.items():
        check_obs_key(adata, patient_key, argument="patient_key")
        found = adata.obs[patient_key].astype(str).unique()
        if len(found) != 1 or adata.obs[patient_key].isna().any():
            raise ValueError(
                f"obs[{patient_key!r}] of section {name!r} must name one patient for all spots, found "
                f"{listed(adata.obs[patient_key].unique())}. Fill it in"
                f"{either(', or pass patient_key= of another column', '')}."
            )
        patients.append(str(found[0]))
    if len(set(patients)) < 2:
        logger.info("All training sections are of patient %s; inner validation leaves out sections.", patients[0])
        return list(named)
    return patients


def embedding_keys(named: Mapping[str, AnnData], use_rep: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the keys asked for, or those that all sections have from an encoder."""
    if use_rep is not None:
        keys = (use_rep,) if isinstance(use_rep, str) else tuple(use_rep)
        if not keys or len(set(keys)) < len(keys):
            raise ValueError(f"use_rep must name at least one embedding, each once; got {list(keys)}.")
        return keys
    first, *others = named.values()
    keys = tuple(
        key
        for key in first.obsm
        if encoder_record(first, key).get("encoder") and all(key in other.obsm for other in others)
    )
    if not keys:
        found = "; ".join(f"{name}: {listed(adata.obsm)}" for name, adata in named.items())
        raise KeyError(
            f"The training sections share no embedding made by histoquilt.im.embed_patches (obsm holds {found}). Call "
            f"it on each section's image first, or name embeddings of your own with {argument('use_rep')}."
        )
    logger.info("Embeddings: %s.", ", ".join(keys))
    return keys


def _check_alike(
    named: Mapping[str, AnnData], reps: tuple[str, ...], embeddings: list[tuple[np.ndarray, ...]]
) -> tuple[dict[str, Any], ...]:
    """Return the record of each embedding, once it is known to be of one encoder in all sections."""
    records = []
    for number, rep in enumerate(reps):
        widths = {name: own[number].shape[1] for name, own in zip(named, embeddings, strict=True)}
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"obsm[{rep!r}] has different widths: {', '.join(f'{n}: {w}' for n, w in widths.items())}. Embed all "
                "sections with the same encoder."
            )
        found = {name: encoder_record(adata, rep) for name, adata in named.items()}
        first = next((name for name, record in found.items() if record), None)
        for name, record in found.items():
            if first is not None:
                check_same_encoder(record, found[first], rep, name, f"section {first!r}")
        records.append({} if first is None else _plain(found[first]))
    return tuple(records)


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with numpy scalars made plain, ready for JSON."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in record.items()}


def _symbols(named: Mapping[str, AnnData], panel: list[str]) -> list[str] | None:
    """Return the display names of the panel as the first section has them."""
    var = next(iter(named.values())).var
    return var.loc[panel, Keys.GENE_SYMBOL].astype(str).tolist() if Keys.GENE_SYMBOL in var else None
