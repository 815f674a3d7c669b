"""Annotations of a job's sections, and the agreement of domains with them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys, argument, is_samples_table, listed
from histoquilt.jobs._source import AnnotationFile
from histoquilt.jobs.work._errors import JobError
from histoquilt.runtime import warn_user

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".geojson", ".geojson.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True)
class AnnotationPlace:
    """Where a job finds the annotations of its sections."""

    path: Path | None = None  # File of the only section, or folder with one per section
    image_scale: float | None = None  # Coordinate units per pixel of the image that was annotated
    spatial_key: str = Keys.SPATIAL  # Key in obsm of the spot centres

    def check(self, inputs: Sequence[Path], *, section_key: str | None = None) -> None:
        """Raise unless there can be annotations for all inputs, before anything is read."""
        if self.path is None:
            if self.image_scale is not None and not is_samples_table(inputs[0]):
                raise JobError(f"{argument('annotations_scale')} needs {argument('annotations')}.")
            return
        name = argument("annotations")
        if not self.path.exists():
            raise JobError(f"there is no file or folder {self.path} ({name}). Check the path.")
        if self.path.is_file() and (len(inputs) > 1 or is_samples_table(inputs[0])):
            raise JobError(
                f"{self.path} ({name}) holds the annotations of one section. Of several, name the files in the column "
                "annotations of a samples.csv, or give a folder with a file for each, named like the section."
            )
        if section_key is not None:
            raise JobError(
                f"{name} is of files with one section each, and {argument('section_key')} names several in one. "
                "Write them to files of their own: histoquilt.io.split_sections"
            )

    def of(self, name: str) -> AnnotationFile | None:
        """Return the file of a section; None if there is none.

        Raises
        ------
        JobError
            Several files in the folder are named like the section.
        """
        if self.path is None:
            return None
        found = [self.path] if self.path.is_file() else [file for file in self._files() if _is_of(file, name)]
        if len(found) > 1:
            raise JobError(
                f"{self.path} has several files of annotations of {name!r}: {listed(file.name for file in found)}."
            )
        return AnnotationFile(found[0], self.image_scale, self.spatial_key) if found else None

    def check_used(self, names: Iterable[str], *, of_table: bool = False) -> None:
        """Raise if no section has a file, or a table has names of its own (``of_table``); warn of unused files."""
        if self.path is None:
            return
        if of_table:
            raise JobError(f"the table has a column annotations. Leave {argument('annotations')} out, or that column.")
        names, files = list(names), [] if self.path.is_file() else self._files()
        others = [file.name for file in files if not any(_is_of(file, name) for name in names)]
        if self.path.is_dir() and len(others) == len(files):
            raise JobError(
                f"no file of annotations in {self.path} ({argument('annotations')}) is named like a section: sections "
                f"are {listed(names)}, files {listed(others)}. Expected {names[0]}.geojson or {names[0]}.csv."
            )
        if others:
            warn_user(f"Annotations of no section: {listed(others)}.")

    def _files(self) -> list[Path]:
        files = sorted((self.path or Path()).iterdir())
        return [file for file in files if file.name.endswith(_SUFFIXES) and not file.name.startswith(".")]


def _is_of(file: Path, name: str) -> bool:
    return file.name.startswith(f"{name}.")


def agreement_of(table: "pd.DataFrame", label_key: str) -> tuple[dict[str, dict[str, Any]], dict[str, "pd.DataFrame"]]:
    """Compare domains with annotations.

    Parameters
    ----------
    table
        One row per spot: ``section``, ``domain`` and, if any section has one, the annotation.
    label_key
        Column of the annotation.

    Returns
    -------
    Section -> ``ari, nmi, n_spots, n_regions, share``, for ``run.json``; and file name -> table.
    """
    import pandas as pd

    from histoquilt.metrics import score_annotation

    facts: dict[str, dict[str, Any]] = {}
    counts = []
    if label_key not in table:
        return {}, {}
    for name, rows in table.groupby("section", sort=False, observed=True):
        score = score_annotation(rows[label_key], rows["domain"])
        if not score.n_spots:
            continue
        numbers = {"ari": score.ari, "nmi": score.nmi, "share": score.share}
        facts[str(name)] = {key: round(value, 6) if value == value else None for key, value in numbers.items()} | {
            "n_spots": score.n_spots, "n_regions": score.counts.shape[1],
        }  # fmt: skip
        long = score.counts.reset_index().melt("domain", var_name="region", value_name="n_spots")
        long.insert(0, "section", name)
        long["stands_for"] = long["domain"].map(score.region_of) == long["region"]
        counts.append(long)
        if score.counts.shape[1] == 1:
            warn_user(
                f"The annotation of {name} names one region only, {score.counts.columns[0]!r}. Spots outside are not "
                "scored, so there is no agreement to measure: annotate a second region, such as the rest of the tissue."
            )
    if not counts:
        return {}, {}
    scores = pd.DataFrame.from_dict(facts, orient="index").rename_axis(index="section").reset_index()
    return facts, {"annotation_scores.csv": scores, "annotation_counts.csv": pd.concat(counts, ignore_index=True)}
