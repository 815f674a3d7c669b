"""Spots of legacy ST: whether the counts and the table of selected spots belong together."""

import gzip
from pathlib import Path

import pandas as pd

from histoquilt._base import listed

_LEAST_SHARED = 0.5  # of the selected spots, that have counts


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
