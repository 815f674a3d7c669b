"""Several sections, in whatever form a user brings them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, Union

import numpy as np
from anndata import AnnData

from histoquilt._base import SECTION_FILES, Keys, either, is_samples_table, listed, message_of
from histoquilt.runtime import logger
from histoquilt.study._checks import check_adata, check_obs_key
from histoquilt.study._libraries import image_libraries
from histoquilt.study._section import Section
from histoquilt.study._slots import DEFAULT_SLOTS, Slots
from histoquilt.study._written import Slot, write_result
from histoquilt.study.joined._one_section import check_one_section
from histoquilt.study.joined._shared_genes import shared_genes
from histoquilt.study.joined._split import rows_of_sections

OneSection: TypeAlias = AnnData | str | PathLike[str]
#: Sections as every function takes them: see :meth:`Study.of`.
Sections: TypeAlias = Union[OneSection, Sequence[OneSection], Mapping[str, OneSection], "Study"]


class Study(Mapping[str, Section]):
    """Sections by name, in their order; made by :meth:`of`. ``slots`` are the keys of their parts.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import Study
    >>> study = Study.of(hq.datasets.paired_study(n_sections=2, n_spots=60, n_genes=20, seed=0))
    >>> list(study), study["s1"].adata.shape, len(study.shared_genes())
    (['s1', 's2'], (60, 20), 20)
    """

    def __init__(self, sections: Iterable[Section], slots: Slots) -> None:
        self._sections = {section.name: section for section in sections}
        self.slots = slots

    @classmethod
    def of(cls, sections: Sections, slots: Slots = DEFAULT_SLOTS) -> "Study":
        """Resolve sections, and check each of them.

        Parameters
        ----------
        sections
            One AnnData whose ``obs[section_key]`` names sections; a list or a dict (name -> section) of AnnData or
            of paths that :func:`histoquilt.io.read_section` reads; the path of a ``samples.csv``; or a Study. In a
            list, a section is named by ``obs[section_key]``, else by its only library in ``uns["spatial"]`` if no
            other has that name, else by its number, from 1.
        slots
            Keys of the parts of the sections; a Study has its own.

        Raises
        ------
        TypeError, KeyError
            ``sections`` is none of these; ``obs[section_key]`` or spot centres are missing.
        ValueError
            Two sections have the same name; a Study has other slots; a section has no spots, repeated spot names or
            unusable coordinates, or is several itself (:func:`check_one_section`).

        Examples
        --------
        >>> import histoquilt as hq
        >>> adata = hq.datasets.toy_section(n_spots=300, n_genes=50, n_domains=3, n_sections=2, seed=0)
        >>> [section.name for section in Study.of(adata).values()]
        ['s1', 's2']
        """
        if isinstance(sections, Study):
            if slots not in (DEFAULT_SLOTS, sections.slots):
                raise ValueError(f"The sections are a Study with {sections.slots}, and {slots} were asked for.")
            return sections
        if isinstance(sections, str | PathLike):
            sections = _read(sections)
        if isinstance(sections, AnnData):
            rows_of = rows_of_sections(sections, slots.section_key)
            found = [Section(name, sections, slots, rows) for name, rows in rows_of.items()]
        else:
            found = [Section(name, adata, slots) for name, adata in _named(sections, slots.section_key)]
        for section in found:
            with _about(section.name):
                check_adata(section.view)
                section.centres  # noqa: B018  # checked, and cached
            check_one_section(section.view, spatial_key=slots.spatial_key, name=section.name)
        return cls(found, slots)

    def __getitem__(self, name: str) -> Section:
        return self._sections[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sections)

    def __len__(self) -> int:
        return len(self._sections)

    @property
    def adatas(self) -> dict[str, AnnData]:
        """Section name -> AnnData of this section alone."""
        return {name: section.adata for name, section in self.items()}

    def select(self, names: Iterable[str]) -> "Study":
        """Return the study of some of the sections, with their cached values."""
        return Study([self[name] for name in names], self.slots)

    @property
    def owners(self) -> list[AnnData]:
        """The AnnData that the user passed, each once."""
        return list({id(section.owner): section.owner for section in self.values()}.values())

    def write(self, slot: Slot, key: str, values: Mapping[str, np.ndarray]) -> None:
        """Write one array per section, a row per spot, into the AnnData that the user passed."""
        for owner in self.owners:
            of_owner = {name: section for name, section in self.items() if section.owner is owner}
            first = values[next(iter(of_owner))]
            whole = np.full((owner.n_obs, *first.shape[1:]), np.nan)
            for name, section in of_owner.items():
                whole[slice(None) if section.rows is None else section.rows] = values[name]
            write_result(owner, slot, key, whole)

    def check_units(self) -> None:
        """Raise ``ValueError`` if coordinates of two sections are known to be in different units."""
        by_unit: dict[str, list[str]] = {}
        for name, section in self.items():
            by_unit.setdefault(section.unit, []).append(name)
        undeclared = by_unit.pop("unknown", [])
        if len(by_unit) > 1:
            found = "; ".join(f"{unit}: {listed(names, 4)}" for unit, names in by_unit.items())
            raise ValueError(
                f"The sections' coordinates are in different units ({found}), so they cannot be overlaid. "
                "Bring them to one unit (microns = pixels x mpp), and say which: "
                "histoquilt.io.record_coordinates(adata, 'micron'). Or analyse those of each unit apart. Is one of "
                "them recorded wrongly?"
            )
        if by_unit and undeclared:
            [unit] = by_unit
            logger.info("Coordinates of %s are of unknown unit, those of the others in %s.", listed(undeclared), unit)

    def places(self, column: str) -> dict[str, float] | None:
        """Return section name -> ``z_um``, ``x_um`` or ``y_um``; ``None`` if it is given for no section.

        Raises ``ValueError`` if it is given for some sections only, or is not one number in a section.
        """
        found = {name: section.place(column) for name, section in self.items()}
        check_all_or_none(column, {name: value is not None for name, value in found.items()})
        return {name: value for name, value in found.items() if value is not None} or None

    def stack_order(self) -> list[str]:
        """Return the names in the order of the stack: by ``z_um``, or as given if it is absent."""
        return order_by_height(self.places("z_um") or dict.fromkeys(self))

    def shared_genes(self) -> list[str]:
        """Return the genes of all sections, in the order of the first; empty if no section has genes.

        Raises ``ValueError`` if gene names repeat, or too few are shared.
        """
        return shared_genes({name: section.owner.var_names for name, section in self.items()})

    def patients(self, patient_key: str | None = None) -> dict[str, str]:
        """Return section name -> patient, or its own name if patients are not known or there is only one.

        ``patient_key`` is a column of ``obs``, by default ``"patient"`` if all sections have it. A missing column
        raises ``KeyError``, several patients in a section ``ValueError``.
        """
        patients = self._patients(patient_key)
        if len(set(patients.values())) >= 2:
            return patients
        if patients:
            logger.info(
                "All sections are of patient %s; inner validation leaves out sections.", next(iter(patients.values()))
            )
        return {name: name for name in self}

    def n_patients(self, patient_key: str | None = None) -> int:
        """Return the number of patients; 1 if not every section names one, as they may all be of one.

        Arguments and errors are those of :meth:`patients`.
        """
        return max(1, len(set(self._patients(patient_key).values())))

    def _patients(self, patient_key: str | None) -> dict[str, str]:
        """Return section name -> patient; empty if no column is asked for and a section names none."""
        if patient_key is None:
            patient_key = Keys.PATIENT
            tables = [section.view.obs for section in self.values()]
            if not all(patient_key in obs and obs[patient_key].notna().all() for obs in tables):
                return {}
        patients = {}
        for name, section in self.items():
            check_obs_key(section.view, patient_key, argument="patient_key")
            column = section.view.obs[patient_key]
            if column.isna().any() or column.astype(str).nunique() != 1:
                raise ValueError(
                    f"obs[{patient_key!r}] of section {name!r} must name one patient for all spots, found "
                    f"{listed(column.unique())}. Fill it in{either(', or pass patient_key= of another column', '')}."
                )
            patients[name] = str(column.iloc[0])
        return patients


def order_by_height(heights: Mapping[str, float | None]) -> list[str]:
    """Return section names from one end of the stack to the other: by height, or as given if one has none.

    Examples
    --------
    >>> from histoquilt.study import order_by_height
    >>> order_by_height({"a": 20.0, "b": 0.0, "c": 10.0}), order_by_height({"a": 20.0, "b": None})
    (['b', 'c', 'a'], ['a', 'b'])
    """
    known = {name: height for name, height in heights.items() if height is not None}
    return sorted(known, key=known.__getitem__) if len(known) == len(heights) else list(heights)


def _read(path: str | PathLike[str]) -> AnnData | Mapping[str, AnnData]:
    """Read a ``samples.csv``, or one file or folder of a section."""
    if is_samples_table(Path(path)):
        sections: Mapping[str, AnnData] = SECTION_FILES.load("samples")(path).sections
        return sections
    section: AnnData = SECTION_FILES.load("section")(path)
    return section


def _named(sections: object, section_key: str) -> list[tuple[str, AnnData]]:
    """Return names and AnnData of the sections of a list or a dict."""
    if isinstance(sections, Mapping):
        return [(str(name), _loaded(adata)) for name, adata in sections.items()]
    if isinstance(sections, str) or not isinstance(sections, Sequence):
        raise TypeError(
            f"Expected an AnnData, a list or a dict of them, or the path of a samples.csv, got "
            f"{type(sections).__name__}."
        )
    adatas = [_loaded(given) for given in sections]
    for adata in adatas:
        check_adata(adata)
    libraries = [image_libraries(adata) for adata in adatas]
    of_image = [next(iter(found)) if len(found) == 1 else None for found in libraries]
    named: dict[str, AnnData] = {}
    for number, (adata, library) in enumerate(zip(adatas, of_image, strict=True), start=1):
        own = library if library is not None and of_image.count(library) == 1 else str(number)
        name = _name_in_obs(adata, section_key) or own
        if name in named:
            raise ValueError(
                f"Two sections of the list are both named {name!r}. Pass a dict from name to AnnData instead."
            )
        named[name] = adata
    return list(named.items())


def _name_in_obs(adata: AnnData, section_key: str) -> str | None:
    names = adata.obs[section_key].dropna().unique() if section_key in adata.obs else []
    if len(names) > 1:
        raise ValueError(
            f"obs[{section_key!r}] of one section of the list holds {len(names)} names: {listed(names)}. Take it "
            "apart with histoquilt.io.split_sections, or pass one AnnData for all."
        )
    return str(names[0]) if len(names) else None


def _loaded(given: Any) -> Any:
    return SECTION_FILES.load("section")(given) if isinstance(given, str | PathLike) else given


def check_all_or_none(column: str, given: Mapping[str, bool]) -> None:
    """Raise ``ValueError`` if a column is given for some sections only.

    Examples
    --------
    >>> from histoquilt.study import check_all_or_none
    >>> check_all_or_none("z_um", {"s1": True, "s2": False})
    Traceback (most recent call last):
        ...
    ValueError: z_um is given for 1 of 2 sections, and missing for 's2'. Give it for every section, or for none.
    """
    without = [name for name, has in given.items() if not has]
    if without and len(without) < len(given):
        raise ValueError(
            f"{column} is given for {len(given) - len(without)} of {len(given)} sections, and missing for "
            f"{listed(without)}. Give it for every section, or for none."
        )


@contextmanager
def _about(name: str) -> Iterator[None]:
    """Name the section in errors of the block."""
    try:
        yield
    except KeyError as error:
        raise KeyError(f"Section {name!r}: {message_of(error)}") from error
    except (TypeError, ValueError) as error:
        raise type(error)(f"Section {name!r}: {error}") from error
