"""Who is held out: folds by patient, checked so that no patient and no slide stands on both sides.

``GroupKFold`` of scikit-learn deals groups out in the same way (largest first, to the smallest fold), but orders groups
of one size backwards, so that folds, and the settings chosen on them, would change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from histoquilt._base import Keys, either, listed
from histoquilt.runtime import logger


@dataclass(frozen=True)
class Split:
    """One fold of an evaluation: what is learned from, and what is predicted."""

    fold: str  # name of the part held out: patient(s) joined by "+", or a section
    train: list[str]  # section names
    test: list[str]
    optimistic: bool  # the held-out tissue has relatives in training (same patient or slide), or nobody knows


def section_groups(table: pd.DataFrame) -> dict[str, str]:
    """Say which sections must stay on one side of a split.

    Patients that share a slide are linked, and everything that is linked is one group: sections on one slide were
    stained and sequenced together, so a model may know a held-out patient by its slide.

    Parameters
    ----------
    table
        One row per section, the index holds the section names. Column ``patient`` is required; ``slide`` is used
        where it is there, and a section without a slide shares none.

    Returns
    -------
    Section name -> group, named by its patients: ``"765+794"``.

    Raises
    ------
    KeyError
        There is no column ``patient``.
    ValueError
        The table is empty, repeats a section, or a section has no patient.

    Examples
    --------
    >>> table = pd.DataFrame({"patient": ["A", "B", "C"], "slide": ["x", "x", "y"]}, index=["s1", "s2", "s3"])
    >>> section_groups(table)
    {'s1': 'A+B', 's2': 'A+B', 's3': 'C'}
    """
    sections = _checked_sections(table)
    by_section = _leave_out("section")
    if Keys.PATIENT not in table:
        raise KeyError(
            f"There is no column {Keys.PATIENT!r} in the table of sections (found: {listed(table.columns)}). Sections "
            f"of one patient must not be held out alone: add the column {Keys.PATIENT!r} to samples.csv, or "
            f"{by_section}, whose scores are optimistic."
        )
    patients = _text(table[Keys.PATIENT])
    unknown = [section for section, patient in zip(sections, patients, strict=True) if patient is None]
    if unknown:
        raise ValueError(
            f"No {Keys.PATIENT} is given for the section(s) {listed(unknown)}. Whose tissue it is decides what may be "
            f"trained on: fill the column {Keys.PATIENT!r} for every section, or {by_section}."
        )
    known = [str(patient) for patient in patients]
    return dict(zip(sections, _linked(known, _slides(table)), strict=True))


def leave_one_out(table: pd.DataFrame, *, by: str = "patient") -> list[Split]:
    """Hold out each patient once, or each section.

    Parameters
    ----------
    table
        One row per section, the index holds the section names; columns ``patient`` and ``slide`` as in
        :func:`section_groups`.
    by
        ``"patient"`` holds out all sections of a patient, together with every patient that shares a slide with it.
        ``"section"`` holds out one section at a time. Where training then keeps another section of the same patient
        or slide, or patients are not known, the split is marked ``optimistic``: scores will be higher than on a
        new patient.

    Returns
    -------
    One split per group (or section), in the order of the table.

    Raises
    ------
    KeyError
        By patient, and there is no column ``patient``.
    ValueError
        ``by`` is something else, a patient is missing, or there is one group only, so that nothing is left to
        learn from.

    Examples
    --------
    >>> table = pd.DataFrame({"patient": ["A", "A", "B"]}, index=["s1", "s2", "s3"])
    >>> [(split.fold, split.train, split.test) for split in leave_one_out(table)]
    [('A', ['s3'], ['s1', 's2']), ('B', ['s1', 's2'], ['s3'])]
    """
    if by == "patient":
        groups = section_groups(table)
        if len(set(groups.values())) < 2:
            raise ValueError(
                f"All {len(groups)} section(s) belong to {_one_group(groups)}: held out, they leave nothing to train "
                f"on. Add sections of another patient, or {_leave_out('section')}, whose scores are optimistic: they "
                "say nothing about a new patient."
            )
        return _leave_groups_out(groups, {name: False for name in groups})
    if by != "section":
        raise ValueError(f"by must be 'patient' or 'section', got {by!r}.")
    sections = _checked_sections(table)
    if len(sections) < 2:
        raise ValueError(
            f"There is one section only ({listed(sections)}): held out, it leaves nothing to train on. Add sections."
        )
    related = _has_relatives(table, sections)
    splits = _leave_groups_out({section: section for section in sections}, related)
    n_optimistic = sum(split.optimistic for split in splits)
    if n_optimistic:
        logger.info(
            "Leave one section out: in %d of %d folds training holds the same patient or slide, or patients are not "
            "known. These scores are optimistic; %s for what a new patient will get.",
            n_optimistic, len(splits), _leave_out("patient"),
        )  # fmt: skip
    return splits


def check_split(split: Split, table: pd.DataFrame) -> None:
    """Refuse a split that leaks: the same section, patient or group of shared slides on both sides.

    A split that is marked ``optimistic`` may share patients, because it says so; it may never share a section.

    Raises
    ------
    KeyError
        A section of the split is not in the table, or patients are not known and the split claims to be clean.
    ValueError
        A side is empty, a section stands on both sides, or a patient does; the message names it.
    """
    for side, names in (("train", split.train), ("test", split.test)):
        if not names:
            raise ValueError(f"Split {split.fold!r} has no {side} section. Give it at least one.")
    sections = set(_checked_sections(table))
    unknown = [name for name in (*split.train, *split.test) if name not in sections]
    if unknown:
        raise KeyError(
            f"Split {split.fold!r} names sections that the table does not have: {listed(unknown)} "
            f"(found: {listed(table.index)})."
        )
    both = sorted(set(split.train) & set(split.test))
    if both:
        raise ValueError(f"Split {split.fold!r} leaks: section(s) {listed(both)} are in train and in test.")
    if split.optimistic:
        return
    groups = section_groups(table)
    shared = sorted({groups[name] for name in split.train} & {groups[name] for name in split.test})
    if shared:
        of_group = {side: [name for name in names if groups[name] == shared[0]]
                    for side, names in (("train", split.train), ("test", split.test))}  # fmt: skip
        kind = "patients that share a slide" if "+" in shared[0] else "patient"
        raise ValueError(
            f"Split {split.fold!r} leaks: {kind} {listed(shared)} on both sides (train: {listed(of_group['train'])}; "
            f"test: {listed(of_group['test'])}). Move these sections to one side, use leave_one_out(table), or mark "
            "the split optimistic=True."
        )


def inner_folds(
    train_sections: Iterable[str], groups: Mapping[str, str] | None = None, *, max_folds: int | None = None
) -> list[Split]:
    """Split the training sections once more, to choose settings without the held-out ones.

    Parameters
    ----------
    train_sections
        Names of the training sections.
    groups
        Section -> group, as :func:`section_groups` says; one group is held out at a time. ``None``, or one group
        in all: one section at a time, marked optimistic and logged.
    max_folds
        Where there are more groups, several are held out together, so that folds hold about as many sections each.
        ``None``: a fold for each.

    Returns
    -------
    Splits whose ``train`` and ``test`` are training sections only.

    Raises
    ------
    KeyError
        A section has no group.
    ValueError
        There is one section only, so nothing can be held out, or ``max_folds`` is below 2.

    Examples
    --------
    >>> [split.test for split in inner_folds(["s1", "s2", "s3"], {"s1": "A", "s2": "A", "s3": "B"})]
    [['s1', 's2'], ['s3']]
    """
    sections = list(dict.fromkeys(train_sections))
    if max_folds is not None and max_folds < 2:
        raise ValueError(f"max_folds must be at least 2, got {max_folds}.")
    if len(sections) < 2:
        raise ValueError(
            f"one section only: inner validation holds out one section at a time, and training has "
            f"{listed(sections)}. Train on two sections or more; spots of one section are too alike to "
            "validate on each other."
        )
    missing = [name for name in sections if groups is not None and name not in groups]
    if missing:
        raise KeyError(f"No group is given for the section(s) {listed(missing)}. Pass groups= for every section.")
    own = {name: groups[name] if groups is not None else name for name in sections}
    alone = len(set(own.values())) == 1
    if alone:
        logger.info(
            "Training holds one patient (%s): settings are chosen by leaving out its sections one at a time, which "
            "flatters what memorises a patient.", _one_group(own),
        )  # fmt: skip
        own = {name: name for name in sections}
    optimistic = alone or groups is None
    return _leave_groups_out(_merged(own, max_folds), {name: optimistic for name in sections})


def _leave_groups_out(groups: Mapping[str, str], optimistic: Mapping[str, bool]) -> list[Split]:
    """One split for each group, in order of appearance."""
    splits = []
    for group in dict.fromkeys(groups.values()):
        test = [name for name, own in groups.items() if own == group]
        train = [name for name, own in groups.items() if own != group]
        splits.append(Split(group, train, test, any(optimistic[name] for name in test)))
    return splits


def _merged(groups: dict[str, str], max_folds: int | None) -> dict[str, str]:
    """Deal groups into at most ``max_folds`` folds, the largest first, each to the fold that is smallest so far."""
    sizes = pd.Series(groups).value_counts(sort=False)
    if max_folds is None or len(sizes) <= max_folds:
        return groups
    folds: list[list[str]] = [[] for _ in range(max_folds)]
    for group in sizes.sort_values(ascending=False, kind="stable").index:
        min(folds, key=lambda fold: sum(sizes[name] for name in fold)).append(group)
    fold_of = {group: "+".join(fold) for fold in folds for group in fold}
    return {section: fold_of[group] for section, group in groups.items()}


def _linked(patients: list[str], slides: list[str | None]) -> list[str]:
    """Join the names of patients that are connected through slides, one name per section."""
    linked = DisjointSet(("patient", patient) for patient in patients)
    for patient, slide in zip(patients, slides, strict=True):
        if slide is not None:
            linked.add(("slide", slide))
            linked.merge(("patient", patient), ("slide", slide))
    parts = (linked.subset(("patient", patient)) for patient in patients)
    return ["+".join(sorted(name for kind, name in part if kind == "patient")) for part in parts]


def _has_relatives(table: pd.DataFrame, sections: list[str]) -> dict[str, bool]:
    """Whether a section, held out alone, has its patient or slide in training, or may have."""
    if Keys.PATIENT not in table or any(patient is None for patient in _text(table[Keys.PATIENT])):
        return {name: True for name in sections}
    size = pd.Series(groups := section_groups(table)).value_counts()
    return {name: bool(size[groups[name]] > 1) for name in sections}


def _checked_sections(table: pd.DataFrame) -> list[str]:
    sections = [str(name) for name in table.index]
    if not sections:
        raise ValueError("The table of sections is empty. Give it one row per section, indexed by section name.")
    if len(set(sections)) < len(sections):
        repeated = table.index[table.index.duplicated()].unique()
        raise ValueError(f"The table names sections twice: {listed(repeated)}. Every section needs a row of its own.")
    return sections


def _slides(table: pd.DataFrame) -> list[str | None]:
    return _text(table[Keys.SLIDE]) if Keys.SLIDE in table else [None] * len(table)


def _text(column: pd.Series) -> list[str | None]:
    """Names as text; NaN and blank cells are None."""
    return [None if pd.isna(value) or not str(value).strip() else str(value).strip() for value in column]


def _leave_out(by: str) -> str:
    return either(f"leave out by={by!r}", f"use --leave-out {by}")


def _one_group(groups: Mapping[str, str]) -> str:
    return " and ".join(sorted(set(groups.values())))
