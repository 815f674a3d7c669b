"""The commands that read expression off H&E, and their options; see ``_app`` for the rules."""

from pathlib import Path
from typing import Annotated

import typer

from histoquilt._base import EXPRESSION_MODELS
from histoquilt.cli._app import (
    CountsFile,
    Dask,
    Device,
    IgnoreMemory,
    KeepAllSpots,
    OneSection,
    Overwrite,
    Quiet,
    Resume,
    Seed,
    SpatialColumns,
    Table,
    Threads,
    app,
)

Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="DIR", show_default=False, help="Folder for the results; made here.")
]
Samples = Annotated[
    Path,
    typer.Argument(
        metavar="SAMPLES", show_default=False, help="samples.csv: section, counts, image, and patient, slide, mpp, ..."
    ),
]
Encoder = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Image encoder: he_texture (the default), onnx:PATH, timm:NAME, hf-hub:NAME.",
    ),
]  # fmt: skip
Fields = Annotated[
    str | None,
    typer.Option(
        "--field-um", metavar="UM,UM", help="Widths of the fields around a spot, the single patch first; by default "
        "once, half, twice and four times the distance of the spots.",
    ),
]  # fmt: skip
UseRep = Annotated[
    str | None,
    typer.Option("--use-rep", metavar="KEY,KEY", help="Embeddings that are in obsm already, in place of an encoder."),
]
NGenes = Annotated[
    int | None,
    typer.Option("--n-genes", min=1, metavar="N", help="So many genes of highest mean and as many most variable; 200."),
]
Cache = Annotated[Path | None, typer.Option(metavar="DIR", help="Keep embeddings here, found again by content.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Go on without inputs that cannot be used; run.json names them.")
]


@app.command()
def train(
    samples: Samples,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="MODEL", show_default=False, help="Folder for the model; made here.")
    ],
    method: Annotated[
        str, typer.Option(metavar="NAME", help=f"{', '.join(EXPRESSION_MODELS.names())}.")
    ] = "ridge_spahgc",
    encoder: Encoder = None,
    field_um: Fields = None,
    use_rep: UseRep = None,
    seed: Seed = 0,
    n_genes: NGenes = None,
    cache: Cache = None,
    keep_all_spots: KeepAllSpots = False,
    spatial_columns: SpatialColumns = None,
    table: Table = None,
    counts_file: CountsFile = None,
    one_section: OneSection = False,
    skip_bad: SkipBad = False,
    resume: Resume = False,
    device: Device = "auto",
    threads: Threads = None,
    dask: Dask = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Learn to read gene expression off H&E images, from sections that have both.

    Writes a model folder for histoquilt predict, with run.json.
    """
    from histoquilt.cli._reading import parse_read_options
    from histoquilt.cli._train import train_model

    train_model(
        samples,
        out,
        method=method,
        encoder=encoder,
        field_um=field_um,
        use_rep=use_rep,
        seed=seed,
        n_genes=n_genes,
        cache=cache,
        reading=parse_read_options(keep_all_spots, spatial_columns, table, counts_file, one_section),
        skip_bad=skip_bad,
        resume=resume,
        device=device,
        threads=threads,
        dask=dask,
        overwrite=overwrite,
        quiet=quiet,
    )


@app.command()
def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", show_default=False, help="Model folder of histoquilt train.")
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Bare slides (.svs, .tiff, .jpg, .png, ...), folders of slides, sections (.h5ad), or one samples.csv.",
        ),
    ],
    out: Out,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="The H&E image of the one .h5ad given.")] = None,
    mpp: Annotated[
        float | None, typer.Option(metavar="UM", help="Microns per pixel of slides, in place of what the file says.")
    ] = None,
    pitch_um: Annotated[
        float | None,
        typer.Option("--pitch-um", metavar="UM", help="Distance of the spots on a bare slide; as in training."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="The model's image encoder, where it has moved.")
    ] = None,
    cache: Cache = None,
    keep_all_spots: KeepAllSpots = False,
    spatial_columns: SpatialColumns = None,
    table: Table = None,
    counts_file: CountsFile = None,
    one_section: OneSection = False,
    skip_bad: SkipBad = False,
    device: Device = "auto",
    threads: Threads = None,
    dask: Dask = None,
    resume: Resume = False,
    ignore_memory: IgnoreMemory = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Predict gene expression of sections, or of slides that were never sequenced.

    Writes <name>.h5ad, <name>.csv, report.html and run.json into DIR.
    """  # fmt: skip
    from histoquilt.cli._predict import predict_inputs
    from histoquilt.cli._reading import parse_read_options

    predict_inputs(
        model,
        inputs,
        out,
        image=image,
        mpp=mpp,
        pitch_um=pitch_um,
        encoder=encoder,
        cache=cache,
        reading=parse_read_options(keep_all_spots, spatial_columns, table, counts_file, one_section),
        skip_bad=skip_bad,
        device=device,
        threads=threads,
        dask=dask,
        resume=resume,
        check_memory=not ignore_memory,
        overwrite=overwrite,
        quiet=quiet,
    )


@app.command()
def evaluate(
    samples: Samples,
    out: Out,
    methods: Annotated[
        str,
        typer.Option(metavar="A,B", help=f"{', '.join(EXPRESSION_MODELS.names())}; baselines are always added."),
    ] = "ridge_spahgc,spahgc,mclstexp",
    encoder: Encoder = None,
    field_um: Fields = None,
    use_rep: UseRep = None,
    leave_out: Annotated[
        str, typer.Option("--leave-out", metavar="WHAT", help="patient, or section, whose scores are optimistic.")
    ] = "patient",
    seed: Seed = 0,
    seeds: Annotated[str | None, typer.Option(metavar="S,S", help="Several seeds, in place of --seed.")] = None,
    n_genes: NGenes = None,
    protocol: Annotated[
        str, typer.Option(metavar="NAME", help="honest; published adds scores in the papers' own, flawed definition.")
    ] = "honest",
    label_key: Annotated[
        str | None,
        typer.Option(
            "--label-key",
            metavar="KEY",
            help="Compare domains of predictions with obs[KEY]; undetermined, unknown and the like are no labels.",
        ),
    ] = None,
    gmt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Gene sets to test for well-predicted genes.")
    ] = None,
    cache: Cache = None,
    keep_all_spots: KeepAllSpots = False,
    spatial_columns: SpatialColumns = None,
    table: Table = None,
    counts_file: CountsFile = None,
    one_section: OneSection = False,
    skip_bad: SkipBad = False,
    device: Device = "auto",
    threads: Threads = None,
    dask: Dask = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Judge methods on sections that they have not seen, beside baselines and oracles.

    Writes scores.csv, genes.csv, differences.csv and more tables, report.html and run.json into DIR.
    """
    from histoquilt.cli._evaluate import evaluate_methods
    from histoquilt.cli._reading import parse_read_options

    evaluate_methods(
        samples,
        out,
        methods=methods,
        encoder=encoder,
        field_um=field_um,
        use_rep=use_rep,
        leave_out=leave_out,
        seed=seed,
        seeds=seeds,
        n_genes=n_genes,
        protocol=protocol,
        label_key=label_key,
        gmt=gmt,
        cache=cache,
        reading=parse_read_options(keep_all_spots, spatial_columns, table, counts_file, one_section),
        skip_bad=skip_bad,
        device=device,
        threads=threads,
        dask=dask,
        overwrite=overwrite,
        quiet=quiet,
    )
