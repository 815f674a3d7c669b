"""The commands: inputs and outputs are declared here, options by the jobs that the commands run."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

import histoquilt
from histoquilt import jobs
from histoquilt.cli._console import print_messages
from histoquilt.cli._generate import Place, add_command
from histoquilt.cli._summary import (
    show_comparison,
    show_demo,
    show_domains,
    show_evaluation,
    show_export,
    show_prediction,
    show_study,
    show_training,
)
from histoquilt.runtime import is_main

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Tissue domains from spatial transcriptomics, and gene expression from H&E images.",
    epilog="Errors are one line and exit code 2; Ctrl-C exits 130 and leaves nothing half-written.",
)


class Stopped(BaseException):
    """Ctrl-C in resumable work, with a message; typer swallows a ``KeyboardInterrupt``."""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"histoquilt {histoquilt.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def front_door(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; so does HISTOQUILT_DEBUG=1.")
    ] = False,  # taken out of the arguments by run(), which is what needs it; listed here for --help
) -> None:
    """Tissue domains from spatial transcriptomics, and gene expression from H&E images."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
    elif context.invoked_subcommand != "domains":
        jobs.check_one_process(context.invoked_subcommand)


@contextmanager
def _silent_unless_main() -> Iterator[None]:
    """Print nothing in processes of ``torchrun`` other than the first."""
    if is_main():
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _runs(
    job: Callable[..., jobs.JobResult], show: Callable[[Any], None]
) -> Callable[[dict[str, Any], jobs.OutputConfig], None]:
    """Return a function that runs a job, prints its log and warnings, and then its results by ``show``."""

    def run(places: dict[str, Any], config: jobs.OutputConfig) -> None:
        with _silent_unless_main():
            try:
                with print_messages(quiet=not config.progress) as console:
                    result = job(**places, settings=config, on_checked=console.speak)
            except jobs.Interrupted as error:
                raise Stopped(str(error)) from error
            if result.already_done:
                print(f"{result.out} is complete: already done.")
            elif config.progress and is_main():
                show(result)

    return run


def _run_demo(places: dict[str, Any], config: jobs.OutputConfig) -> None:
    with print_messages(quiet=True) as console:
        console.speak()
        result = jobs.run_demo(**places, settings=config)  # type: ignore[arg-type]
    if config.progress:
        show_demo(result)


def _path(metavar: str, help: str, *names: str, kind: Any = Path) -> Place:
    declare: Any = typer.Option if names else typer.Argument
    return kind, declare(*names, metavar=metavar, show_default=False, help=help), ...


_OUT = _path("DIR", "Folder for the results; made here.", "--out", "-o")
_RESULTS = _path("RESULTS", "Results folders of domains or predict, or .h5ad files.", kind=list[Path])
_SAMPLES = _path("SAMPLES", "samples.csv: section, counts, image, and patient, slide, mpp, ...")

add_command(
    app,
    "domains",
    jobs.DomainsConfig,
    {
        "inputs": _path(
            "INPUT",
            "Sections: .h5ad, a Space Ranger output folder, a SpatialData .zarr, ...; or one samples.csv. A section is "
            "named by its file or folder name without extension, or by its row.",
            kind=list[Path],
        ),
        "out": _OUT,
    },
    _runs(jobs.find_domains, show_domains),
    help="Find the domains of tissue sections, of several together.\n\n"
    "Writes <section>.h5ad, domains.csv, domains.png, report.html and run.json into DIR.",
)
add_command(
    app,
    "study",
    jobs.StudyConfig,
    {
        "folder": _path("FOLDER", "Folder of a public study, as its authors publish it."),
        "out": _path("FILE", "Table to write: samples.csv.", "--out", "-o"),
    },
    _runs(jobs.describe_study, show_study),
    help="List the sections of a public study in a samples.csv, and what is missing in its folder.\n\n"
    "Nothing in FOLDER is renamed, copied or changed. The other commands read the table.",
)
add_command(
    app,
    "demo",
    jobs.DemoConfig,
    {
        "out": (
            Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results."), Path("histoquilt-demo"),
        )
    },
    _run_demo,
    help="Find domains and predict expression on built-in tissue with known truth, offline, and score both.\n\n"
    "Domains of a section; and expression and domains of a slide that is given as an image alone.",
)  # fmt: skip


@app.command()
def doctor() -> None:
    """Print versions, device, threads, readable formats, and how to install what is missing."""
    from histoquilt.cli._doctor import examine

    for line in examine():
        typer.echo(line)


@app.command()
def models(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", show_default=False, help="Model folders, or folders of them; by default ."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare files with their digests; look for class, version and encoders.")
    ] = False,
    pull: Annotated[
        str | None,
        typer.Option(
            "--pull", metavar="SOURCE", help="Copy a model folder, or a repository ORGANISATION/NAME of the model hub."
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="COMMIT", help="With --pull: commit of the repository.")
    ] = None,
    digest: Annotated[
        str | None, typer.Option("--digest", metavar="SHA256", help="With --pull: digest that the model must have.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="MODEL", help="With --pull: folder for the model; made here.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="With --pull: replace an earlier folder.")] = False,
) -> None:
    """List, show, check and copy model folders.

    One model folder is shown with its card, several are listed.
    """
    from histoquilt.cli._models import list_models

    if pull is None:
        if (revision, digest, out, overwrite) != (None, None, None, False):
            raise jobs.JobError("--revision, --digest, --out and --overwrite belong to --pull SOURCE.")
        list_models(paths or [Path()], check=check)
        return
    if out is None or paths or check:
        raise jobs.JobError("--pull SOURCE copies one model: give --out MODEL, and neither PATH nor --check.")
    with print_messages() as console:
        console.speak()
        from histoquilt.models import pull_model

        pull_model(pull, out, revision=revision, digest=digest, overwrite=overwrite)


add_command(
    app,
    "train",
    jobs.TrainConfig,
    {"samples": _SAMPLES, "out": _path("MODEL", "Folder for the model; made here.", "--out", "-o")},
    _runs(jobs.train_model, show_training),
    help="Train a model that predicts gene expression from H&E, on sections that have both.\n\n"
    "Writes a model folder for histoquilt predict, with run.json.",
)
add_command(
    app,
    "predict",
    jobs.PredictConfig,
    {
        "model": _path("MODEL", "Model folder of histoquilt train."),
        "inputs": _path(
            "INPUT",
            "Bare slides (.svs, .tiff, .jpg, .png, ...), folders of slides, sections (.h5ad), or one samples.csv.",
            kind=list[Path],
        ),
        "out": _OUT,
    },
    _runs(jobs.predict_folder, show_prediction),
    help="Predict gene expression of sections, or of slides that were never sequenced.\n\n"
    "Writes <name>.h5ad, <name>.csv, report.html and run.json into DIR.",
)
add_command(
    app,
    "evaluate",
    jobs.EvaluateConfig,
    {
        "samples": _path(
            "SAMPLES",
            "samples.csv: section, counts, image, and patient, slide, mpp, ...; with --protocol hest also the folder "
            "of a HEST-Bench task, or with --all of several.",
        ),
        "out": _OUT,
    },
    _runs(jobs.evaluate_models, show_evaluation),
    help="Evaluate methods on held-out sections, next to baselines and oracles.\n\n"
    "Writes scores.csv, genes.csv, differences.csv and more tables, report.html and run.json into DIR.",
)
add_command(
    app,
    "compare",
    jobs.CompareConfig,
    {"results": _RESULTS, "out": _OUT},
    _runs(jobs.compare_results, show_comparison),
    help="Compare conditions of a study: proportions, neighbours, shape and markers of its domains.\n\n"
    "Patients are the observations. Writes proportions.csv, neighbours.csv, shape.csv, markers.csv, pictures, "
    "report.html and run.json into DIR.",
)
add_command(
    app,
    "export",
    jobs.ExportConfig,
    {"results": _RESULTS, "out": _OUT},
    _runs(jobs.export_results, show_export),
    help="Export results to viewers: QuPath, Loupe Browser, Xenium Explorer, napari, Vitessce, Seurat.\n\n"
    "Writes one folder per viewer, and run.json, into DIR.",
)
