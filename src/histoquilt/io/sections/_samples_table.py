"""Rows of a ``samples.csv`` with numbers and paths, and their errors."""

import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from histoquilt._base import Keys, check_mpp, close_matches, listed
from histoquilt.io._files import read_delimited
from histoquilt.io.sections._column_names import column_problem
from histoquilt.io.sections._labels import is_label_file
from histoquilt.runtime import warn_user
from histoquilt.study import check_all_or_none, check_names

REQUIRED = ("section", "counts")
POSITIVE = ("mpp", "image_scale", "annotations_scale")
PATHS = ("counts", "spots", "image", "image_alignment", "annotations")  # relative to the table
# read beside the counts; labels may be a column of obs instead
SIDE_FILES = ("spots", "image_alignment", "labels", "annotations")
# text also where they look like numbers
TEXT = (
    "image", "image_alignment", "spots", "bin_size", "labels", "label_column", "annotations", "patient", "condition",
    "slide", "species", "fold",
)  # fmt: skip
_OURS = (Keys.OBS_NAME, Keys.CONFIDENCE, Keys.OUT_OF_DISTRIBUTION)  # obs: written into the results

_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")  # 007 is a name


@dataclass(frozen=True)
class Row:
    """One section of the table."""

    line: int  # in the file, the header is line 1
    text: dict[str, str]  # as written, without empty cells
    parsed: dict[str, Any]  # numbers as numbers, paths in full


def read_rows(path: Path) -> dict[str, Row]:
    """Read the table as section name -> row; raise if a name is missing or repeated."""
    cells = _cells(path)
    header = cells.iloc[0].tolist()
    while header and not header[-1] and not cells.iloc[1:, len(header) - 1].any():
        header.pop()  # spreadsheets leave empty columns behind
    _check_header(header, path)
    body = cells.iloc[1:, : len(header)].set_axis(header, axis=1)
    body = body[(body != "").any(axis=1)]
    if body.empty:
        raise ValueError(f"{path} names columns, but holds no section. Write one row for each.")
    as_numbers = {
        column
        for column in header
        if column in (*Keys.PLACE, *POSITIVE)
        or (column not in (*REQUIRED, *TEXT) and _all_numbers(body[column].tolist()))
    }
    unnamed = body.index[body["section"] == ""]
    if len(unnamed):
        lines = listed([int(line) + 1 for line in unnamed])
        raise ValueError(f"{path}: the cell 'section' is empty in line {lines}. Every section needs a name.")
    names = body["section"].tolist()
    try:
        check_names(names)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return {
        str(name): _parsed(int(line) + 1, dict(zip(header, texts, strict=True)), as_numbers, path.parent)
        for line, name, texts in zip(body.index, names, body.to_numpy().tolist(), strict=True)
    }


def _cells(path: Path) -> pd.DataFrame:
    """Read all cells as text, with the header; raise if the file is not a CSV in UTF-8."""
    content = path.read_bytes()
    save = "Save it as 'CSV UTF-8 (comma delimited)'."
    if content.startswith(b"PK"):
        raise ValueError(f"{path} is an Excel workbook, not a table of text. {save}")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise ValueError(f"{path} is written in UTF-16 ('Unicode text'), and UTF-8 is expected. {save}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path} is not written in UTF-8 (first in line {line}: {content[error.start : error.end]!r}), but in "
            f"another encoding, such as Latin-1. {save}"
        ) from error
    cells = read_delimited(
        path, content=io.StringIO(text), sep=",", header=None, dtype=str, keep_default_na=False, skip_blank_lines=False
    )
    return cells.fillna("").map(str.strip)


def _check_header(header: list[str], path: Path) -> None:
    """Raise unless required columns are present and all names are unique and can be written."""
    missing = [column for column in REQUIRED if column not in header]
    if missing:
        hint = ""
        if any(mark in cell for cell in header for mark in ";\t"):
            hint = " It is separated by semicolons or tabs; save it separated by commas."
        raise ValueError(
            f"{path}: required column(s) missing: {listed(missing)} (found: {listed(header, 12)}). The first line "
            f"names the columns; {listed(REQUIRED)} are needed.{hint}"
        )
    repeated = sorted({column for column in header if header.count(column) > 1 or not column})
    if repeated:
        hint = ""
        if "" in repeated:
            places = listed([at for at, column in enumerate(header, start=1) if not column])
            hint = f" Column {places} has no name: name it, or leave it out; pandas writes one for row names, so save "
            hint += "with to_csv(..., index=False)."
        raise ValueError(f"{path}: every column needs a name of its own; repeated or empty: {listed(repeated)}.{hint}")
    problems = [f"{column!r} {problem}" for column in header if (problem := column_problem(column)) is not None]
    if problems:
        raise ValueError(
            f"{path}: a column becomes one of the results' obs, which cannot have every name: {'; '.join(problems)}. "
            "Rename it."
        )
    ours = [column for column in header if column in _OURS]
    if ours:
        raise ValueError(f"{path}: results are written under the name of column {listed(ours)}. Rename it.")


def warn_of_misspelt_columns(rows: Mapping[str, Row], path: Path) -> None:
    """Warn of columns that are not read but named nearly like one that is read and that the table lacks."""
    filled = list(dict.fromkeys(column for row in rows.values() for column in row.text))
    optional = tuple(dict.fromkeys((*TEXT, *POSITIVE, *Keys.PLACE)))
    lacking = [name for name in optional if name not in filled]
    for column in filled:
        if column not in (*REQUIRED, *optional) and (near := close_matches(column, lacking, cutoff=0.8)):
            warn_user(
                f"{path}: column {column!r} has no meaning here and only becomes obs[{column!r}]. Did you mean "
                f"{near[0]!r}? If so, rename it; if not, nothing is wrong."
            )


def patient_spellings(patients: Iterable[str]) -> list[list[str]]:
    """Return names of patients that differ only in case, separators or leading zeros, in groups.

    >>> patient_spellings(["P2", "p02", "P 2", "P20", "Patient 1"])
    [['P2', 'p02', 'P 2']]
    """
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(patients):
        plain = re.sub(r"[\W_]+", " ", name.casefold()).strip()
        plain = re.sub(r"(?<=[^\W\d]) (?=\d)", "", plain)
        groups.setdefault(re.sub(r"(?<!\d)0+(?=\d)", "", plain), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def warn_of_patient_spellings(rows: Mapping[str, Row], path: Path) -> None:
    """Warn of patients that may be one under two spellings, whose sections would not be held out together."""
    for names in patient_spellings(str(row.parsed["patient"]) for row in rows.values() if "patient" in row.parsed):
        warn_user(
            f"{path}: {listed(names)} are taken as different patients. If they are one, write the name alike, or an "
            "evaluation trains on a patient that it tests on."
        )


def _all_numbers(cells: list[str]) -> bool:
    """Return whether the filled cells of a column are all numbers."""
    return any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells if cell)


def _parsed(line: int, texts: dict[str, str], as_numbers: set[str], folder: Path) -> Row:
    """Convert the cells of a row; text in place of a number stays text, for the check."""
    text = {column: cell for column, cell in texts.items() if cell}
    parsed: dict[str, Any] = {}
    for column, cell in text.items():
        if column in as_numbers:
            parsed[column] = _number(cell, whole=column not in (*Keys.PLACE, *POSITIVE))
        elif column in PATHS or (column == "labels" and is_label_file(cell)):
            parsed[column] = str(folder / Path(cell).expanduser())
        elif column != "section":
            parsed[column] = cell
    return Row(line, text, parsed)


def _number(cell: str, *, whole: bool) -> int | float | str:
    """Read a number, with ``whole`` as int if it is written as one; other text is returned as it is."""
    for kind in (int, float) if whole else (float,):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def check_table(rows: Mapping[str, Row], path: Path) -> None:
    """Raise for errors of the table as a whole."""
    try:
        for column in Keys.PLACE:
            check_all_or_none(column, {name: column in row.text for name, row in rows.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    first = next(iter(rows.values())).text
    if ("x_um" in first) != ("y_um" in first):
        raise ValueError(f"{path}: of x_um and y_um only one is given. A place in the plane needs both, or none.")
    of_counts: dict[Path, list[str]] = {}
    for name, row in rows.items():
        if "counts" in row.text:
            of_counts.setdefault(Path(row.parsed["counts"]).resolve(), []).append(name)
    for counts, names in of_counts.items():
        if len(names) > 1:
            raise ValueError(
                f"{path}: the sections {listed(names)} have the same counts, {counts.name}. Give each section its own "
                "file, or remove the repeated row."
            )


def row_problem(row: Row) -> str | None:
    """Return the error of a row, without reading its files; None if it has none."""
    if "counts" not in row.text:
        return "the cell 'counts' is empty"
    for column in (*Keys.PLACE, *POSITIVE):
        if column not in row.text:
            continue
        value = row.parsed[column]
        if not isinstance(value, float) or not np.isfinite(value):
            return f"{column} must be a number, got {row.text[column]!r}"
        if column in POSITIVE and value <= 0:
            return f"{column} must be positive, got {row.text[column]}"
        if column == "mpp":
            try:
                check_mpp(value)
            except ValueError as error:
                return str(error)
    if "label_column" in row.text and not is_label_file(row.text.get("labels", "")):
        return "label_column names a column of the file in the cell 'labels', which names none"
    for column in ("counts", "spots", "image_alignment", "labels", "annotations"):
        if column not in row.text or (column == "labels" and not is_label_file(row.text[column])):
            continue
        if not Path(row.parsed[column]).exists():
            return f"{column} {row.parsed[column]} does not exist (paths are relative to the table)"
    if "annotations_scale" in row.text and "annotations" not in row.text:
        return "annotations_scale is given, and the cell 'annotations' is empty"
    return None
