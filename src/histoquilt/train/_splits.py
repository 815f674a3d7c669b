"""Splits by patient, checked so that no patient and no slide is on both sides.

scikit-learn's ``GroupKFold`` assigns groups in the same way (largest first, to the smallest fold), but orders groups of
equal size backwards, which would change folds and the settings chosen on them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

from histoquilt._base import Keys, either, listed
from histoquilt.runtime import logger


@dataclass(frozen=True)
class Split:
    """Training and test sections of one fold of an evaluation.

    Examples
    --------
    >>> import pandas as pd, histoquilt as hq
    >>> table = pd.DataFrame({"patient": ["A", "A", "B"]}, index=["A1", "A2", "B1"])
    >>> hq.train.leave_one_out(table)[0]
    Split(fold='A', train=['B1'], test=['A1', 'A2'], optimistic=False)
    """

    fold: str  # held-out patients joined by "+", or the held-out section
    train: list[str]  # section names
    test: list[str]
    optimistic: bool  # a held-out patient or slide may also be in training


def section_groups(table: pd.DataFrame) -> dict[str, str]:
    """Return the groups of sections that must stay on one side of a split.

    A group consists of all sections that are connected through patients and slides: sections on one slide were stained
    and sequenced together, so a model may recognise a held-out patient by the slide.

    Parameters
    ----------
    table
        One row per section, indexed by section name, with a column ``patient`` and optionally ``slide``.

    Returns
    -------
    Section name -> group, named by its patients: ``"765+794"``.

    Raises
    ------
    KeyError
        The column ``patient`` is missing.
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
    slides: list[str | None] = _text(table[Keys.SLIDE]) if Keys.SLIDE in table else [None] * len(table)
    return dict(zip(sections, _linked([str(patient) for patient in patients], slides), strict=True))


def leave_one_out(table: pd.DataFrame, *, by: str = "patient") -> list[Split]:
    """Hold out each patient once, or each section.

    Parameters
    ----------
    table
        Table of sections as for :func:`section_groups`.
    by
        ``"patient"`` holds out all sections of a patient, and of patients that share a slide with it. ``"section"``
        holds out one section at a time; the split is ``optimistic`` if training may contain the same patient or slide.
        ``"fold"`` holds out all sections with the same value in the column ``fold``; leaks are not checked here
        (:func:`check_split`).

    Returns
    -------
    One split per group, section or fold, in the order of the table.

    Raises
    ------
    KeyError
        The column ``patient`` or ``fold`` is missing.
    ValueError
        ``by`` is unknown, a section has no patient or fold, or there is only one group.

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
        return _leave_groups_out(groups, dict.fromkeys(groups, False))
    if by == "fold":
        return _given_folds(table)
    if by != "section":
        raise ValueError(f"by must be 'patient', 'section' or 'fold', got {by!r}.")
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


def _given_folds(table: pd.DataFrame) -> list[Split]:
    """Return one split for each value of the column ``fold``."""
    sections = _checked_sections(table)
    if Keys.FOLD not in table:
        raise KeyError(
            f"There is no column {Keys.FOLD!r} in the table of sections (found: {listed(table.columns)}). It names the "
            "fold in which a section is held out: add it to samples.csv."
        )
    folds = _text(table[Keys.FOLD])
    unknown = [section for section, fold in zip(sections, folds, strict=True) if fold is None]
    if unknown:
        raise ValueError(f"No fold is given for the section(s) {listed(unknown)}. Fill the column {Keys.FOLD!r}.")
    if len(set(folds)) < 2:
        raise ValueError(f"All {len(sections)} sections are in fold {folds[0]!r}: nothing is left to train on.")
    return _leave_groups_out(dict(zip(sections, map(str, folds), strict=True)), dict.fromkeys(sections, False))


def check_split(split: Split, table: pd.DataFrame) -> None:
    """Raise an error if a split leaks: a section, patient or slide is on both sides.

    An ``optimistic`` split may share patients and slides, but not sections.

    Raises
    ------
    KeyError
        A section of the split is not in the table, or patients are unknown and the split is not ``optimistic``.
    ValueError
        A side is empty or names a section twice, or the split leaks.

    Examples
    --------
    >>> import pandas as pd, histoquilt as hq
    >>> table = pd.DataFrame({"patient": ["A", "A", "B"]}, index=["A1", "A2", "B1"])
    >>> hq.train.check_split(hq.train.Split("B", ["A1", "A2"], ["B1"], optimistic=False), table)
    >>> leaks = hq.train.Split("A", ["A1", "B1"], ["A2"], optimistic=False)
    >>> hq.train.check_split(leaks, table)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: Split 'A' leaks: patient 'A' on both sides (train: 'A1'; test: 'A2'). Move these ...
    """
    for side, names in (("train", split.train), ("test", split.test)):
        if not names:
            raise ValueError(f"Split {split.fold!r} has no {side} section. Give it at least one.")
        if twice := [name for name, n in Counter(names).items() if n > 1]:
            raise ValueError(f"Split {split.fold!r} names {listed(twice)} twice in {side}. Name each section once.")
    sections = set(_checked_sections(table))
    unknown = [name for name in (*split.train, *split.test) if name not in sections]
    if unknown:
        raise KeyError(
            f"Split {split.fold!r} names sections that the table does not have: {listed(unknown)} "
            f"(found: {listed(table.index)})."
        )
    if both := set(split.train) & set(split.test):
        raise ValueError(f"Split {split.fold!r} leaks: section(s) {listed(sorted(both))} are in train and in test.")
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
    """Split the training sections for inner validation, which chooses settings without the held-out sections.

    Parameters
    ----------
    train_sections
        Names of the training sections.
    groups
        Section -> group, from :func:`section_groups`; one group is held out at a time. Without groups, or with a single
        one, one section is held out at a time and splits are ``optimistic``.
    max_folds
        Largest number of folds, into which groups are joined to similar sizes; ``None`` for no bound.

    Raises
    ------
    KeyError
        A section has no group.
    ValueError
        There is only one section, or ``max_folds`` is below 2.

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
    group_of = {name: groups[name] if groups is not None else name for name in sections}
    single = len(set(group_of.values())) == 1
    if single:
        logger.info(
            "Training has one patient (%s): settings are chosen by leaving out its sections one at a time, which "
            "favours overfitting to the patient.", _one_group(group_of),
        )  # fmt: skip
        group_of = {name: name for name in sections}
    return _leave_groups_out(_merged(group_of, max_folds), dict.fromkeys(sections, single or groups is None))


def _leave_groups_out(groups: Mapping[str, str], optimistic: Mapping[str, bool]) -> list[Split]:
    """One split for each group, in order of appearance."""
    splits = []
    for held_out in dict.fromkeys(groups.values()):
        test = [name for name, group in groups.items() if group == held_out]
        train = [name for name, group in groups.items() if group != held_out]
        splits.append(Split(held_out, train, test, any(optimistic[name] for name in test)))
    return splits


def _merged(groups: dict[str, str], max_folds: int | None) -> dict[str, str]:
    """Join groups into at most ``max_folds`` folds: the largest first, each into the smallest fold so far."""
    sizes = pd.Series(groups).value_counts(sort=False)
    if max_folds is None or len(sizes) <= max_folds:
        return groups
    folds: list[list[str]] = [[] for _ in range(max_folds)]
    for group in sizes.sort_values(ascending=False, kind="stable").index:
        min(folds, key=lambda fold: sum(sizes[name] for name in fold)).append(group)
    fold_of = {group: "+".join(fold) for fold in folds for group in fold}
    return {section: fold_of[group] for section, group in groups.items()}


def _linked(patients: list[str], slides: list[str | None]) -> list[str]:
    """Name of the group of each section: the patients that are connected through slides."""
    linked = DisjointSet(("patient", patient) for patient in patients)
    for patient, slide in zip(patients, slides, strict=True):
        if slide is not None:
            linked.add(("slide", slide))
            linked.merge(("patient", patient), ("slide", slide))
    parts = (linked.subset(("patient", patient)) for patient in patients)
    return ["+".join(sorted(name for kind, name in part if kind == "patient")) for part in parts]


def _has_relatives(table: pd.DataFrame, sections: list[str]) -> dict[str, bool]:
    """Whether the patient or slide of a section may also be in training when it is held out alone."""
    if Keys.PATIENT not in table or None in _text(table[Keys.PATIENT]):
        return dict.fromkeys(sections, True)
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


def _text(column: pd.Series) -> list[str | None]:
    """Values as text; None for NaN and blanks."""
    return [None if pd.isna(value) or not str(value).strip() else str(value).strip() for value in column]


def _leave_out(by: str) -> str:
    return either(f"leave out by={by!r}", f"use --leave-out {by}")


def _one_group(groups: Mapping[str, str]) -> str:
    return " and ".join(sorted(set(groups.values())))
