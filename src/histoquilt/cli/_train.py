"""``histoquilt train``: a study with images in, a model folder out."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import ReadOptions
from histoquilt.cli._console import told
from histoquilt.cli._device import check_device
from histoquilt.cli._embedded import read_imaged
from histoquilt.cli._errors import writing
from histoquilt.cli._expression_options import (
    check_encoder_or_keys,
    check_method,
    check_table,
    parse_fields,
    parse_keys,
)
from histoquilt.cli._output import RUN_FILE, check_out
from histoquilt.cli._progress import JOB, digest_of, workplace
from histoquilt.cli._record import RunRecord, plain
from histoquilt.runtime import connect, logger, use_threads

if TYPE_CHECKING:
    from histoquilt.models import ExpressionModel


def train_model(
    samples: Path,
    out: Path,
    *,
    method: str,
    encoder: str | None,
    field_um: str | None,
    use_rep: str | None,
    seed: int,
    n_genes: int | None,
    cache: Path | None,
    reading: ReadOptions,
    skip_bad: bool,
    resume: bool,
    device: str,
    threads: int | None,
    dask: str | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Embed, fit, save; print how well the method did on training sections that were left out.

    With ``resume`` training is kept, and so are embeddings where no ``cache`` is given, until the model is written.
    """
    arguments = {name: plain(value) for name, value in locals().items()}
    check_method(method, "--method")
    check_device(device)
    check_encoder_or_keys(encoder, field_um, use_rep)
    fields, keys = parse_fields(field_um), parse_keys(use_rep)
    check_table(samples)
    check_out(out, overwrite=overwrite, inputs=[samples], resume=resume)
    record = RunRecord("train", arguments)
    with told(quiet=quiet) as console, use_threads(threads), workplace(out, resume=resume) as work:
        with record.stage("import"):
            from histoquilt.evaluate import PLAIN_RIDGE, new_model
            from histoquilt.runtime import resolve_device

            model = new_model(method)
            used_device = str(resolve_device(device, sparse=model.has_network))
        if cache is None and work.kept:
            cache = work.folder.absolute() / "embeddings"
        with connect(dask) as workers:
            study = read_imaged(
                samples, use_rep=keys, encoder=encoder, device=device, field_um=fields, cache=cache, skip_bad=skip_bad,
                least_sections=2, record=record, console=console, progress=not quiet, options=reading,
                workers=workers,
            )  # fmt: skip
            job = digest_of(
                command="train", inputs=study.digests, sections=list(study.sections), embedded=study.facts,
                method=method, n_genes=n_genes, seed=seed, device=used_device, reading=reading,
            )  # fmt: skip
            if work.is_done(job):
                print(f"{out} is complete: already done.")
                return
            work.refuse_others(overwrite=overwrite)
            study.embed(record, workers, progress=not quiet)
        options: dict[str, Any] = {"use_rep": study.reps, "n_genes": n_genes, "seed": seed, "device": device}
        with record.stage("fit"):
            model.fit(study.sections, **options, progress=not quiet, checkpoint=work.training("model"))
        found = {method: inner_scores(model)}
        if method != PLAIN_RIDGE:
            with record.stage("ridge"):
                ridge = new_model(PLAIN_RIDGE).fit(study.sections, **options)
            found[PLAIN_RIDGE] = inner_scores(ridge)
        kept = work.folder if work.kept else None
        with writing(out, kept=kept), work.results(overwrite=overwrite) as folder, record.stage("write"):
            with naming(out, folder):
                model.save(folder)
            facts = record.finish(
                warnings=console.warnings,
                method=method,
                seed=seed,
                device=str(model.device),
                n_genes=model.n_genes,
                n_spots={name: adata.n_obs for name, adata in study.sections.items()},
                inner_validation=found,
                inputs=study.digests,
                skipped=study.skipped,
                **study.facts,
            )
            outputs = sorted(path.name for path in folder.iterdir())
            text = json.dumps({**facts, JOB: job, "outputs": outputs}, indent=2, ensure_ascii=False, default=str)
            (folder / RUN_FILE).write_text(text + "\n", encoding="utf-8")
    if not quiet:
        print(f"{method}: {model.n_genes:,} genes from {len(study.sections)} sections, saved to {out}")
        for name, scores in found.items():
            print(f"  {_in_words(name, scores)}")
        for name in study.skipped:
            print(f"{name}: left out")


@contextmanager
def naming(out: Path, folder: Path) -> Iterator[None]:
    """Let what is logged of a folder that is about to be renamed speak of its final place."""

    def rename(record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(out if argument == folder else argument for argument in record.args)
        return True

    logger.addFilter(rename)
    try:
        yield
    finally:
        logger.removeFilter(rename)


def inner_scores(model: "ExpressionModel") -> dict[str, Any]:
    """Return how a model did on training sections that were left out in turn, over genes."""
    import numpy as np

    reliability = model.fitted.reliability
    correlation = reliability.correlation
    known = reliability.n_folds > 0
    return {
        "pcc_median": float(np.median(correlation)) if known else None,
        "n_genes": len(correlation),
        "n_beats_mean": int(reliability.beats_mean.sum()) if known else None,
        "n_folds": reliability.n_folds,
    }


def _in_words(name: str, scores: dict[str, Any]) -> str:
    if not scores["n_folds"]:
        return f"{name}: keeps no predictions of left-out training sections"
    return (
        f"{name}: median correlation {scores['pcc_median']:.3f} on left-out training sections, "
        f"{scores['n_beats_mean']:,} of {scores['n_genes']:,} genes better than the mean"
    )
