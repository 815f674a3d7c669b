"""``histoweave predict``: a model folder and sections or bare slides in, predicted expression out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoweave._atomic import atomic_folder
from histoweave._keys import Keys
from histoweave.cli._console import told
from histoweave.cli._errors import CommandError, about, writing
from histoweave.cli._inputs import check_paths, is_samples_table, section_names
from histoweave.cli._output import RUN_FILE, check_out
from histoweave.cli._record import RunRecord, sha256

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from histoweave._types import PatchEncoder
    from histoweave.models import ExpressionModel

SECTION_SUFFIXES = {".h5ad", ".zarr", ".h5"}


@dataclass(frozen=True)
class Target:
    """One thing to predict, known to be good.

    Attributes
    ----------
    name
        Of its output files.
    files
        What it is read from, for ``run.json``.
    run
        Embeds what has to be embedded and predicts.
    """

    name: str
    files: list[Path]
    run: Callable[[], "AnnData"]


@dataclass(frozen=True)
class _Job:
    """What every target needs."""

    model: "ExpressionModel"
    encoder: "PatchEncoder | None"  # None where a model was trained on embeddings of the user's own
    mpp: float | None
    pitch_um: float | None
    cache: Path | None
    progress: bool


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
    skip_bad: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Check the model and every input, predict each, write all results or nothing."""
    arguments = {name: _plain(value) for name, value in locals().items()}
    _check_arguments(model_folder, inputs, image, mpp, pitch_um)
    check_paths(inputs, skip_bad=skip_bad)
    check_out(out, overwrite=overwrite, inputs=[model_folder, *inputs, *([image] if image else [])])
    record = RunRecord("predict", arguments)
    with told(quiet=quiet) as console:
        with record.stage("import"):
            from histoweave.report import write_prediction_report
        with record.stage("read"):
            model = load_model(model_folder)
            job = _Job(model, _encoder_of(model, encoder), mpp, pitch_um, cache, not quiet)
            targets, skipped = _targets(inputs, job, image, skip_bad=skip_bad)
            digests = [
                {"section": target.name, "path": str(path), "sha256": sha256(path)}
                for target in targets
                for path in target.files
            ]
        console.speak()
        sections = {}
        for target in targets:
            with record.stage("predict"), about(target.name):
                sections[target.name] = target.run()
        with writing(out), atomic_folder(out, overwrite=overwrite) as folder, record.stage("write"):
            from histoweave.io import write_h5ad

            for name, adata in sections.items():
                write_h5ad(adata, folder / f"{name}.h5ad")
                prediction_table(adata).to_csv(folder / f"{name}.csv", index=False, float_format="%.5g")

            def facts() -> dict[str, Any]:
                return record.finish(
                    warnings=console.warnings,
                    method=model.method,
                    n_genes=model.n_genes,
                    model={"path": str(model_folder), "sha256": sha256(model_folder)},
                    n_spots={name: adata.n_obs for name, adata in sections.items()},
                    out_of_distribution={name: _share_outside(adata) for name, adata in sections.items()},
                    inputs=digests,
                    skipped=skipped,
                )

            write_prediction_report(folder / "report.html", sections, facts=facts())
            outputs = sorted(path.name for path in folder.iterdir())
            text = json.dumps({**facts(), "outputs": outputs}, indent=2, ensure_ascii=False, default=str)
            (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")
    if not quiet:
        for name, adata in sections.items():
            outside = f", {_share_outside(adata):.0%} unlike the training tissue"
            print(f"{name}: {adata.n_obs:,} spots, {adata.n_vars:,} genes{outside}")
        for name in skipped:
            print(f"{name}: left out")
        print(f"Report: {out / 'report.html'}")


def load_model(folder: Path) -> "ExpressionModel":
    """Load a model that predicts expression."""
    from histoweave import models

    with about(folder):
        model = models.load(folder)
    if not isinstance(model, models.ExpressionModel):
        raise CommandError(
            f"{folder} holds a {type(model).__name__}, which predicts no expression. Give a model that "
            "histoweave train made."
        )
    return model


def prediction_table(adata: "AnnData") -> "pd.DataFrame":
    """Return one row a spot: ``spot, x_um, y_um, out_of_distribution`` and the genes, log1p of counts per 10,000."""
    import pandas as pd

    from histoweave._scale import provenance

    where = adata.obsm[Keys.IN_MICRONS]
    front = pd.DataFrame({
        "spot": adata.obs_names, "x_um": where[:, 0], "y_um": where[:, 1],
        "out_of_distribution": adata.obs[Keys.OUT_OF_DISTRIBUTION].to_numpy(),
    })  # fmt: skip
    values = adata.layers[provenance(adata)["prediction"]["layer"]]
    return pd.concat([front, pd.DataFrame(values, columns=list(adata.var_names))], axis=1)


def _check_arguments(
    model_folder: Path, inputs: Sequence[Path], image: Path | None, mpp: float | None, pitch_um: float | None
) -> None:
    for value, option in ((mpp, "--mpp"), (pitch_um, "--pitch-um")):
        if value is not None and not 0 < value < float("inf"):
            raise CommandError(f"{option} must be positive, got {value}.")
    if not model_folder.exists():
        raise CommandError(
            f"there is no model folder {model_folder}. Make one with: histoweave train samples.csv --out DIR"
        )
    if image is not None and (len(inputs) > 1 or not _is_section(inputs[0])):
        raise CommandError(
            "--image is the image of one section (.h5ad). Several sections name theirs in a samples.csv; a bare slide "
            "is an input itself."
        )
    if image is not None and not image.is_file():
        raise CommandError(f"there is no image {image}. Check the path.")


def _encoder_of(model: "ExpressionModel", name: str | None) -> "PatchEncoder | None":
    """Return the encoder that the model was trained with, or refuse another one."""
    from histoweave import im

    records = [one for one in model._trained().inputs.records if one]
    if not records:
        if name is not None:
            raise CommandError("the model was trained on embeddings of unrecorded origin; leave --encoder out.")
        return None
    trained = records[0]
    if "encoder" not in trained:
        if name is not None:
            raise CommandError("the model reads pixels itself and takes no encoder; leave --encoder out.")
        return None
    try:
        found = im.get_encoder(name or trained["encoder"])
    except (FileNotFoundError, ValueError, ImportError, PermissionError) as error:
        with about(f"the model's encoder {trained['encoder']}"):
            raise error
    if found.digest != trained["digest"]:
        raise CommandError(
            f"the model was trained with the encoder {trained['encoder']} (digest {trained['digest'][:12]}), and "
            f"{found.name} is another one (digest {found.digest[:12]}). Predictions would be meaningless: give the "
            "model's own with --encoder."
        )
    return found


def _targets(
    inputs: Sequence[Path], job: _Job, image: Path | None, *, skip_bad: bool
) -> tuple[list[Target], dict[str, str]]:
    """Check every input; raises for all that cannot be used, or leaves them out."""
    checks: dict[str, Callable[[], Target]] = {}
    skipped: dict[str, str] = {}
    if is_samples_table(inputs[0]):
        from histoweave import io

        with about(inputs[0]):
            samples = io.read_samples(inputs[0], skip_bad=skip_bad)
        skipped |= samples.skipped
        for name, adata in samples.sections.items():
            files = [Path(str(samples.table.loc[name, "counts"]))]
            checks[name] = lambda name=name, adata=adata, files=files: _section(name, adata, files, job)  # type: ignore[misc]
    else:
        for name, path in zip(section_names(inputs), inputs, strict=True):
            check = _read_section if _is_section(path) else _slide
            checks[name] = lambda name=name, path=path, check=check: check(name, path, job, image)  # type: ignore[misc]
    targets, problems = [], {}
    for name, check_one in checks.items():
        try:
            with about(name):
                targets.append(check_one())
        except CommandError as error:
            problems[name] = str(error)
    if problems and (not skip_bad or not targets):
        listed = "; ".join(problem.rstrip(". ") for problem in problems.values())
        if len(checks) == 1:
            raise CommandError(listed + ".")
        remedy = "Nothing is left to predict." if skip_bad else "Correct them, or go on without them: --skip-bad."
        raise CommandError(f"{len(problems)} of {len(checks)} inputs cannot be used: {listed}. {remedy}")
    from histoweave._runtime import warn_user

    for problem in problems.values():
        warn_user(f"left out: {problem}")
    return targets, skipped | problems


def _read_section(name: str, path: Path, job: _Job, image: Path | None) -> Target:
    from histoweave import io

    if not path.exists():
        raise CommandError(f"{path} does not exist. Check the path.")
    adata = io.read_section(path)
    if image is not None:
        io.attach_image(adata, image, mpp=job.mpp)
    return _section(name, adata, [path], job)


def _section(name: str, adata: "AnnData", files: list[Path], job: _Job) -> Target:
    """Make sure that a section has embeddings that fit the model, or an image to make them from."""
    from histoweave import io
    from histoweave.models._expression_inputs import microns

    fitted = job.model._trained()
    has_all = all(rep in adata.obsm for rep in fitted.inputs.reps)
    if has_all:
        microns(adata, name, fitted.spatial_key)
        return Target(name, files, lambda: job.model.predict(adata))
    if not all(fitted.inputs.records):
        missing = ", ".join(repr(rep) for rep in fitted.inputs.reps if rep not in adata.obsm)
        raise CommandError(f"it lacks {missing} in obsm, embeddings that the model was trained on. Add them.")
    if Keys.IMAGE not in adata.uns.get(Keys.UNS, {}):
        raise CommandError("it has no image. Give it with --image, or in the column image of a samples.csv.")
    with io.open_image(adata) as slide:
        files = [*files, slide.path]
    return Target(name, files, lambda: _embed_and_predict(adata, job))


def _embed_and_predict(adata: "AnnData", job: _Job) -> "AnnData":
    from histoweave import im, io
    from histoweave.models._expression_prediction import describe_spots

    fitted = job.model._trained()
    image = adata.uns[Keys.UNS][Keys.IMAGE]
    scale = image.get("image_scale", 1.0)
    with io.open_image(adata) as slide:
        describe_spots(
            adata, slide, fitted, mpp=image["mpp"], encoder=job.encoder, spatial_key=fitted.spatial_key,
            image_scale=scale, cache=job.cache, progress=job.progress,
        )  # fmt: skip
        im.attach_picture(adata, slide, image_scale=scale, spatial_key=fitted.spatial_key)
    return job.model.predict(adata)


def _slide(name: str, path: Path, job: _Job, image: Path | None) -> Target:
    """Make sure that a bare slide opens and that its scale is known."""
    from histoweave import io

    if not all(job.model._trained().inputs.records):
        raise CommandError(
            "the model was trained on embeddings whose encoder is not recorded, so a bare slide cannot be embedded. "
            "Give sections with these embeddings in obsm."
        )
    with io.open_slide(path, mpp=job.mpp) as slide:
        if slide.mpp is None:
            raise CommandError(f"{path} does not say how many microns a pixel is. Pass --mpp.")

    def run() -> "AnnData":
        with io.open_slide(path, mpp=job.mpp) as slide:
            return job.model.predict(
                slide, mpp=slide.mpp, pitch_um=job.pitch_um, encoder=job.encoder, progress=job.progress
            )

    return Target(name, [path], run)


def _is_section(path: Path) -> bool:
    """Whether an input holds spots; other files are slides."""
    return path.is_dir() or path.suffix.lower() in SECTION_SUFFIXES


def _share_outside(adata: "AnnData") -> float:
    return float(adata.obs[Keys.OUT_OF_DISTRIBUTION].mean())


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [str(one) for one in value] if isinstance(value, list | tuple) else value
