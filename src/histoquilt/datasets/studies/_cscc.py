"""cSCC: legacy ST of cutaneous squamous cell carcinoma, 4 patients with 3 sections each (GEO GSE144240).

Ji et al., Cell 182, 497-514 (2020). The files of ``GSE144240_RAW.tar``, unpacked, gzip-compressed or not.
"""

from pathlib import Path

from histoquilt._base import listed
from histoquilt.datasets.studies._layout import StudyFolder, files_by_name, report_twice
from histoquilt.datasets.studies._legacy_spots import add_legacy_st

_SAMPLE = r"(P\d+_ST_rep\d+)"
_COUNTS = rf"(?:GSM\d+_)?{_SAMPLE}_stdata\.tsv"
_SPOTS = rf"(?:GSM\d+_)?spot_data-selection-{_SAMPLE}\.tsv"
_IMAGE = rf"(?:GSM\d+_)?{_SAMPLE}\.jpe?g"
_VISIUM = r"(?:GSM\d+_)?(P\d+_rep\d+)_tissue_positions_list\.csv"


class Cscc:
    """Layout of GSE144240, a flat folder."""

    label = "cSCC (GEO GSE144240)"
    signs = ("*_stdata.tsv*", "*spot_data-selection-*.tsv*")
    needs = ("*_stdata.tsv*", "*spot_data-selection-*.tsv*")

    def sections(self, root: Path) -> dict[str, Path]:
        """Return section -> its table of counts."""
        return files_by_name(root, _COUNTS)[0]

    def describe(self, study: StudyFolder) -> None:
        """Add the sections of ``study.root``; the patient begins the name of the sample."""
        counts, twice = files_by_name(study.root, _COUNTS)
        spots, more = files_by_name(study.root, _SPOTS)
        images, others = files_by_name(study.root, _IMAGE)
        report_twice(study, [*twice, *more, *others])
        for name, path in counts.items():
            own = spots.get(name)
            add_legacy_st(
                study, name, path, own, images.get(name), spots_name=f"GSM..._spot_data-selection-{name}.tsv.gz",
                image_name=f"GSM..._{name}.jpg.gz", found_name=None if own is None else own.name,
                patient=name.split("_")[0],
            )  # fmt: skip
        study.without_counts_of({name: [path] for name, path in images.items()})
        if visium := files_by_name(study.root, _VISIUM)[0]:
            study.notes.append(
                f"Visium samples of the series are not read here: {listed(visium)}. Put the files of each into a "
                f"folder of its own to use them."
            )
        study.notes.append("The study publishes no region labels.")


CSCC = Cscc()
