"""Inputs of a prediction: checked one by one before any work, and dropped again."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from histoquilt._base import Keys, ReadOptions, argument, is_samples_table
from histoquilt.jobs._inputs import leave_out, section_names, sources_of
from histoquilt.jobs._source import Source, without_counts
from histoquilt.jobs.expression._embed_one import check_spots_on_tissue
from histoquilt.jobs.expression._predict_one import Target
from histoquilt.jobs.work._errors import JobError, about

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt.models import ExpressionModel

SECTION_SUFFIXES = {".h5ad", ".zarr", ".h5"}
# of slides in a folder; in one of DICOM files each slide is several, so these are named one by one
SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".jpg", ".jpeg", ".png", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu",
    ".czi",
)  # fmt: skip


def slides_of_folders(inputs: Sequence[Path]) -> list[Path]:
    """Replace every folder of slides by the slides in it, sorted by name; folders of sections stay.

    Raises
    ------
    JobError
        A folder is no section, and no slide is in it.
    """
    from histoquilt.io import is_section_folder

    found: list[Path] = []
    for path in inputs:
        found += [path] if not path.is_dir() or is_section_folder(path) else _slides_in(path)
    return found


def is_section(path: Path) -> bool:
    """Whether an input holds spots; other files are slides."""
    return path.is_dir() or path.suffix.lower() in SECTION_SUFFIXES


def check_targets(
    inputs: Sequence[Path],
    model: "ExpressionModel",
    *,
    image: Path | None,
    mpp: float | None,
    skip_bad: bool,
    options: ReadOptions,
) -> tuple[list[Target], dict[str, str]]:
    """Check every input; raise one error for all that cannot be used, or leave them out.

    Returns
    -------
    The targets, and name -> reason for leaving an input out.
    """
    checks: dict[str, Callable[[], Target]] = {}
    skipped: dict[str, str] = {}
    if is_samples_table(inputs[0]):
        from histoquilt.io import gather_samples

        with about(inputs[0]):
            samples = gather_samples(
                inputs[0], skip_bad=skip_bad, keep=lambda name, adata: without_counts(adata), options=options
            )
        skipped |= samples.skipped
        for name, source in sources_of(samples, inputs[0], options).items():
            checks[name] = partial(_section, samples.sections[name], source, None, model)
    else:
        for name, path in zip(section_names(inputs), inputs, strict=True):
            source = Source(name, path, options=options)
            if is_section(path):
                checks[name] = partial(_read_section, source, image, mpp, model)
            else:
                checks[name] = partial(_slide, source, mpp, model)
    targets, problems = [], {}
    for name, check_one in checks.items():
        try:
            with about(name):
                targets.append(check_one())
        except JobError as error:
            problems[name] = str(error)
    leave_out(problems, len(checks), skip_bad=skip_bad, kind="inputs")
    return targets, skipped | problems


def _slides_in(folder: Path) -> list[Path]:
    from histoquilt.io import holds_sections

    # a name that begins with a dot is what macOS and interrupted copies leave behind
    slides = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SLIDE_SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]
    if not slides and holds_sections(folder):  # read_section says which
        return [folder]
    if not slides:
        raise JobError(
            f"{folder} is no section, and there is no slide in it: looked for {', '.join(SLIDE_SUFFIXES)}. Name the "
            "slides, or the folder that they lie in."
        )
    return slides


def _read_section(source: Source, image: Path | None, mpp: float | None, model: "ExpressionModel") -> Target:
    from histoquilt import io

    if not source.path.exists():
        raise JobError(f"{source.path} does not exist. Check the path.")
    adata = source.read()
    if image is not None:
        io.attach_image(adata, image, mpp=mpp)
    return _section(adata, source, image, model)


def _section(adata: "AnnData", source: Source, image: Path | None, model: "ExpressionModel") -> Target:
    """Check that a section has embeddings for the model, or an image to embed."""
    from histoquilt import io
    from histoquilt.io import check_writable
    from histoquilt.study import Section, Slots, check_spatial

    check_writable(adata)
    fitted = model.fitted
    check_spatial(adata, fitted.spatial_key, remedy="file")
    io.check_one_section(adata, spatial_key=fitted.spatial_key, remedy="file")
    missing = [rep for rep in fitted.inputs.reps if rep not in adata.obsm]
    if not missing:
        Section(source.name, adata, Slots(fitted.spatial_key)).microns  # noqa: B018
        return Target(source, is_slide=False, image=image, files=(source.path,))
    if not all(fitted.inputs.records):
        raise JobError(
            f"it lacks {', '.join(map(repr, missing))} in obsm, embeddings that the model was trained on. Add them."
        )
    if Keys.IMAGE not in adata.uns.get(Keys.UNS, {}):
        raise JobError(f"it has no image. Give it with {argument('image')}, or in the column image of a samples.csv.")
    drawn = check_spots_on_tissue(adata, spatial_key=fitted.spatial_key)
    return Target(source, is_slide=False, image=image, files=(source.path, drawn))


def _slide(source: Source, mpp: float | None, model: "ExpressionModel") -> Target:
    """Check that a bare slide opens and that its microns per pixel are known."""
    from histoquilt import io

    if not all(model.fitted.inputs.records):
        raise JobError(
            "the model was trained on embeddings whose encoder is not recorded, so a bare slide cannot be embedded. "
            "Give sections with these embeddings in obsm."
        )
    with io.open_slide(source.path, mpp=mpp) as slide:
        if slide.mpp is None:
            raise JobError(f"{source.path} does not say how many microns a pixel is. Pass {argument('mpp')}.")
    return Target(source, is_slide=True, image=None, files=(source.path,))
