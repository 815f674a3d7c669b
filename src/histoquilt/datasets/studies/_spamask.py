"""Data of SpaMask (Zenodo 14062665): one archive a data set, with Visium folders and ``.h5ad`` files.

Min et al., PLOS Computational Biology 21(4) e1012881 (2025). Neither the record nor the authors' repository describes
the folders inside the archives, so this layout is never recognised on its own: it takes every ``.h5ad`` and every
folder of Space Ranger, however deep. Donors are known for DLPFC only, by the number of the section; labels and depths
are not assigned.
"""

from collections import Counter
from pathlib import Path

from histoquilt._base import visible
from histoquilt.datasets.studies._dlpfc import SECTIONS
from histoquilt.datasets.studies._layout import StudyFolder
from histoquilt.datasets.studies._visium import add_visium, has_matrix, sample_name


class SpaMaskData:
    """Layout of an unpacked archive of the record; to be asked for by name."""

    label = "SpaMask data (Zenodo 14062665)"
    signs: tuple[str, ...] = ()
    needs = ("**/*.h5ad|**/*filtered_feature_bc_matrix*",)

    def sections(self, root: Path) -> dict[str, Path]:
        """Return name -> ``.h5ad`` or folder of Space Ranger; of the same name twice, with the folders above it."""
        folders = {path.parent for path in visible(root, "**/*filtered_feature_bc_matrix*")}
        found = [
            *((path.stem, path) for path in visible(root, "**/*.h5ad")),
            *((sample_name(path), path) for path in folders if has_matrix(path)),
        ]
        often = Counter(name for name, _ in found)
        return {
            name if often[name] == 1 else "_".join(path.relative_to(root).with_suffix("").parts): path
            for name, path in sorted(found)
        }

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
