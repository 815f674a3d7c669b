"""The commands and their options. Each body imports what it runs, so that ``--help`` loads nothing heavy."""

from pathlib import Path
from typing import Annotated

import typer

import histoquilt
from histoquilt._base import DOMAIN_MODELS
from histoquilt.cli._in_step import check_command

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Tissue domains from spatial transcriptomics, and gene expression from H&E images.",
    epilog="Errors are one line and exit code 2; Ctrl-C exits 130 and leaves nothing half-written.",
)

Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 ...; auto takes a GPU when there is one.")]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads to compute on; OMP_NUM_THREADS, or all that the machine grants."),
]
Dask = Annotated[
    str | None,
    typer.Option(
        metavar="local|ADDRESS",
        show_default=False,
        help="Work on sections or slides side by side: on the cores of this machine, or on the cluster of the Dask "
        "scheduler at tcp://HOST:PORT, or in its file. What needs all of them at once is done here.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results of an earlier run.")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Keep unfinished work in DIR.partial; the same command goes on where it stopped."),
]
IgnoreMemory = Annotated[
    bool, typer.Option("--ignore-memory", help="Begin even what will need more memory than there is.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors; no progress bar.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Same seed, same machine, same result.")]


KeepAllSpots = Annotated[
    bool, typer.Option("--keep-all-spots", help="Keep array spots outside the tissue (in_tissue is 0).")
]
SpatialColumns = Annotated[
    str | None,
    typer.Option("--spatial-columns", metavar="X,Y", help="Columns of obs with the coordinates of the spots."),
]
Table = Annotated[
    str | None, typer.Option("--table", metavar="NAME", help="Table of a SpatialData store that holds several.")
]
CountsFile = Annotated[
    str | None,
    typer.Option("--counts-file", metavar="NAME", help="Count matrix of a folder that holds several."),
]
OneSection = Annotated[
    bool, typer.Option("--one-section", help="Every file is one tissue, whatever its columns suggest.")
]


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
    else:
        check_command(context.invoked_subcommand)


@app.command()
def domains(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Sections: .h5ad, a Space Ranger output folder, a SpatialData .zarr, ...; or one samples.csv. "
            "A section is named by its file or folder name without extension, or by its row.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", show_default=False, help="Folder for the results; made here.")
    ],
    n_domains: Annotated[
        str,
        typer.Option(
            "--n-domains", "-k", metavar="K", help="How many domains: 7; 5-12 or auto (2-15) choose by stability."
        ),
    ] = "auto",
    method: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(DOMAIN_MODELS.names())}.")
    ] = "spatial_factors",
    seed: Seed = 0,
    links: Annotated[
        str,
        typer.Option(
            help="How sections are linked: stack (serial; by z_um, else in the order given), expression, stitched "
            "(overlapping pieces) or none; auto is stack where z_um is given, else expression."
        ),
    ] = "auto",
    separate: Annotated[
        bool, typer.Option("--separate", help="Do not integrate: find the domains of each section on its own.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on without sections that cannot be read; run.json names them.")
    ] = False,
    resume: Resume = False,
    use_rep: Annotated[str | None, typer.Option(metavar="KEY", help="Start from obsm[KEY] instead of counts.")] = None,
    layer: Annotated[str | None, typer.Option(metavar="KEY", help="Take expression from layers[KEY], not X.")] = None,
    spatial_key: Annotated[str, typer.Option(metavar="KEY", help="Spot centres are in obsm[KEY].")] = "spatial",
    section_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="obs[KEY] tells the sections of one file apart; no edge joins two of them."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON of the method's settings; others keep their default."),
    ] = None,
    refine: Annotated[bool, typer.Option(help="Let spots follow the clear majority of their neighbours.")] = True,
    denoise: Annotated[
        str,
        typer.Option(
            metavar="WHAT",
            help="Denoised expression to write: all modelled genes, the best markers of every domain (markers), none, "
            "or genes by name (MBP,SNAP25). auto is all, of more than 50,000 spots markers, of a study none.",
        ),
    ] = "auto",
    keep_all_spots: KeepAllSpots = False,
    spatial_columns: SpatialColumns = None,
    table: Table = None,
    counts_file: CountsFile = None,
    one_section: OneSection = False,
    ignore_memory: IgnoreMemory = False,
    save_model: Annotated[
        bool, typer.Option("--save-model", help="Write the trained model, for tissue it has not seen, to DIR/model.")
    ] = False,
    device: Device = "auto",
    threads: Threads = None,
    dask: Dask = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Find the domains of tissue sections, of several together.

    Writes <section>.h5ad, domains.csv, domains.png, report.html and run.json into DIR.
    """
    from histoquilt.cli._domains import find_domains
    from histoquilt.cli._reading import parse_read_options

    find_domains(
        inputs,
        out,
        n_domains=n_domains,
        method=method,
        seed=seed,
        links=links,
        separate=separate,
        skip_bad=skip_bad,
        resume=resume,
        use_rep=use_rep,
        layer=layer,
        spatial_key=spatial_key,
        section_key=section_key,
        config=config,
        refine=refine,
        denoise=denoise,
        reading=parse_read_options(keep_all_spots, spatial_columns, table, counts_file, one_section),
        check_memory=not ignore_memory,
        save_model=save_model,
        device=device,
        threads=threads,
        dask=dask,
        overwrite=overwrite,
        quiet=quiet,
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results.")] = Path(
        "histoquilt-demo"
    ),
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Do both jobs on built-in tissue with known truth, offline, and score them.

    Domains of a section; and expression and domains of a slide that is given as an image alone.
    """
    from histoquilt.cli._demo import show_demo

    show_demo(out, seed=seed, device=device, overwrite=overwrite, quiet=quiet)


@app.command()
def doctor() -> None:
    """Print versions, device, threads, readable formats, and what is missing with its remedy."""
    from histoquilt.cli._doctor import examine

    for line in examine():
        typer.echo(line)
