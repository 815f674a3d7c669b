"""HER2ST: legacy ST of HER2-positive breast tumours, 8 patients (A-H), 36 sections (github.com/almaan/her2st).

Andersson et al., Nature Communications 12, 6012 (2021). The loaders of HisToGene, THItoGene and mclSTExp sort the 36
names and take the second to the 33rd, A2 to G3: A1 and patient H are in no fold. The column ``published_32`` marks
these.
"""

from pathlib import Path

from histoquilt.datasets.studies._layout import StudyFolder, files_by_name, report_twice
from histoquilt.datasets.studies._legacy_spots import add_legacy_st

PUBLISHED = {
    *(f"{patient}{number}" for patient in "ABCD" for number in range(1, 7)),
    *(f"{patient}{number}" for patient in "EFG" for number in range(1, 4)),
} - {"A1"}


class Her2St:
    """Layout of HER2ST; the root is the folder ``data`` of the repository."""

    label = "HER2ST (almaan/her2st)"
    signs = ("ST-cnts", "ST-spotfiles", "ST-imgs")
    needs = ("ST-cnts/*.tsv*", "ST-spotfiles/*_selection.tsv*")

    def sections(self, root: Path) -> dict[str, Path]:
        """Return section -> its table of counts."""
        return files_by_name(root / "ST-cnts", r"(.+)\.tsv")[0]

    def describe(self, study: StudyFolder) -> None:
        """Add the sections of ``study.root``; the patient is the letter of a name."""
        root = study.root
        counts, twice = files_by_name(root / "ST-cnts", r"(.+)\.tsv")
        spots, more = files_by_name(root / "ST-spotfiles", r"(.+)_selection\.tsv")
        labels, others = files_by_name(root / "ST-pat" / "lbl", r"(.+)_labeled_coordinates\.tsv")
        report_twice(study, [*twice, *more, *others])
        images = _images(root / "ST-imgs")
        for name, path in counts.items():
            own = images.get(name, [])
            add_legacy_st(
                study, name, path, spots.get(name), own[0] if own else None,
                spots_name=f"ST-spotfiles/{name}_selection.tsv", image_name=f"ST-imgs/{name[:1]}/{name}/*.jpg",
                patient=name[:1], labels=labels.get(name), published_32="yes" if name in PUBLISHED else "no",
            )  # fmt: skip
            if name in study.rows and len(own) > 1:
                study.notes.append(f"{name}: several images; {own[0].name} is used.")
        study.without_counts_of(images)
        _report_labels(study)


def _images(folder: Path) -> dict[str, list[Path]]:
    """Return section -> the images in its folder."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*/*/*")):
        if path.name.lower().removesuffix(".gz").endswith((".jpg", ".jpeg")):
            found.setdefault(path.parent.name, []).append(path)
    return found


def _report_labels(study: StudyFolder) -> None:
    labelled = [name for name, row in study.rows.items() if "labels" in row]
    study.notes.append(
        f"{len(labelled)} of {len(study.rows)} sections have region labels (the authors labelled one section of each "
        "patient)."
    )


HER2ST = Her2St()
