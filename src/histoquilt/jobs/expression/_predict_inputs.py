"""Inputs of a prediction: checked one by one before any work, and dropped again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys, ReadOptions, argument, is_samples_table
from histoquilt.jobs._annotations import AnnotationPlace
from histoquilt.jobs._inputs import CheckedInputs, file_digests, leave_out, section_names, side_digests, sources_of
from histoquilt.jobs._source import Source, without_counts
from histoquilt.jobs.expression._embed_one import check_spots_on_tissue
from histoquilt.jobs.expression._predict_one import is_section
from histoquilt.jobs.work._errors import JobError, about

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt.io import Samples
    from histoquilt.models import ExpressionModel

# of slides in a folder; in one of DICOM files each slide is several, so these are named one by one
SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".jpg", ".jpeg", ".png", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu",
    ".czi",
)  # fmt: skip


_UNKNOWN_ENCODER = (
    "the model was trained on embeddings whose encoder is not recorded, so a bare slide cannot be embedded. Give "
    "sections with these embeddings in obsm."
)


def slides_of_folders(inputs: Sequence[Path]) -> list[Path]:
    """Replace every folder of slides by the slides in it, sorted by name; folders of sections stay.

    Raises
    ------
    JobError
        A folder is not a section and has no slides.
    """
    from histoquilt.io import is_section_folder

    found: list[Path] = []
    for path in inputs:
        found += [path] if not path.is_dir() or is_section_folder(path) else _slides_in(path)
    return found


def check_inputs(
    paths: Sequence[Path],
    load: "Callable[[], ExpressionModel]",
    *,
    image: Path | None,
    mpp: float | None,
    skip_bad: bool,
    options: ReadOptions,
    annotations: AnnotationPlace,
) -> CheckedInputs:
    """Check every section and slide; raise one error for all that cannot be used, or leave them out.

    ``load`` returns the model. It is called after all bare slides are checked, so that a slide without microns per
    pixel is an error before anything is loaded.
    """
    problems: dict[str, str] = {}
    files: dict[str, list[Path]] = {}
    samples: Samples | None = None

    def check(name: str, function: Callable[..., list[Path]], *arguments: Any) -> None:
        try:
            with about(name):
                files[name] = function(*arguments)
        except JobError as error:
            problems[name] = str(error)

    if is_samples_table(paths[0]):
        from histoquilt.io import gather_samples

        with about(paths[0]):
            samples = gather_samples(
                paths[0], skip_bad=skip_bad, keep=lambda name, adata: without_counts(adata), options=options,
                together=False,
            )  # fmt: skip
            sources = sources_of(samples, paths[0], options, annotations)
        model = load()
        for name, source in sources.items():
            check(name, _check_row, samples.sections[name], source, model)
        skipped = dict(samples.skipped)
    else:
        sources = {
            name: Source(name, path, options=options, image=image, mpp=mpp, annotations=annotations.of(name))
            for name, path in zip(section_names(paths), paths, strict=True)
        }
        annotations.check_used(sources)
        slides = {name: source for name, source in sources.items() if not is_section(source.path)}
        for name, source in slides.items():
            check(name, _check_slide, source)
        if len(slides) == len(sources) and not (skip_bad and len(problems) < len(sources)):
            leave_out(problems, len(sources), skip_bad=skip_bad, kind="inputs")
        model = load()
        if slides and not all(model.fitted.inputs.records):
            problems |= {name: f"{name}: {_UNKNOWN_ENCODER}" for name in slides}
        for name, source in sources.items():
            if name not in slides:
                check(name, _read_section, source, model)
        skipped = {}
    problems = {name: problems[name] for name in sources if name in problems}
    leave_out(problems, len(sources), skip_bad=skip_bad, kind="inputs")
    sources = {name: source for name, source in sources.items() if name not in problems}
    digests = file_digests((name, path) for name in sources for path in files[name])
    digests += side_digests(sources, samples)
    return CheckedInputs({}, sources, digests, skipped | problems)


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
            f"{folder} is not a section, and there is no slide in it: looked for {', '.join(SLIDE_SUFFIXES)}. Name the "
            "slides, or the folder that they lie in."
        )
    return slides


def _check_row(adata: "AnnData", source: Source, model: "ExpressionModel") -> list[Path]:
    return _check_section(adata if source.annotations is None else source.annotations.annotate(adata), source, model)


def _read_section(source: Source, model: "ExpressionModel") -> list[Path]:
    if not source.path.exists():
        raise JobError(f"{source.path} does not exist. Check the path.")
    return _check_section(source.read(), source, model)


def _check_section(adata: "AnnData", source: Source, model: "ExpressionModel") -> list[Path]:
    """Check that a section has embeddings for the model, or an image to embed; return the files that are read."""
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
        return [source.path]
    if not all(fitted.inputs.records):
        raise JobError(
            f"it lacks {', '.join(map(repr, missing))} in obsm, embeddings that the model was trained on. Add them."
        )
    if Keys.IMAGE not in adata.uns.get(Keys.UNS, {}):
        raise JobError(f"it has no image. Give it with {argument('image')}, or in the column image of a samples.csv.")
    return [source.path, check_spots_on_tissue(adata, spatial_key=fitted.spatial_key)]


def _check_slide(source: Source) -> list[Path]:
    """Check that a bare slide opens and that its microns per pixel are known; return the file that is read."""
    from histoquilt import io

    with io.open_slide(source.path, mpp=source.mpp) as slide:
        if slide.mpp is None:
            raise JobError(f"{source.path} does not say how many microns a pixel is. Pass {argument('mpp')}.")
    if source.annotations is not None:
        io.read_annotations(source.annotations.path)  # errors are raised now
    return [source.path]
