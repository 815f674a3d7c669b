"""Comparison of conditions between patients: composition, neighbourhoods, shape and markers of domains."""

import pandas as pd
from anndata import AnnData

import histoquilt
from histoquilt._base import Keys, MissingKey, argument, either, listed
from histoquilt.metrics import ConditionComparison, Contrast
from histoquilt.runtime import warn_user
from histoquilt.study import Sections, Slots, Study, write_result
from histoquilt.tl.compare._markers import marker_tests
from histoquilt.tl.compare._measure import Labels, length_unit
from histoquilt.tl.compare._tables import contrast_table, tidy_values


def compare_conditions(
    sections: Sections,
    condition_key: str = Keys.CONDITION,
    *,
    patient_key: str = Keys.PATIENT,
    reference: str | None = None,
    domain_key: str = Keys.DOMAIN,
    layer: str | None = None,
    spatial_key: str = Keys.SPATIAL,
    section_key: str = Keys.SECTION,
    min_spots: int = 10,
    key_added: str = Keys.CONDITIONS,
) -> ConditionComparison:
    """Compare domains between conditions: their proportions, neighbours, shape and expression.

    Patients are the observations, never spots or sections: sections of one patient and condition are averaged (counts
    are summed). If more than half of the patients have sections of both conditions, differences within patients are
    tested (paired t-test), else patients of one condition against those of the other (Welch's t-test). p-values of a
    permutation of the patients, which assume nothing, are given next to them; with few patients they cannot be small,
    and ``contrasts["smallest_p"]`` says how small. All differences are of log2 values.

    - Proportions: centred log-ratio of the spots of each domain, half a spot added to all.
    - Neighbours: log2 of observed over expected links of two domains. Expected is the mean over labels shuffled over
      the section; links are those of direct neighbours (the six nearest among scattered cells). A domain that becomes
      larger has relatively less border, so read them next to the proportions.
    - Shape: area, perimeter, elongation, number of pieces, distance to the tissue border (needs shapely, the extra
      ``export``).
    - Markers: counts summed per patient and domain (pseudo-bulk), log2 of counts per million with the median gene the
      same in all patients, moderated t-test, for genes with at least 10 counts in as many patients as the smaller
      condition has. The same test of the difference from the other domains of the patient (``specific``) distinguishes
      a change of this domain from one of the whole tissue; what distinguishes patients or slides as a whole cancels.

    Domains must mean the same in all sections: find them jointly (:func:`histoquilt.tl.integrate_sections`). They are
    found in the same expression, so a gene that changes a lot may move the border of its domain.

    Parameters
    ----------
    sections
        One AnnData with ``obs[section_key]``, a list, a dict or a ``samples.csv`` (:meth:`histoquilt.study.Study.of`).
    condition_key, patient_key
        Columns of ``obs``, one value for each section. If no section names a patient, each counts as one, with a
        warning.
    reference
        Condition that the others are compared with; by default the first in alphabetical order.
    domain_key
        Column of ``obs`` with the domains; spots without one are left out.
    layer
        Layer with raw counts; by default ``layers["counts"]``, else ``X``. Without raw counts there are no markers.
    spatial_key, section_key
        Key in ``obsm`` of the spot centres, and column of ``obs`` with section names.
    min_spots
        Least number of spots of a patient in a domain for its expression to be compared.
    key_added
        Key in ``uns`` of the result, if ``sections`` is one AnnData.

    Returns
    -------
    :class:`histoquilt.metrics.ConditionComparison`. If ``sections`` is one AnnData, adds

    ``uns[key_added]`` : the same as a dict of tables; ``ConditionComparison(**adata.uns[key_added])`` restores it

    Raises
    ------
    KeyError
        A column is missing.
    ValueError
        There is one condition only, a section has none or several conditions or patients, ``reference`` is not a
        condition, a section has no domains, or there is only one domain.

    Warns
    -----
    UserWarning
        There are too few patients for p-values, or for those of permutations to fall below 0.05; patients are not
        known or are left out; domains were found section by section; shapely or raw counts are missing.

    References
    ----------
    Aitchison, J R Stat Soc B 44, 1982 (log-ratios). Squair et al., Nat Commun 12, 2021, 5692 (pseudo-bulk).
    Anders, Huber, Genome Biol 11, 2010, R106 (median of ratios). Smyth, Stat
    Appl Genet Mol Biol 3, 2004 (moderated t). Benjamini, Hochberg, J R Stat Soc B 57, 1995 (false discovery rate).

    Examples
    --------
    >>> import histoquilt as hq
    >>> sections = hq.datasets.toy_conditions(n_patients=3, n_spots=300, seed=0)
    >>> found = hq.tl.compare_conditions(sections, domain_key="domain_true")
    >>> found.contrasts[["condition", "reference", "n_condition", "smallest_p"]].values.tolist()
    [['treated', 'control', 3, 0.1]]
    """
    study = Study.of(sections, Slots(spatial_key, section_key, layer))
    design = _design(study, condition_key, patient_key)
    labels = Labels.of(study, domain_key)
    _warn_if_found_apart(study, domain_key)
    contrasts = _contrasts(design, reference, condition_key)
    unit = length_unit(study)
    index = pd.MultiIndex.from_frame(design[["patient", "condition"]])
    proportions, ratios = labels.proportions, labels.log_ratios
    enrichment, shapes = labels.enrichment(study), labels.shapes(study, unit)
    measured = {"proportion": proportions, "log_ratio": ratios, "enrichment": enrichment, None: 2**shapes}
    of_shape = contrast_table(shapes.set_index(index), contrasts)
    of_shape[["mean_reference", "mean_condition"]] = 2 ** of_shape[["mean_reference", "mean_condition"]]
    comparison = ConditionComparison(
        proportions=contrast_table(ratios.set_index(index), contrasts, shown=proportions.set_index(index)),
        neighbours=contrast_table(enrichment.set_index(index), contrasts),
        shape=of_shape,
        markers=marker_tests(study, design, labels, contrasts, min_spots),
        values=tidy_values(measured, design),
        contrasts=pd.DataFrame([_described(contrast) for contrast in contrasts]),
        facts={
            "condition_key": condition_key,
            "patient_key": patient_key,
            "domain_key": domain_key,
            "reference": contrasts[0].reference,
            "unit": unit,
            "patients_known": bool(design["known"].all()),
            "n_sections": len(design),
            "n_patients": design["patient"].nunique(),
            "version": histoquilt.__version__,
        },
    )
    if isinstance(sections, AnnData):
        write_result(sections, "uns", key_added, dict(vars(comparison)))
    return comparison


def _design(study: Study, condition_key: str, patient_key: str) -> pd.DataFrame:
    """Return patient and condition of every section, indexed by its name; ``known`` is false if patients are not."""
    conditions = _column(study, condition_key)
    if not conditions:
        raise MissingKey(
            condition_key, "obs of any section", _all_columns(study),
            "Name the condition of every section there, or in this column of samples.csv before domains are found; or "
            f"pass another column: {either('condition_key=', '--by')}.",
        )  # fmt: skip
    _check_complete(study, conditions, condition_key)
    if len(set(conditions.values())) < 2:
        raise ValueError(
            f"All {len(study)} sections have the condition {next(iter(conditions.values()))!r} in "
            f"obs[{condition_key!r}]; a comparison needs two."
        )
    patients = _column(study, patient_key)
    if patients:
        _check_complete(study, patients, patient_key)
    elif patient_key != Keys.PATIENT:
        raise MissingKey(
            patient_key, "obs of any section", _all_columns(study), f"Pass {either('patient_key=', '--patient')}."
        )
    else:
        warn_user(
            f"No section names its patient in obs[{patient_key!r}], so each counts as one. If some are of the same "
            "patient, the p-values are too small: name the patients."
        )
    known = bool(patients)
    patients = patients or {name: name for name in study}
    return pd.DataFrame({"patient": patients, "condition": conditions, "known": known}, index=list(study))


def _column(study: Study, key: str) -> dict[str, str]:
    """Return section -> its value in a column of ``obs``, without sections that have none."""
    values = {name: section.value(key) for name, section in study.items()}
    return {name: value for name, value in values.items() if value is not None}


def _check_complete(study: Study, values: dict[str, str], key: str) -> None:
    without = [name for name in study if name not in values]
    if without:
        raise ValueError(
            f"obs[{key!r}] is empty in {len(without)} of {len(study)} sections: {listed(without)}. Fill it in, or "
            "leave these sections out."
        )


def _all_columns(study: Study) -> list[str]:
    return sorted({str(column) for section in study.values() for column in section.view.obs})


def _warn_if_found_apart(study: Study, domain_key: str) -> None:
    """Warn if records show that domains of the sections come from different models."""
    digests = set()
    for section in study.values():
        record = section.record(domain_key)
        digests.add(record.get("model_digest") or section.record(str(record.get("model"))).get("digest"))
    if len(digests) > 1 and None not in digests:
        warn_user(
            f"The domains in obs[{domain_key!r}] were found section by section: domain 1 of one is unrelated to domain "
            "1 of another, and comparing them means nothing. Find them jointly: histoquilt.tl.integrate_sections."
        )


def _contrasts(design: pd.DataFrame, reference: str | None, condition_key: str) -> list[Contrast]:
    """Return the comparison of every condition with the reference; warn of what limits them."""
    names = sorted(design["condition"].unique())
    reference = names[0] if reference is None else str(reference)
    if reference not in names:
        raise ValueError(
            f"{argument('reference', reference)} is not in obs[{condition_key!r}] (found: {listed(names)})."
        )
    patients, conditions = design["patient"].tolist(), design["condition"].tolist()
    contrasts = [Contrast.of(patients, conditions, name, reference) for name in names if name != reference]
    for contrast in contrasts:
        if contrast.left_out:
            kind = "have one condition only" if contrast.paired else "have both conditions, unlike most"
            warn_user(
                f"{contrast.condition} against {contrast.reference}: {len(contrast.left_out)} patients are left out "
                f"because they {kind}: {listed(contrast.left_out)}."
            )
        if contrast.note:
            warn_user(f"{contrast.condition} against {contrast.reference}: {contrast.note}")
    return contrasts


def _described(contrast: Contrast) -> dict[str, object]:
    return {
        "condition": contrast.condition,
        "reference": contrast.reference,
        "paired": contrast.paired,
        "n_condition": len(contrast.patients),
        "n_reference": len(contrast.reference_patients),
        "left_out": ", ".join(contrast.left_out),
        "smallest_p": contrast.smallest_p,
        "note": contrast.note,
    }
