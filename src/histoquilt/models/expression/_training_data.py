"""Training sections of an expression model, checked and brought to arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, argument, listed
from histoquilt.models._checkpoint import digest
from histoquilt.models.expression._inputs import (
    ExpressionInputs,
    ImageSection,
    check_same_encoder,
    fit_inputs,
    near_spots,
)
from histoquilt.models.expression._targets import check_panel, choose_panel, measure
from histoquilt.models.expression._views import read_views
from histoquilt.models.expression.unlike._stain import StainDistribution, fit_stain_distribution
from histoquilt.runtime import logger
from histoquilt.study import Section, Sections, Slots, Study


@dataclass(frozen=True)
class TrainingData:
    """Arrays of a study that a model is trained on; lists have one entry per section.

    Attributes
    ----------
    slots
        Where the parts of the sections lie.
    names, groups
        Names of the sections, and the groups that they belong to.
    n_individuals
        Number of patients; 1 if patients are not known.
    reps, records
        Embedding keys, and records of their encoders.
    embeddings, centres_um, adjacencies, y, depth
        Arrays as in :class:`ImageSection`.
    pitch_um
        Median distance of neighbouring spots, microns.
    views
        Views of each embedding, ``(n_spots, n_views, n_features)``; ``None`` if not needed or not present.
    stain
        Distribution of their stain, if all of them have it.
    genes, symbols
        Names and display names of the genes of the panel.
    digests
        SHA-256 of the training data.
    """

    slots: Slots
    names: list[str]
    groups: list[str]
    n_individuals: int
    reps: tuple[str, ...]
    records: tuple[dict[str, Any], ...]
    embeddings: list[tuple[np.ndarray, ...]]
    centres_um: list[np.ndarray]
    pitch_um: float
    adjacencies: list[csr_matrix]
    y: list[np.ndarray]
    depth: list[np.ndarray | None]
    views: list[tuple[np.ndarray, ...] | None]
    stain: StainDistribution | None
    genes: list[str]
    symbols: list[str] | None
    digests: list[str]

    def standardised(self, *, neighbours: bool, own: bool) -> tuple[ExpressionInputs, list[ImageSection]]:
        """Return the inputs fitted on these sections, and the sections as a method sees them."""
        inputs, of_sections = fit_inputs(
            self.reps, self.records, self.embeddings, self.adjacencies, neighbours=neighbours, own=own
        )
        of_views = [
            None if views is None else inputs.standardise_views(views, reps)
            for views, reps in zip(self.views, self.embeddings, strict=True)
        ]
        sections = [
            ImageSection(
                self.names[i], self.groups[i], self.embeddings[i], x, self.centres_um[i], self.adjacencies[i],
                self.y[i], self.depth[i], of_views[i], own,
            )
            for i, x in enumerate(of_sections)
        ]  # fmt: skip
        return inputs, sections


def read_training_data(
    sections: Sections,
    slots: Slots,
    *,
    use_rep: str | Sequence[str] | None,
    fields: str,
    patient_key: str | None,
    genes: Sequence[str] | None,
    n_genes: int,
    with_views: bool,
    check_size: Callable[[int, int, int, int], None] | None = None,
) -> TrainingData:
    """Check training sections and bring them to arrays; see :meth:`ExpressionModel.fit`.

    ``check_size`` is called with the numbers of sections, spots, columns and genes before arrays are made.
    """
    study = Study.of(sections, slots)
    slots = study.slots
    if len(study) < 2:
        raise ValueError(
            f"Training needs at least two sections, got {len(study)} ({listed(study)}). What holds for a section that "
            "was not seen can only be chosen, and judged, by leaving one out. Add a section, or take one AnnData with "
            f"several apart by obs[{slots.section_key!r}] ({argument('section_key')})."
        )
    parts = list(study.values())
    groups = list(study.patients(patient_key).values())
    reps = embedding_keys(study, use_rep)[: 1 if fields == "one" else None]
    embeddings = [section.embeddings(reps) for section in parts]
    records = _check_alike(study, reps, embeddings)
    measured = {section.name: measure(section) for section in parts}
    panel = choose_panel(measured, n_genes) if genes is None else check_panel(measured, genes)
    if check_size is not None:
        n_columns = sum(one.shape[1] for one in embeddings[0])
        check_size(len(parts), sum(section.view.n_obs for section in parts), n_columns, len(panel))
    y = [expression.of(panel) for expression in measured.values()]
    return TrainingData(
        slots=slots,
        names=list(study),
        groups=groups,
        n_individuals=study.n_patients(patient_key),
        reps=reps,
        records=records,
        embeddings=embeddings,
        centres_um=[section.microns for section in parts],
        pitch_um=float(np.median([section.pitch_um for section in parts])),
        adjacencies=[near_spots(section) for section in parts],
        y=y,
        depth=[expression.depth for expression in measured.values()],
        views=read_views(study, reps, embeddings) if with_views else [None] * len(parts),
        stain=fit_stain_distribution(study, groups),
        genes=panel,
        symbols=_symbols(parts[0], panel),
        digests=[
            digest(section.view, np.hstack([*own, target]), slots.spatial_key)
            for section, own, target in zip(parts, embeddings, y, strict=True)
        ],
    )


def embedding_keys(study: Study, use_rep: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the keys asked for, or those that all sections have from an encoder.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import Study
    >>> study = Study.of(hq.datasets.paired_study(n_sections=2, n_spots=60, n_genes=20, seed=0))
    >>> hq.models.embedding_keys(study, "X_image")
    ('X_image',)
    >>> hq.models.embedding_keys(study, [])
    Traceback (most recent call last):
        ...
    ValueError: use_rep must name at least one embedding, each once; got [].
    """
    if use_rep is not None:
        keys = (use_rep,) if isinstance(use_rep, str) else tuple(use_rep)
        if not keys or len(set(keys)) < len(keys):
            raise ValueError(f"use_rep must name at least one embedding, each once; got {list(keys)}.")
        return keys
    first, *others = study.values()
    keys = tuple(
        key
        for key in first.view.obsm
        if first.record(key).get("encoder") and all(key in other.view.obsm for other in others)
    )
    if not keys:
        found = "; ".join(f"{name}: {listed(section.view.obsm)}" for name, section in study.items())
        raise KeyError(
            f"The training sections share no embedding made by histoquilt.im.embed_patches (obsm holds {found}). Call "
            f"it on each section's image first, or name embeddings of your own with {argument('use_rep')}."
        )
    logger.info("Embeddings: %s.", ", ".join(keys))
    return keys


def _check_alike(
    study: Study, reps: tuple[str, ...], embeddings: list[tuple[np.ndarray, ...]]
) -> tuple[dict[str, Any], ...]:
    """Return the record of each embedding, once it is known to be of one encoder in all sections."""
    records = []
    for number, rep in enumerate(reps):
        widths = {name: own[number].shape[1] for name, own in zip(study, embeddings, strict=True)}
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"obsm[{rep!r}] has different widths: {', '.join(f'{n}: {w}' for n, w in widths.items())}. Embed all "
                "sections with the same encoder."
            )
        found = {name: section.record(rep) for name, section in study.items()}
        first = next((name for name, record in found.items() if record), None)
        for name, record in found.items():
            if first is not None:
                check_same_encoder(record, found[first], rep, name, f"section {first!r}")
        records.append({} if first is None else _plain(found[first]))
    return tuple(records)


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with numpy scalars made plain, ready for JSON."""
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in record.items()}


def _symbols(first: Section, panel: list[str]) -> list[str] | None:
    """Return the display names of the panel as the first section has them."""
    var = first.owner.var
    return var.loc[panel, Keys.GENE_SYMBOL].astype(str).tolist() if Keys.GENE_SYMBOL in var else None
