"""HER2ST: legacy ST of HER2-positive breast tumours, 8 patients (A-H), 36 sections (github.com/almaan/her2st).

Andersson et al., Nature Communications 12, 6012 (2021). The loaders of HisToGene, THItoGene and mclSTExp sort the 36
names and take the second to the 33rd, A2 to G3: A1 and patient H are in no fold. The column ``published_32`` marks
these. The repository and the archives of the record name the folders differently.
"""

from dataclasses import dataclass
from pathlib import Path

from histoquilt._base import visible
from histoquilt.datasets.studies._layout import StudyFolder, files_by_name, report_twice
from histoquilt.datasets.studies._legacy_spots import add_legacy_st

PUBLISHED = {
    *(f"{patient}{number}" for patient in "ABCD" for number in range(1, 7)),
    *(f"{patient}{number}" for patient in "EFG" for number in range(1, 4)),
} - {"A1"}


@dataclass(frozen=True)
class Her2St:
    """Layout of HER2ST, by the names of its folders; of alternatives the first that is there is read."""

    label: str
    signs: tuple[str, ...]
    counts: tuple[str, ...]
    spots: tuple[str, ...]
    labels: tuple[str, ...]
    images: tuple[str, ...]
    own_folders: bool  # of each section's image; else images are named by section
    image_of: str  # pattern of a section's image, for messages

    @property
    def needs(self) -> tuple[str, ...]:
        """Globs of the counts and of the selected spots."""
        return (
            "|".join(_joined(folder, "*.tsv*") for folder in self.counts),
            "|".join(_joined(folder, "*_selection.tsv*") for folder in self.spots),
        )

    def sections(self, root: Path) -> dict[str, Path]:
        """Return section -> its table of counts."""
        return _files(root, self.counts, r"(.+)\.tsv")[0]

    def describe(self, study: StudyFolder) -> None:
        """Add the sections of ``study.root``; the patient is the letter of a name."""
        counts, twice = _files(study.root, self.counts, r"(.+)\.tsv")
        spots, more = _files(study.root, self.spots, r"(.+)_selection\.tsv")
        labels, others = _files(study.root, self.labels, r"(.+)_labeled_coordinates\.tsv")
        report_twice(study, [*twice, *more, *others])
        images = self._images(study.root)
        for name, path in counts.items():
            own = images.get(name, [])
            add_legacy_st(
                study, name, path, spots.get(name), own[0] if own else None,
                spots_name=f"{self.spots[0]}/{name}_selection.tsv",
                image_name=self.image_of.format(patient=name[:1], name=name),
                patient=name[:1], labels=labels.get(name), published_32="yes" if name in PUBLISHED else "no",
            )  # fmt: skip
            if name in study.rows and len(own) > 1:
                study.notes.append(f"{name}: several images; {own[0].name} is used.")
        study.without_counts_of(images)
        _report_labels(study)

    def _images(self, root: Path) -> dict[str, list[Path]]:
        """Return section -> its images."""
        found: dict[str, list[Path]] = {}
        for path in sorted(path for pattern in self.images for path in visible(root, pattern)):
            stem, dot, kind = path.name.removesuffix(".gz").rpartition(".")
            if f"{dot}{kind}".lower() in (".jpg", ".jpeg"):
                found.setdefault(path.parent.name if self.own_folders else stem, []).append(path)
        return found


def _files(root: Path, folders: tuple[str, ...], pattern: str) -> tuple[dict[str, Path], list[str]]:
    """Return name -> file in the first of some folders that has any, and what is there twice."""
    return next((found for folder in folders if (found := files_by_name(root / folder, pattern))[0]), ({}, []))


def _joined(folder: str, glob: str) -> str:
    return glob if folder == "." else f"{folder}/{glob}"


def _report_labels(study: StudyFolder) -> None:
    labelled = [name for name, row in study.rows.items() if "labels" in row]
    study.notes.append(
        f"{len(labelled)} of {len(study.rows)} sections have region labels (the authors labelled one section of each "
        "patient)."
    )


HER2ST = Her2St(
    label="HER2ST (almaan/her2st)",
    signs=("ST-cnts", "ST-spotfiles", "ST-imgs"),
    counts=("ST-cnts",),
    spots=("ST-spotfiles",),
    labels=("ST-pat/lbl",),
    images=("ST-imgs/*/*/*",),
    own_folders=True,
    image_of="ST-imgs/{patient}/{name}/*.jpg",
)

#: The archives of the record, decrypted and unpacked: together, or each into a folder named like it.
HER2ST_ZENODO = Her2St(
    label="HER2ST (Zenodo 4751624)",
    signs=("count-matrices/*.tsv*", "count-matrices/count-matrices/*.tsv*", "spot-selections"),
    counts=("count-matrices", "count-matrices/count-matrices"),
    spots=("spot-selections", "spot-selections/spot-selections", "."),
    labels=("meta", "meta/meta", "."),
    images=("images/HE/*", "images/images/HE/*"),
    own_folders=False,
    image_of="images/HE/{name}.jpg",
)
