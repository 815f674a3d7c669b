"""Job: predict gene expression of sections and bare slides."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import argument, either
from histoquilt.jobs._annotations import AnnotationPlace
from histoquilt.jobs._export import add_exports, check_exports
from histoquilt.jobs._inputs import CheckedInputs, at_most, check_paths
from histoquilt.jobs._source import Source
from histoquilt.jobs.expression._predict_inputs import check_inputs, slides_of_folders
from histoquilt.jobs.expression._predict_one import SUFFIXES, PredictSettings, equipment, is_section, predict_one
from histoquilt.jobs.work._errors import JobError
from histoquilt.jobs.work._options import (
    PathName,
    SectionsConfig,
    annotations_option,
    annotations_scale_option,
    as_paths,
    cache_option,
    check_memory_option,
    configured,
    documented,
    export_option,
    one_or_more,
    option,
    resume_option,
)
from histoquilt.jobs.work._output import WrittenSections, check_out
from histoquilt.jobs.work._record import sha256
from histoquilt.jobs.work._resume import Item, digest_of
from histoquilt.jobs.work._run import JobResult, OnChecked, Run, check_one_process, run_jobs, start_run
from histoquilt.runtime import connect

if TYPE_CHECKING:
    from histoquilt._base import PatchEncoder
    from histoquilt.models import ExpressionModel


@documented
@dataclass(frozen=True, kw_only=True)
class PredictConfig(SectionsConfig):
    """Options of :func:`predict_folder`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.jobs.PredictConfig(mpp=0.5).mpp
    0.5
    """

    image: Path | None = option(None, "The H&E image of the one .h5ad given.", metavar="FILE", is_path=True)
    mpp: float | None = option(
        None, "Microns per pixel of slides, instead of those in the file.", metavar="UM", positive=True
    )
    pitch_um: float | None = option(
        None, "Distance of the spots on a bare slide; by default that of training.", metavar="UM", positive=True
    )
    encoder: str | Sequence[str] | None = option(
        None, "Image encoder of the model, if its file has moved. Repeatable.", metavar="NAME", repeatable=True
    )
    annotations: Path | None = annotations_option()
    annotations_scale: float | None = annotations_scale_option()
    cache: Path | None = cache_option()
    export: str | Sequence[str] | None = export_option()
    skip_bad: bool = option(False, "Skip inputs that cannot be used; run.json names them.")
    resume: bool = resume_option()
    check_memory: bool = check_memory_option()


@dataclass(frozen=True)
class _Plan:
    """Checked inputs, and the jobs to run."""

    model: "ExpressionModel"
    encoders: "list[PatchEncoder]"
    settings: PredictSettings
    inputs: CheckedInputs
    jobs: dict[str, tuple[Item, Source, PredictSettings, str | None]]


def predict_folder(
    model: PathName,
    inputs: PathName | Sequence[PathName],
    out: PathName,
    settings: PredictConfig | None = None,
    *,
    on_checked: OnChecked | None = None,
    **options: Any,
) -> JobResult:
    """Predict gene expression of sections, or of slides that were never sequenced, as ``histoquilt predict`` does.

    All inputs are checked before any work; one at a time is in memory. An input that fails does not stop the others.

    Parameters
    ----------
    model
        Path of a model folder (:func:`train_model`, :meth:`histoquilt.models.ExpressionModel.save`).
    inputs
        Paths of bare slides, of folders of slides, of sections, or of one ``samples.csv``.
    out
        Path of the results folder.
    settings
        Options as one object, to use them several times.
    on_checked
        Function that is called once all inputs are checked.
    options
        Fields of :class:`PredictConfig`; they override ``settings``.

    Returns
    -------
    :class:`JobResult`. The folder holds ``<name>.h5ad`` (:meth:`histoquilt.models.ExpressionModel.predict`),
    ``<name>.csv`` (one row per spot: ``spot, x_um, y_um, out_of_distribution``, genes as log1p of counts per 10,000),
    ``report.html`` and ``run.json``; with ``export``, ``exports/<name>/``.

    Raises
    ------
    JobError
        An option or an input is wrong (all wrong inputs are named), or inputs failed.
    FileExistsError
        ``out`` holds results and ``overwrite`` is false.
    TypeError
        An option does not exist.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> study["s3"].write_h5ad(folder / "s3.h5ad")
    >>> training = [study["s1"], study["s2"]]
    >>> model = hq.models.RidgeOnEmbedding().fit(training, use_rep="X_image", progress=False)
    >>> model.save(folder / "model")
    >>> done = hq.jobs.predict_folder(folder / "model", folder / "s3.h5ad", folder / "results", progress=False)
    >>> done.facts["n_spots"]
    {'s3': 60}
    """
    asked, model, out = configured(PredictConfig, settings, options), Path(model), Path(out)
    check_one_process("predict")
    _check_model(model, as_paths(inputs))
    paths = slides_of_folders(as_paths(inputs))
    image = asked.image
    _check_image(paths, image)
    check_paths(paths, skip_bad=asked.skip_bad)
    AnnotationPlace(asked.annotations, asked.annotations_scale).check(paths)
    known = [model, *paths, *([image] if image else [])]
    check_out(out, overwrite=asked.overwrite, inputs=known, resume=asked.resume)
    with (
        start_run("predict", {"model_folder": model, "inputs": paths, "out": out}, asked, on_checked) as run,
        connect(asked.dask, at_most=at_most(paths)) as run.workers,
    ):
        plan = _plan(run, asked, model, paths)
        items = {name: item.digest for name, (item, *_) in plan.jobs.items()}
        job = digest_of(command="predict", items=items, export=asked.export)
        if (before := run.done_before(job)) is not None:
            return JobResult(out, before, already_done=True)
        run.checked()
        with run.record.stage("predict"):
            predicted, failed = run_jobs(predict_one, plan.jobs, run, skip_bad=asked.skip_bad)
        return JobResult(out, _write(run, plan, predicted, failed, job, asked.export))


def _check_model(model: Path, inputs: Sequence[Path]) -> None:
    """Raise unless a path is that of a model folder and the inputs are no models."""
    how = either("histoquilt.jobs.train_model", "histoquilt train samples.csv --out DIR")
    if not model.exists():
        raise JobError(f"there is no model folder {model}. Make one with: {how}")
    models = [path for path in inputs if _is_model(path)]
    if not _is_model(model):
        if models:
            raise JobError(
                f"{model} is not a model folder, but the input {models[0]} is. Exchange them: the model comes first, "
                "then slides or sections."
            )
        raise JobError(
            f"{model} is not a model folder: it has no config.json and provenance.json. Give a folder that histoquilt "
            f"train, or save() of a model, made. Make one with: {how}"
        )
    if models:
        raise JobError(f"the input {models[0]} is a model folder. Give slides or sections to predict after the model.")


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and (folder / "provenance.json").is_file()


def _check_image(inputs: Sequence[Path], image: Path | None) -> None:
    if image is not None and (len(inputs) > 1 or not is_section(inputs[0])):
        raise JobError(
            f"{argument('image')} is the image of one section (.h5ad). Several sections name theirs in a samples.csv; "
            "a bare slide is an input itself."
        )
    if image is not None and not image.is_file():
        raise JobError(f"there is no image {image}. Check the path.")


def _plan(run: Run, asked: PredictConfig, folder: Path, paths: Sequence[Path]) -> _Plan:
    """Check the inputs, load the model and return the jobs."""
    with run.record.stage("import"):
        check_exports(asked.export)
    with run.record.stage("read"):
        settings = PredictSettings(
            folder, sha256(folder), tuple(one_or_more(asked.encoder)), asked.device, asked.pitch_um,
            asked.cache, run.out, kept=run.kept,
            progress=asked.progress and run.workers is None, check_memory=asked.check_memory,
        )  # fmt: skip

        def load() -> "ExpressionModel":
            return equipment(folder, settings.digest, settings.encoders, asked.device)[0]

        found = check_inputs(
            paths, load, image=asked.image, mpp=asked.mpp, skip_bad=asked.skip_bad, options=asked.reading(),
            annotations=AnnotationPlace(asked.annotations, asked.annotations_scale),
        )  # fmt: skip
        model, encoders = equipment(folder, settings.digest, settings.encoders, asked.device)  # loaded once
        # the rest changes no result
        matters = replace(settings, cache=None, out=Path(), kept=None, progress=False, check_memory=True)
        seen = _trained_on(folder, found)
        jobs = {
            name: (
                run.work.item(name, found.digest_of(name, settings=str(matters))), source, settings, seen.get(name)
            )
            for name, source in found.sources.items()
        }  # fmt: skip
        return _Plan(model, encoders, settings, found, jobs)


def _trained_on(folder: Path, inputs: CheckedInputs) -> dict[str, str]:
    """Return input -> training section that was read from the same file, where ``train`` recorded its files."""
    record = folder / "run.json"
    if not record.is_file():
        return {}
    names = {entry["sha256"]: entry["section"] for entry in json.loads(record.read_text()).get("inputs", [])}
    return {entry["section"]: names[entry["sha256"]] for entry in inputs.digests if entry["sha256"] in names}


def _write(
    run: Run,
    plan: _Plan,
    predicted: Mapping[str, dict[str, Any]],
    failed: Mapping[str, str],
    job: str,
    exporters: str | Sequence[str] | None,
) -> dict[str, Any]:
    """Write the results folder and return the content of ``run.json``."""
    from histoquilt.report import write_prediction_report

    model, settings = plan.model, plan.settings
    shared = {
        "method": model.method,
        "device": str(model.device),
        "encoder_device": str(getattr(plan.encoders[0], "device", "cpu")) if plan.encoders else "cpu",
        "n_genes": model.n_genes,
        "model": {"path": str(settings.model), "sha256": settings.digest},
        "n_spots": {name: one["n_spots"] for name, one in predicted.items()},
        "out_of_distribution": {name: one["out_of_distribution"] for name, one in predicted.items()},
        "transfers": {name: one["transfers"] for name, one in predicted.items()},
        "inputs": [one for one in plan.inputs.digests if one["section"] in predicted],
        "skipped": plan.inputs.skipped | dict(failed),
    }
    files = [plan.jobs[name][0].file(suffix) for name in predicted for suffix in SUFFIXES]
    with run.results(files) as folder:
        sections = WrittenSections(run.work.done, list(predicted))
        write_prediction_report(folder / "report.html", sections, facts=run.facts(**shared))
        add_exports(folder, sections, exporters)
        return run.finish(folder, shared, job)
