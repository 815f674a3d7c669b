"""Job: train a model that predicts gene expression from H&E."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import EXPRESSION_MODELS
from histoquilt.jobs.expression._images import ImagedConfig, ImagedSections, check_samples, read_imaged
from histoquilt.jobs.work._options import (
    PathName,
    check_memory_option,
    configured,
    documented,
    option,
    resume_option,
    seed_option,
)
from histoquilt.jobs.work._output import check_out
from histoquilt.jobs.work._resume import digest_of
from histoquilt.jobs.work._run import JobResult, OnChecked, Run, check_one_process, start_run
from histoquilt.runtime import connect, logger

if TYPE_CHECKING:
    from histoquilt.models import ExpressionModel, Stack


@documented
@dataclass(frozen=True, kw_only=True)
class TrainConfig(ImagedConfig):
    """Options of :func:`train_model`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.jobs.TrainConfig(method="ridge").method
    'ridge'
    """

    method: str = option("stack", "{choices}.", choices=EXPRESSION_MODELS, metavar="NAME")
    seed: int = seed_option()
    resume: bool = resume_option()
    check_memory: bool = check_memory_option()


def train_model(
    samples: PathName,
    out: PathName,
    settings: TrainConfig | None = None,
    *,
    on_checked: OnChecked | None = None,
    **options: Any,
) -> JobResult:
    """Train a model that predicts gene expression from H&E, as ``histoquilt train`` does.

    Images are embedded unless ``use_rep`` names embeddings. With ``resume``, training is kept until the model is
    written, and so are embeddings if no ``cache`` is given.

    Parameters
    ----------
    samples
        Path of a ``samples.csv`` with at least two sections: ``section``, ``counts``, ``image``, and optionally
        ``patient``, ``slide``, ``mpp`` (:func:`histoquilt.io.read_samples`).
    out
        Path of the model folder, for :func:`histoquilt.models.load` and :func:`predict_folder`.
    settings
        Options as one object, to use them several times.
    on_checked
        Function that is called once all inputs are checked.
    options
        Fields of :class:`TrainConfig`; they override ``settings``.

    Returns
    -------
    :class:`JobResult`. ``facts["inner_validation"]`` holds the scores of the method, and of ridge regression, on
    training sections that were left out; ``facts["stack"]``, if the method is a stack, the weights of its members and
    their scores there.

    Raises
    ------
    JobError
        An option or an input is wrong (all wrong inputs are named).
    FileExistsError
        ``out`` holds results and ``overwrite`` is false.
    TypeError
        An option does not exist.

    Examples
    --------
    >>> import histoquilt as hq
    >>> folder = getfixture("tmp_path")
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> for name, section in study.items():
    ...     section.write_h5ad(folder / f"{name}.h5ad")
    >>> lines = ["section,counts", *(f"{name},{name}.h5ad" for name in study)]
    >>> _ = (folder / "samples.csv").write_text(chr(10).join(lines))
    >>> done = hq.jobs.train_model(
    ...     folder / "samples.csv", folder / "model", method="ridge", use_rep="X_image", progress=False
    ... )
    >>> done.facts["n_genes"], hq.models.load(done.out)
    (20, RidgeOnEmbedding(trained on 3 sections, 20 genes, 'X_image'))
    """
    asked, samples, out = configured(TrainConfig, settings, options), Path(samples), Path(out)
    check_one_process("train")
    check_samples(samples)
    check_out(out, overwrite=asked.overwrite, inputs=[samples], resume=asked.resume)
    with start_run("train", {"samples": samples, "out": out}, asked, on_checked) as run:
        with run.record.stage("import"):
            from histoquilt.evaluate import new_model
            from histoquilt.runtime import resolve_device

            model = new_model(asked.method)
            device = str(resolve_device(asked.device, sparse=model.has_network))
        cache = asked.cache
        if cache is None and run.work.kept:
            cache = run.work.folder.absolute() / "embeddings"
        with connect(asked.dask) as run.workers:
            study = read_imaged(samples, asked, run, device=asked.device, cache=cache, least_sections=2)
            job = digest_of(
                command="train", inputs=study.digests, sections=list(study.sections), embedded=study.facts,
                method=asked.method, n_genes=asked.n_genes, seed=asked.seed, device=device, reading=asked.reading(),
            )  # fmt: skip
            if (before := run.done_before(job)) is not None:
                return JobResult(out, before, already_done=True)
            if asked.check_memory:  # what is certain before the panel is chosen; fit checks the rest
                parts = study.sections.values()
                n_genes = min(asked.n_genes or model.config.n_genes, *(adata.n_vars for adata in parts))
                model.check_memory(len(parts), sum(adata.n_obs for adata in parts), study.n_columns, n_genes)
            study.embed(run)
        return JobResult(out, _fit_and_save(model, study, asked, run, job))


def _fit_and_save(
    model: "ExpressionModel", study: ImagedSections, asked: TrainConfig, run: Run, job: str
) -> dict[str, Any]:
    """Fit the model, and ridge regression to compare it with; write the folder and return ``run.json``."""
    from histoquilt.evaluate import PLAIN_RIDGE, new_model
    from histoquilt.models import Stack

    options: dict[str, Any] = {
        "use_rep": study.reps, "n_genes": asked.n_genes, "seed": asked.seed, "device": asked.device,
        "check_memory": asked.check_memory,
    }  # fmt: skip
    logger.info("Training %s on %d sections.", asked.method, len(study.sections))
    with run.record.stage("fit"):
        model.fit(study.sections, **options, progress=asked.progress, checkpoint=run.work.training("model"))
    scores = {asked.method: model.fitted.reliability.summary()}
    if asked.method != PLAIN_RIDGE:
        logger.info("Fitting ridge regression for comparison.")
        with run.record.stage("ridge"):
            scores[PLAIN_RIDGE] = new_model(PLAIN_RIDGE).fit(study.sections, **options).fitted.reliability.summary()
    with run.results() as folder:
        with _final_path_in_log(run.out, folder):
            model.save(folder)
        facts = {
            "method": asked.method,
            "seed": asked.seed,
            "device": str(model.device),
            "n_genes": model.n_genes,
            "n_spots": {name: adata.n_obs for name, adata in study.sections.items()},
            "inner_validation": scores,
            **({"stack": stack_facts(model)} if isinstance(model, Stack) else {}),
            "moments": model.training_facts["moments"],
            "inputs": study.digests,
            "skipped": study.skipped,
            **study.facts,
        }
        return run.finish(folder, facts, job)


@contextmanager
def _final_path_in_log(out: Path, folder: Path) -> Iterator[None]:
    """Replace a folder that is about to be renamed by its final path in log messages."""

    def rename(record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(out if argument == folder else argument for argument in record.args)
        return True

    logger.addFilter(rename)
    try:
        yield
    finally:
        logger.removeFilter(rename)


def stack_facts(model: "Stack") -> dict[str, Any]:
    """Return the weights of the members, whether inner folds gave them, and scores there, raw or at equal depth."""
    chosen = model.training_facts["chosen"]
    return {name: chosen[name] for name in ("weights", "validated", "inner_scores", "at_equal_depth")}
