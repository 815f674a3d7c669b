"""DLPFC: Visium of the human dorsolateral prefrontal cortex, 3 donors with 4 sections each (spatialLIBD).

Maynard et al., Nature Neuroscience 24, 425-436 (2021). The sections of a donor lie at 0, 10, 310 and 320 um. Read are
the folders that the field passes on, named by the number of the section, with the matrix of Space Ranger (with or
without the number as prefix), ``spatial/`` and labels in one of four forms; the repository HumanPilot has the positions
beside the matrix, and the labels of all sections in one file.
"""

import csv
from pathlib import Path

from histoquilt.datasets.studies._layout import StudyFolder
from histoquilt.datasets.studies._visium import add_visium, has_matrix

_DONORS = {"Br5292": 151507, "Br5595": 151669, "Br8100": 151673}
_DEPTHS = (0, 10, 310, 320)  # um, of the four sections of a donor
SECTIONS = {
    str(first + place): (donor, depth) for donor, first in _DONORS.items() for place, depth in enumerate(_DEPTHS)
}
_LAYER = "layer_guess"


class Dlpfc:
    """Layout of DLPFC: one folder a section."""

    label = "DLPFC (spatialLIBD)"
    signs = tuple(f"{name}/*" for name in SECTIONS)
    needs = ("|".join(f"{name}/{inside}*filtered_feature_bc_matrix*" for name in SECTIONS for inside in ("", "outs/")),)

    def sections(self, root: Path) -> dict[str, Path]:
        """Return section -> its folder with the matrix."""
        found = {}
        for name in SECTIONS:
            for folder in (root / name, root / name / "outs"):
                if folder.is_dir() and has_matrix(folder):
                    found[name] = folder
        return found

    def describe(self, study: StudyFolder) -> None:
        """Add the sections of ``study.root``, with donor and depth."""
        found = self.sections(study.root)
        one_donor = len({SECTIONS[name][0] for name in found}) == 1
        for name, folder in found.items():
            donor, depth = SECTIONS[name]
            labels, column = _labels(study.root, study.root / name, name)
            if labels is None:
                study.lacks(
                    name, f"{name}/{name}_truth.txt, {name}/metadata.tsv with {_LAYER}, or barcode_level_layer_map.tsv",
                    "there are no layers to compare with",
                )  # fmt: skip
            add_visium(study, name, folder, patient=donor, labels=labels, label_column=column)
            if name in study.rows:
                study.rows[name]["z_um" if one_donor else "donor_z_um"] = depth
        for name in SECTIONS:
            if name not in found and (study.root / name).is_dir():
                study.lacks(name, f"{name}/filtered_feature_bc_matrix.h5", "the section is left out")
        if not one_donor:
            study.notes.append(
                "Sections of several donors are no stack: depth is in donor_z_um. For a stack keep the rows of one "
                "donor and rename that column z_um."
            )


def _labels(root: Path, folder: Path, name: str) -> tuple[Path | None, str | None]:
    """Return the file with the layers of a section, and its column if it has a header."""
    truth = f"{name}_truth.txt"
    own = [place / file for place in (folder, folder / "outs") for file in (truth, "truth.txt")]
    for path in (*own, root / truth, root / "DLPFC_annotations" / truth):
        if path.is_file():
            return path, None
    table = folder / "metadata.tsv"
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as stream:
            if _LAYER in next(csv.reader(stream, delimiter="\t"), []):
                return table, _LAYER
    for path in (root / "barcode_level_layer_map.tsv", folder / "barcode_level_layer_map.tsv"):
        if path.is_file() and f"\t{name}\t" in path.read_text(encoding="utf-8"):
            return path, None
    return None, None


DLPFC = Dlpfc()
