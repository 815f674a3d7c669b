"""Data of SpaMask (Zenodo 14062665): one archive a data set, with Visium folders and ``.h5ad`` files.

Min et al., PLOS Computational Biology 21(4) e1012881 (2025). Neither the record nor the authors' repository describes
the folders inside the archives, so this layout is never recognised on its own: it takes every ``.h5ad`` and every
folder of Space Ranger in the folder given and one level below. Donors are known for DLPFC only, by the number of the
section; labels and depths are not assigned.
"""

from pathlib import Path

from histoquilt.datasets.studies._dlpfc import SECTIONS
from histoquilt.datasets.studies._layout import StudyFolder
from histoquilt.datasets.studies._visium import add_visium, has_matrix


class SpaMaskData:
    """Layout of an unpacked archive of the record; to be asked for by name."""

    label = "SpaMask data (Zenodo 14062665)"
    signs: tuple[str, ...] = ()
    needs = ("*.h5ad|*/*.h5ad|*/*filtered_feature_bc_matrix*|*filtered_feature_bc_matrix*",)

    def sections(self, root: Path) -> dict[str, Path]:
        """Return name -> ``.h5ad`` or folder of Space Ranger."""
        folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
        found = {path.stem: path for place in (root, *folders) for path in sorted(place.glob("*.h5ad"))}
        return found | {path.name: path for path in (root, *folders) if has_matrix(path)}

    def describe(self, study: StudyFolder) -> None:
        """Add the sections of ``study.root``."""
        for name, path in self.sections(study.root).items():
            donor = SECTIONS.get(name, (None, None))[0]
            if path.is_dir():
                add_visium(study, name, path, patient=donor)
            else:
                study.add(name, path, patient=donor)
        study.notes.append(
            "What the archives hold is not documented: donors other than those of DLPFC, labels and depths are not "
            "known here. Fill the columns patient, labels and z_um by hand."
        )


SPAMASK = SpaMaskData()
