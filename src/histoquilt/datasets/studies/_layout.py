"""Layout of a study: how its authors name and arrange the files, and what a folder in that layout holds."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pandas as pd

from histoquilt._base import Keys, listed, visible
from histoquilt.io import patient_spellings

# order of the columns of a samples.csv; others follow
COLUMNS = (
    "counts", "spots", "image", "image_scale", "mpp", "patient", "slide", "species", "z_um", "labels", "label_column",
)  # fmt: skip
PATHS = ("counts", "spots", "image", "labels")
NO_IMAGE = "domains work, train and evaluate do not"  # effect of a missing image


@dataclass
class StudyFolder:
    """Sections of a study's folder, and what is missing there.

    Attributes
    ----------
    layout
        Name of the layout.
    root
        Path of the folder in which the layout begins.
    rows
        Section -> columns of its row of a ``samples.csv``; paths are in full.
    missing
        One sentence for each file that is missing or cannot be right: its path, and what does not work without it.
    notes
        Other remarks, such as files that belong to no section.
    """

    layout: str
    root: Path
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, section: str, counts: Path, **columns: Any) -> None:
        """Add a section; columns that are None stay empty."""
        self.rows[section] = {"counts": counts, **{name: value for name, value in columns.items() if value is not None}}

    def lacks(self, section: str, path: str, effect: str) -> None:
        """Report a missing file of a section; its path is relative to the root, and may be a pattern."""
        self.missing.append(f"{section}: {path} is missing: {effect}.")

    def without_counts_of(self, images: Mapping[str, Iterable[Path]]) -> None:
        """Report images (section -> files) that belong to no section."""
        for section, paths in images.items():
            if section not in self.rows:
                names = ", ".join(str(path.relative_to(self.root)) for path in paths)
                self.notes.append(f"{section}: there is an image ({names}), but no usable counts; it is not used.")

    def join_patients(self) -> None:
        """Write a patient that is spelled in two ways alike, so that its sections are held out together."""
        patients = [row[Keys.PATIENT] for row in self.rows.values() if Keys.PATIENT in row]
        for names in patient_spellings(patients):
            for row in self.rows.values():
                if row.get(Keys.PATIENT) in names:
                    row[Keys.PATIENT] = names[0]
            self.notes.append(
                f"The patients {listed(names)} are taken as one, {names[0]!r}, so that an evaluation holds them out "
                "together. Correct the column patient if they are different."
            )

    def table(self, beside: Path | None = None) -> pd.DataFrame:
        """Return the ``samples.csv`` as a table, indexed by section.

        Parameters
        ----------
        beside
            Folder of the table: paths of files inside it become relative to it. By default all are in full.
        """
        table = pd.DataFrame.from_dict(self.rows, orient="index")
        table.index.name = Keys.SECTION
        first = [name for name in COLUMNS if name in table]
        table = table[[*first, *table.columns.drop(first)]]
        for name in table.columns.intersection([*PATHS]):
            table[name] = [_written(cell, beside) for cell in table[name]]
        return table


def _written(cell: Any, beside: Path | None) -> str:
    if not isinstance(cell, Path):
        return "" if pd.isna(cell) else str(cell)
    path = cell.absolute()
    if beside is not None and path.is_relative_to(beside.absolute()):
        path = path.relative_to(beside.absolute())
    return str(path)


@runtime_checkable
class StudyLayout(Protocol):
    """Layout of a study; packages add layouts by the entry point ``histoquilt.study_layouts``.

    Attributes
    ----------
    label
        Name of the study, for messages.
    signs
        Globs relative to the root of the study; one that matches suggests this layout. A layout without signs is not
        recognised, but asked for by name.
    needs
        Globs relative to the root that must all match; alternatives are separated by ``|``.
    """

    label: str
    signs: tuple[str, ...]
    needs: tuple[str, ...]

    def sections(self, root: Path) -> dict[str, Path]:
        """Return section -> file or folder with its counts; fast, as it is called for folders of any kind."""
        ...

    def describe(self, study: StudyFolder) -> None:
        """Add the sections in ``study.root`` to ``study``, and what is missing there."""
        ...


def files_by_name(folder: Path, pattern: str) -> tuple[dict[str, Path], list[str]]:
    """Return name -> file of a folder, named by the first group of a regular expression; case does not matter.

    Of a file that is there twice, plain and gzip-compressed, the plain one is taken; the second value names them.
    """
    found: dict[str, Path] = {}
    twice = []
    for path in sorted(visible(folder)) if folder.is_dir() else []:
        match = re.fullmatch(f"{pattern}(?:\\.gz)?", path.name, re.IGNORECASE)
        if match is None:
            continue
        name = match[1]
        if name in found:
            twice.append(f"{found[name].name} and {path.name}")
            found[name] = min(found[name], path, key=lambda each: each.suffix == ".gz")
        else:
            found[name] = path
    return found, twice


def report_twice(study: StudyFolder, twice: Iterable[str]) -> None:
    """Note files that are there both plain and compressed."""
    study.notes.extend(f"{names} are the same file, plain and compressed; the plain one is used." for names in twice)
