"""``histoquilt predict``: a model folder and sections or bare slides in, predicted expression out."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from histoquilt._base import ReadOptions
from histoquilt.cli._at_work import at_work
from histoquilt.cli._carry_out import carry_out
from histoquilt.cli._device import check_device
from histoquilt.cli._errors import CommandError, writing
from histoquilt.cli._inputs import check_paths
from histoquilt.cli._output import RUN_FILE, Written, check_out
from histoquilt.cli._predict_inputs import check_targets, is_section, slides_of_folders
from histoquilt.cli._predict_one import SUFFIXES, Settings, Target, equipment, predict_one
from histoquilt.cli._progress import JOB, Item, Work, digest_of
from histoquilt.cli._record import RunRecord, plain, sha256


def predict_inputs(
    model_folder: Path,
    inputs: Sequence[Path],
    out: Path,
    *,
    image: Path | None,
    mpp: float | None,
    pitch_um: float | None,
    encoder: str | None,
    cache: Path | None,
    reading: ReadOptions,
    skip_bad: bool,
    device: str,
    threads: int | None,
    dask: str | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    check_memory: bool,
) -> None:
    """Check the model and every input, predict and write one after another, let all results appear at once."""
    arguments = {name: plain(value) for name, value in locals().items()}
    _check_arguments(model_folder, mpp, pitch_um)
    check_device(device)
    inputs = slides_of_folders(inputs)
    _check_image(inputs, image)
    check_paths(inputs, skip_bad=skip_bad)
    known = [model_folder, *inputs, *([image] if image else [])]
    check_out(out, overwrite=overwrite, inputs=known, resume=resume)
    record = RunRecord("predict", arguments)
    with at_work(inputs, out, quiet=quiet, dask=dask, resume=resume, threads=threads) as (console, workers, work):
        with record.stage("import"):
            from histoquilt.report import write_prediction_report
        with record.stage("read"):
            settings = Settings(
                model_folder, sha256(model_folder), encoder, device, mpp, pitch_um, cache, out,
                kept=work.folder if resume else None, progress=not quiet and workers is None,
                check_memory=check_memory,
            )  # fmt: skip
            model, found_encoder = equipment(model_folder, settings.digest, encoder, device)
            targets, skipped = check_targets(inputs, model, image=image, mpp=mpp, skip_bad=skip_bad, options=reading)
            digests = [
                {"section": target.source.name, "path": str(path), "sha256": sha256(path)}
                for target in targets
                for path in target.files
            ]
            jobs = _jobs(targets, digests, settings, work)
        job = digest_of(command="predict", items={name: item.digest for name, (item, *_) in jobs.items()})
        if work.is_done(job):
            print(f"{out} is complete: already done.")
            return
        work.refuse_others(overwrite=overwrite)
        console.speak()
        with record.stage("predict"):
            predicted, failed = carry_out(predict_one, jobs, work, console, record, skip_bad=skip_bad, workers=workers)
        skipped |= failed
        files = [jobs[name][0].file(suffix) for name in predicted for suffix in SUFFIXES]
        with (
            writing(out, kept=settings.kept),
            work.results(files, overwrite=overwrite) as folder,
            record.stage("write"),
        ):

            def facts() -> dict[str, Any]:
                return record.finish(
                    warnings=console.warnings,
                    method=model.method,
                    device=str(model.device),
                    encoder_device=str(getattr(found_encoder, "device", "cpu")),
                    n_genes=model.n_genes,
                    model={"path": str(model_folder), "sha256": settings.digest},
                    n_spots={name: one["n_spots"] for name, one in predicted.items()},
                    out_of_distribution={name: one["out_of_distribution"] for name, one in predicted.items()},
                    inputs=[one for one in digests if one["section"] in predicted],
                    skipped=skipped,
                )

            write_prediction_report(folder / "report.html", Written(work.done, list(predicted)), facts=facts())
            outputs = sorted(path.name for path in folder.iterdir())
            everything = {**facts(), JOB: job, "outputs": outputs}
            text = json.dumps(everything, indent=2, ensure_ascii=False, default=str)
            (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")
    if not quiet:
        for name, one in predicted.items():
            outside = f", {one['out_of_distribution']:.0%} unlike the training tissue"
            print(f"{name}: {one['n_spots']:,} spots, {one['n_genes']:,} genes{outside}")
        for name in skipped:
            print(f"{name}: left out")
        print(f"Report: {out / 'report.html'}")


def _jobs(
    targets: Sequence[Target], digests: Sequence[dict[str, Any]], settings: Settings, work: Work
) -> dict[str, tuple[Item, Target, Settings]]:
    """Name -> arguments of :func:`predict_one`, with the digest of what each prediction depends on."""
    # the rest changes no result
    asked = replace(settings, cache=None, out=Path(), kept=None, progress=False, check_memory=True)
    jobs = {}
    for target in targets:
        name = target.source.name
        read = [one for one in digests if one["section"] == name]
        jobs[name] = (work.item(name, digest_of(target=str(target), read=read, settings=str(asked))), target, settings)
    return jobs


def _check_arguments(model_folder: Path, mpp: float | None, pitch_um: float | None) -> None:
    for value, option in ((mpp, "--mpp"), (pitch_um, "--pitch-um")):
        if value is not None and not 0 < value < float("inf"):
            raise CommandError(f"{option} must be positive, got {value}.")
    if not model_folder.exists():
        raise CommandError(
            f"there is no model folder {model_folder}. Make one with: histoquilt train samples.csv --out DIR"
        )


def _check_image(inputs: Sequence[Path], image: Path | None) -> None:
    if image is not None and (len(inputs) > 1 or not is_section(inputs[0])):
        raise CommandError(
            "--image is the image of one section (.h5ad). Several sections name theirs in a samples.csv; a bare slide "
            "is an input itself."
        )
    if image is not None and not image.is_file():
        raise CommandError(f"there is no image {image}. Check the path.")
