"""Folders of Space Ranger in one directory, such as the public Visium data of 10x Genomics."""

import json
import re
from pathlib import Path
from typing import Any

from histoquilt.datasets.studies._layout import NO_IMAGE, StudyFolder

_MATRIX = re.compile(r".*filtered_feature_bc_matrix(\.h5)?(\.gz)?")
_FULL = re.compile(r".*(_image|full_image)\.(tiff?|btf|jpe?g)", re.IGNORECASE)


class VisiumFolders:
    """Layout of a directory of samples, one folder of Space Ranger each (or that folder itself)."""

    label = "folders of Space Ranger (Visium)"
    signs = ("*/spatial", "*/outs/spatial")
    needs = (
        "*/*filtered_feature_bc_matrix*|*/outs/*filtered_feature_bc_matrix*|*filtered_feature_bc_matrix*",
        "*/spatial|*/outs/spatial|spatial|*/tissue_positions*",
    )

    def sections(self, root: Path) -> dict[str, Path]:
        """Return sample -> its folder with the matrix."""
        found = {}
        for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
            for inside in (folder, folder / "outs"):
                if inside.is_dir() and has_matrix(inside) and not folder.name.startswith("."):
                    name = inside.resolve().parent.name if inside.resolve().name == "outs" else inside.resolve().name
                    found[name] = inside
        return found

    def describe(self, study: StudyFolder) -> None:
        """Add the samples of ``study.root``."""
        for name, folder in self.sections(study.root).items():
            add_visium(study, name, folder)
        study.notes.append(
            "Space Ranger does not record patients. Fill the column patient by hand; until then an evaluation needs "
            "--leave-out section, whose scores are optimistic."
        )


def has_matrix(folder: Path) -> bool:
    """Return whether a folder holds a filtered count matrix."""
    return any(_MATRIX.fullmatch(path.name) for path in folder.iterdir())


def add_visium(study: StudyFolder, name: str, folder: Path, *, spatial: Path | None = None, **columns: Any) -> None:
    """Add a folder of Space Ranger, with its best image; ``spatial`` is the folder of positions if it is elsewhere."""
    place = folder / "spatial" if spatial is None else spatial
    positions = [*place.glob("*tissue_positions*"), *(folder.glob("*tissue_positions*") if spatial is None else [])]
    where = place.relative_to(study.root) if place.is_relative_to(study.root) else place
    if not positions:
        study.lacks(name, f"{where}/tissue_positions*", "the spots have no positions, so the section is left out")
        return
    image, scale = best_image(folder, place)
    if image is None:
        study.lacks(name, f"{where}/tissue_hires_image.png with scalefactors_json.json", NO_IMAGE)
    study.add(name, folder, spots=spatial, image=image, image_scale=scale, **columns)


def best_image(folder: Path, spatial: Path) -> tuple[Path | None, float | None]:
    """Return the image of the highest resolution in a folder of Space Ranger, and its scale (None if unknown)."""
    full = sorted(path for path in folder.iterdir() if _FULL.fullmatch(path.name))
    if full:
        return full[0], 1.0
    factors = {}
    for path in (spatial / "scalefactors_json.json", folder / "scalefactors_json.json"):
        if path.is_file():
            try:
                factors = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:  # the reader of the section reports it
                factors = {}
            break
    for resolution in ("hires", "lowres"):
        for place in (spatial, folder):
            image = place / f"tissue_{resolution}_image.png"
            factor = factors.get(f"tissue_{resolution}_scalef")
            if image.is_file() and isinstance(factor, int | float) and factor > 0:
                return image, round(1 / factor, 6)
    return None, None


VISIUM = VisiumFolders()
