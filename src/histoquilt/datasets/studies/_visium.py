"""Folders of Space Ranger in one directory, such as the public Visium data of 10x Genomics."""

import json
import re
from pathlib import Path
from typing import Any

from histoquilt._base import visible
from histoquilt.datasets.studies._layout import NO_IMAGE, StudyFolder
from histoquilt.io import open_slide

_MATRIX = re.compile(r".*filtered_feature_bc_matrix(\.h5)?(\.gz)?")
_FULL = re.compile(
    r"(?!.*(aligned_tissue|detected_tissue|cytassist)_image).*(_image|full_image)\.(tiff?|btf|jpe?g)", re.I
)
_TOLERANCE = 0.02  # of the size of a full image, by the small one


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
        for folder in (root, *sorted(path for path in visible(root) if path.is_dir())):
            for inside in (folder, folder / "outs"):
                if inside.is_dir() and has_matrix(inside):
                    found[sample_name(inside)] = inside
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
    return any(_MATRIX.fullmatch(path.name) for path in visible(folder))


def sample_name(folder: Path) -> str:
    """Return the name of the folder of a sample, of which ``outs`` may be a part."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == "outs" else folder.name


def add_visium(study: StudyFolder, name: str, folder: Path, *, spatial: Path | None = None, **columns: Any) -> None:
    """Add a folder of Space Ranger, with its best image; ``spatial`` is the folder of positions if it is elsewhere."""
    place = folder / "spatial" if spatial is None else spatial
    positions = [*visible(place, "*tissue_positions*")]
    if spatial is None:
        positions += visible(folder, "*tissue_positions*")
    where = place.relative_to(study.root) if place.is_relative_to(study.root) else place
    if not positions:
        study.lacks(name, f"{where}/tissue_positions*", "the spots have no positions, so the section is left out")
        return
    image, scale = _best_image(study, name, folder, place)
    if image is None:
        study.lacks(name, f"{where}/tissue_hires_image.png with scalefactors_json.json", NO_IMAGE)
    study.add(name, folder, spots=spatial, image=image, image_scale=scale, **columns)


def _best_image(study: StudyFolder, name: str, folder: Path, spatial: Path) -> tuple[Path | None, float | None]:
    """Return the image of the highest resolution in a folder of Space Ranger, and its scale (None if unknown).

    Space Ranger made the small image of the full one, which tells it from others: of a CytAssist run, 10x Genomics
    offer that of the CytAssist as ``_image.tif`` and that of the microscope, to which the spots refer, as
    ``_tissue_image.tif``.
    """
    small, scale = _small_image(folder, spatial)
    full = sorted(path for path in visible(folder) if _FULL.fullmatch(path.name))
    for path in sorted(full, key=lambda path: "tissue_image" not in path.name.lower()):
        if small is None or scale is None:
            return path, 1.0
        expected, found = _sizes(small, scale, path)
        if found is None or all(abs(a / b - 1) <= _TOLERANCE for a, b in zip(found, expected, strict=True)):
            return path, 1.0
        study.notes.append(
            f"{name}: {path.name} is not used: it has {found[0]:,} x {found[1]:,} pixels, and the image that the spots "
            f"refer to about {expected[0]:,} x {expected[1]:,} (by {small.name} and scalefactors_json.json)."
        )
    return small, scale


def _small_image(folder: Path, spatial: Path) -> tuple[Path | None, float | None]:
    """Return the larger of the images that Space Ranger makes, and its scale."""
    factors = {}
    for path in (spatial / "scalefactors_json.json", folder / "scalefactors_json.json"):
        if path.is_file():
            try:
                factors = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:  # the reader of the section reports it
                factors = {}
            break
    for resolution in ("hires", "lowres"):
        factor = factors.get(f"tissue_{resolution}_scalef")
        for place in (spatial, folder):
            image = next(iter(sorted(visible(place, f"*tissue_{resolution}_image.png"))), None)
            if image is not None and isinstance(factor, int | float) and factor > 0:
                return image, round(1 / factor, 6)
    return None, None


def _sizes(small: Path, scale: float, full: Path) -> tuple[tuple[int, int], tuple[int, int] | None]:
    """Return width and height of a full image, as the small one has it and as found (None: it cannot be opened)."""
    try:
        with open_slide(small) as image, open_slide(full) as other:
            return (round(image.width * scale), round(image.height * scale)), (other.width, other.height)
    except (OSError, ValueError, ImportError):  # the reader of the image reports it
        return (0, 0), None


VISIUM = VisiumFolders()
