"""Breast cancer Visium of Wu et al. 2021 ("Alex", "Swarbrick"), 6 patients with one section each (Zenodo 4739739).

Wu et al., Nature Genetics 53, 1334-1347 (2021). Read are the archives ``filtered_count_matrices``, ``spatial`` and
``metadata``, unpacked side by side. Published are images of Space Ranger (``tissue_hires_image.png``); full-resolution
images in ``images/`` are used if they are named by the section and have the proportions of that image.
"""

import csv
from pathlib import Path

from histoquilt._base import visible
from histoquilt.datasets.studies._layout import StudyFolder
from histoquilt.datasets.studies._visium import add_visium
from histoquilt.io import open_slide

_SUFFIX = "_filtered_count_matrix"
_CLASS = "Classification"
_TOLERANCE = 0.02  # of the proportions of two images of one section


class Wu2021:
    """Layout of Zenodo record 4739739."""

    label = "Wu 2021 breast Visium (Zenodo 4739739)"
    signs = ("filtered_count_matrices",)
    needs = (f"filtered_count_matrices/*{_SUFFIX}", "spatial/*_spatial")

    def sections(self, root: Path) -> dict[str, Path]:
        """Return section -> its matrix folder."""
        folders = sorted(visible(root / "filtered_count_matrices", f"*{_SUFFIX}"))
        return {folder.name.removesuffix(_SUFFIX): folder for folder in folders if folder.is_dir()}

    def describe(self, study: StudyFolder) -> None:
        """Add the sections of ``study.root``; each is a patient."""
        for name, folder in self.sections(study.root).items():
            spatial = study.root / "spatial" / f"{name}_spatial"
            metadata = study.root / "metadata" / f"{name}_metadata.csv"
            has_labels = metadata.is_file()
            if not has_labels:
                study.lacks(name, f"metadata/{name}_metadata.csv", "there are no labels and no subtype")
            add_visium(
                study, name, folder, spatial=spatial, patient=name, labels=metadata if has_labels else None,
                label_column=_CLASS if has_labels else None, subtype=_subtype(metadata) if has_labels else None,
            )  # fmt: skip
            _use_full_image(study, name)


def _subtype(metadata: Path) -> str | None:
    """Return the subtype in the first row of a section's metadata."""
    with metadata.open(encoding="utf-8-sig", newline="") as stream:
        first = next(csv.DictReader(stream), {})
    return first.get("subtype") or None


def _use_full_image(study: StudyFolder, name: str) -> None:
    """Replace the image of a section by one in ``images/`` that has the same proportions."""
    row = study.rows.get(name, {})
    found = sorted(path for path in visible(study.root / "images", f"{name}*") if path.is_file())
    if not found or "image" not in row:
        return
    with open_slide(row["image"]) as small, open_slide(found[0]) as large:
        ratio = small.width / large.width
        if abs(small.height / large.height / ratio - 1) > _TOLERANCE or ratio >= 1:
            study.notes.append(f"{name}: images/{found[0].name} is not used: it differs from {row['image'].name}.")
            return
    row["image"], row["image_scale"] = found[0], round(ratio * row["image_scale"], 6)


WU2021 = Wu2021()
