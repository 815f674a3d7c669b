"""HEST-1k: sections of many studies in one form, with whole-slide images (Hugging Face MahmoodLab/hest).

Jaume et al., NeurIPS Datasets and Benchmarks (2024). Coordinates are pixels of the image in ``wsis``. Patients are
named within their study ("Patient 1"), so that a patient here is its study and its name. Many sections are Xenium runs
binned to pseudo-spots (column ``technology``).
"""

import csv
import json
from pathlib import Path
from typing import Any

from histoquilt._base import listed, visible
from histoquilt.datasets.studies._layout import NO_IMAGE, StudyFolder, files_by_name

_SPECIES = {"homo sapiens": "human", "mus musculus": "mouse"}
_COLUMNS = {"organ": "organ", "technology": "st_technology", "disease_state": "disease_state", "study": "dataset_title"}


class Hest:
    """Layout of HEST-1k, whole or a part of it."""

    label = "HEST-1k"
    signs = ("st/*.h5ad", "HEST_v*.csv", "wsis/*.tif")
    needs = ("st/*.h5ad", "metadata/*.json|HEST_v*.csv")

    def sections(self, root: Path) -> dict[str, Path]:
        """Return section -> its ``.h5ad``."""
        return {path.stem: path for path in sorted(visible(root / "st", "*.h5ad"))}

    def describe(self, study: StudyFolder) -> None:
        """Add the sections of ``study.root``."""
        root = study.root
        table = _rows(root)
        images = files_by_name(root / "wsis", r"(.+)\.tiff?")[0]
        unknown = []
        for name, path in self.sections(root).items():
            facts = {**table.get(name, {}), **_facts(root / "metadata" / f"{name}.json")}
            if not facts:
                study.lacks(name, f"metadata/{name}.json", "its patient and microns per pixel are not known")
            image = images.get(name)
            if image is None:
                study.lacks(name, f"wsis/{name}.tif", NO_IMAGE)
            patient = _patient(facts)
            if patient is None:
                unknown.append(name)
            species = str(facts.get("species") or "")
            study.add(
                name, path, image=image, image_scale=None if image is None else 1, mpp=_mpp(facts), patient=patient,
                species=_SPECIES.get(species.casefold(), species) or None,
                **{column: str(facts[key]) for column, key in _COLUMNS.items() if facts.get(key)},
            )  # fmt: skip
        study.without_counts_of({name: [path] for name, path in images.items()})
        if unknown:
            study.notes.append(
                f"HEST names no patient for {len(unknown)} of {len(study.rows)} sections ({listed(unknown, 5)}). Fill "
                "the column patient, or evaluate with --leave-out section."
            )


def _facts(path: Path) -> dict[str, Any]:
    """Return the metadata of a section; empty if there is no file."""
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}). Download it again.") from error
    return {key: value for key, value in facts.items() if _is_given(value)} if isinstance(facts, dict) else {}


def _is_given(value: Any) -> bool:
    return value is not None and str(value).strip().casefold() not in ("", "nan")  # Python writes NaN into JSON


def _rows(root: Path) -> dict[str, dict[str, Any]]:
    """Return section -> its row in the newest ``HEST_v*.csv``."""
    tables = sorted(visible(root, "HEST_v*.csv"))
    if not tables:
        return {}
    with tables[-1].open(encoding="utf-8-sig", newline="") as stream:
        return {
            row["id"]: {key: cell for key, cell in row.items() if _is_given(cell)} for row in csv.DictReader(stream)
        }


def _patient(facts: dict[str, Any]) -> str | None:
    name = str(facts.get("patient", "")).strip()
    if not name:
        return None
    study = str(facts.get("dataset_title") or facts.get("study_link") or "").strip()
    return f"{study}: {name}" if study else name


def _mpp(facts: dict[str, Any]) -> float | None:
    """Return microns per pixel: the estimate from the spots, else that of the image file."""
    for key in ("pixel_size_um_estimated", "pixel_size_um_embedded"):
        try:
            value = float(facts[key])
        except (KeyError, TypeError, ValueError):
            continue
        if value > 0:
            return value
    return None


HEST = Hest()
