"""``histoquilt evaluate``: methods on sections that they have not seen, as tables and a page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import ReadOptions
from histoquilt.cli._console import told
from histoquilt.cli._device import check_device
from histoquilt.cli._embedded import read_imaged
from histoquilt.cli._errors import CommandError, writing
from histoquilt.cli._expression_options import (
    check_encoder_or_keys,
    check_table,
    parse_fields,
    parse_keys,
    parse_methods,
    parse_seeds,
)
from histoquilt.cli._output import RUN_FILE, check_out
from histoquilt.cli._record import RunRecord, plain, sha256
from histoquilt.runtime import atomic_folder, connect, use_threads

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from histoquilt.evaluate import Evaluation

LEAVE_OUT = ("patient", "section")
PROTOCOLS = ("honest", "published")
WIDTH = 118  # of the printed table where nobody looks at it on a terminal


def evaluate_methods(
    samples: Path,
    out: Path,
    *,
    methods: str,
    encoder: str | None,
    field_um: str | None,
    use_rep: str | None,
    leave_out: str,
    seed: int,
    seeds: str | None,
    n_genes: int | None,
    protocol: str,
    label_key: str | None,
    gmt: Path | None,
    cache: Path | None,
    reading: ReadOptions,
    skip_bad: bool,
    device: str,
    threads: int | None,
    dask: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Embed, evaluate, write tables and report, print who beats ridge."""
    arguments = {name: plain(value) for name, value in locals().items()}
    names = parse_methods(methods)
    for value, known, option in ((leave_out, LEAVE_OUT, "--leave-out"), (protocol, PROTOCOLS, "--protocol")):
        if value not in known:
            raise CommandError(f"{option} is {' or '.join(known)}, got {value!r}.")
    check_device(device)
    check_encoder_or_keys(encoder, field_um, use_rep)
    fields, keys, all_seeds = parse_fields(field_um), parse_keys(use_rep), parse_seeds(seeds, seed)
    check_table(samples)
    if gmt is not None and not gmt.is_file():
        raise CommandError(f"there is no GMT file {gmt}. Check the path.")
    check_out(out, overwrite=overwrite, inputs=[samples, *([gmt] if gmt else [])])
    record = RunRecord("evaluate", arguments)
    with told(quiet=quiet) as console, use_threads(threads):
        with record.stage("import"):
            from histoquilt import metrics, tl
            from histoquilt.evaluate import new_model, plan_folds
            from histoquilt.report import write_evaluation_report
            from histoquilt.runtime import resolve_device
            from histoquilt.tl import labelled_sections

            has_network = any(new_model(name).has_network for name in names)
            device = str(resolve_device(device, sparse=has_network))
            if gmt is not None:
                metrics.read_gmt(gmt)

        def check(sections: dict[str, "AnnData"]) -> None:
            plan_folds(sections, leave_out)
            if label_key is not None:
                labelled_sections(sections, label_key)

        with connect(dask) as workers:
            study = read_imaged(
                samples, use_rep=keys, encoder=encoder, device=device, field_um=fields, cache=cache, skip_bad=skip_bad,
                least_sections=3, check=check, record=record, console=console, progress=not quiet, options=reading,
                workers=workers,
            )  # fmt: skip
            study.embed(record, workers, progress=not quiet)
        with record.stage("evaluate"):
            found = tl.evaluate_expression(
                study.sections, names, use_rep=study.reps, leave_out=leave_out, seeds=all_seeds, device=device,  # type: ignore[arg-type]
                n_genes=n_genes, protocol=protocol, label_key=label_key, gmt=gmt, progress=not quiet,  # type: ignore[arg-type]
            )  # fmt: skip
        with writing(out), atomic_folder(out, overwrite=overwrite) as folder, record.stage("write"):
            for name, table in tables_of(found).items():
                table.to_csv(folder / name, index=False)

            def facts() -> dict[str, Any]:
                inputs = study.digests + ([{"path": str(gmt), "sha256": sha256(gmt)}] if gmt else [])
                shared = {key: value for key, value in found.facts.items() if key != "version"}
                return record.finish(
                    warnings=console.warnings, **shared, **study.facts, methods=names, skipped=study.skipped,
                    folds=found.folds.to_dict("records"), inputs=inputs,
                )  # fmt: skip

            write_evaluation_report(folder / "report.html", found, facts=facts(), predictions=found.predictions)
            outputs = sorted(path.name for path in folder.iterdir())
            text = json.dumps({**facts(), "outputs": outputs}, indent=2, ensure_ascii=False, default=str)
            (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")
    if not quiet:
        show(found)
        for name in study.skipped:
            print(f"{name}: left out")
        print(f"Report: {out / 'report.html'}")


def tables_of(found: "Evaluation") -> dict[str, "pd.DataFrame"]:
    """Return file name -> table; those that were not asked for are left out."""
    tables = {
        "scores.csv": found.scores,
        "genes.csv": found.genes,
        "gene_summary.csv": found.gene_summary,
        "differences.csv": found.differences,
        "intervals.csv": found.intervals,
        "structure.csv": found.structure,
    }
    asked_for = {"domains.csv": found.domains, "enrichment.csv": found.enrichment, "published.csv": found.published}
    return tables | {name: table for name, table in asked_for.items() if len(table)}


def show(found: "Evaluation") -> None:
    """Print one line a method: the score with its interval, and in words whether it beats ridge."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    n_sections = found.scores.loc[found.scores["fold"] != "all", "section"].nunique()
    table = Table(title=f"Median correlation over the panel, mean of {n_sections} held-out sections", box=None)
    for column in ("method", "", "PCC", "95 % interval"):
        table.add_column(column, justify="right" if column == "PCC" else "left")
    table.add_column("beside ridge", overflow="fold")
    for name, row in found.summary().iterrows():
        verdicts = [row["verdict_ridge_plain"], row["verdict_ridge"]]
        said = "; ".join(text for text in verdicts if isinstance(text, str))
        interval = f"{row['low']:.3f} to {row['high']:.3f}" if row["low"] == row["low"] else "none (1 section)"
        told_as = "looks at the answer" if row["kind"] == "oracle" else said
        table.add_row(str(name), row["kind"], f"{row['pcc_median']:.3f}", interval, told_as)
    console.print(table)
    if found.optimistic:
        print(
            "These scores are optimistic: training held the same patient or slide, or patients are not known. A new "
            "patient will get less (--leave-out patient)."
        )
    if found.facts["protocol"] == "published":
        print("published.csv holds scores in the papers' own, flawed definition, to compare with their tables only.")
