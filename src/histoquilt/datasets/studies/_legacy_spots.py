"""Sections of legacy ST: counts, the table of selected spots, and whether they belong together."""

import gzip
from pathlib import Path
from typing import Any

import pandas as pd

from histoquilt._base import listed
from histoquilt.datasets.studies._layout import NO_IMAGE, StudyFolder

_LEAST_SHARED = 0.5  # of the selected spots, that have counts


def add_legacy_st(
    study: StudyFolder, name: str, counts: Path, spots: Path | None, image: Path | None, *,
    spots_name: str, image_name: str, found_name: str | None = None, **columns: Any,
) -> None:  # fmt: skip
    """Add a section with its spots and its image, or say what is missing.

    ``spots_name`` and ``image_name`` are how the layout names the files, ``found_name`` how messages name a spot file
    that is there (by default as ``spots_name``).
    """
    if spots is None:
        study.lacks(name, spots_name, "the spots have no positions, so the section is left out")
        return
    if problem := spots_problem(counts, spots):
        study.missing.append(f"{name}: {found_name or spots_name} {problem}. The section is left out.")
        return
    if image is None:
        study.lacks(name, image_name, NO_IMAGE)
    study.add(name, counts, spots=spots, image=image, image_scale=None if image is None else 1, **columns)


def spots_problem(counts: Path, spots: Path) -> str | None:
    """Return why a spot file cannot be that of the counts; None if it can. Only names of spots are read."""
    try:
        with gzip.open(counts, "rt") if counts.suffix == ".gz" else counts.open(encoding="utf-8") as stream:
            next(stream, None)  # the genes
            counted = {line.split("\t", 1)[0].strip('"') for line in stream}
        table = pd.read_csv(spots, sep="\t")
    except (OSError, EOFError, ValueError) as error:
        return f"could not be read ({' '.join(str(error).split())})"
    missing = [name for name in ("x", "y", "pixel_x", "pixel_y") if name not in table]
    if missing:
        return f"lacks the columns {listed(missing)} (found: {listed(table.columns)})"
    if "selected" in table:
        table = table[table["selected"] == 1]
    chosen = [f"{x:g}x{y:g}" for x, y in zip(table["x"], table["y"], strict=True)]
    shared = sum(name in counted for name in chosen)
    if shared < _LEAST_SHARED * max(len(chosen), 1) or not chosen:
        return (
            f"has {len(chosen):,} selected spots, of which {shared:,} are in {counts.name} (named like "
            f"{listed(sorted(counted)[:2])}); is it of another section?"
        )
    return None
