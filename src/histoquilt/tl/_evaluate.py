"""Evaluation of methods that predict expression from H&E on held-out sections."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData

import histoquilt
from histoquilt._base import Keys
from histoquilt.evaluate import (
    Contender,
    Evaluation,
    EvaluationStudy,
    Fold,
    contenders,
    difference_table,
    enrichment_table,
    fold_table,
    gene_summary,
    gene_table,
    hest_of_folds,
    interval_table,
    n_runs,
    published_table,
    read_evaluation_study,
    run_fold,
    score_table,
    shown_label,
    structure_table,
    without_untrained,
)
from histoquilt.metrics import NO_REGION, read_genes, read_gmt
from histoquilt.models import ExpressionConfig, ExpressionModel
from histoquilt.runtime import logger, progress_bar, resolve_device, warn_user
from histoquilt.study import Sections, Slots, write_result
from histoquilt.tl._evaluate_domains import COLUMNS, domain_table, labelled_sections, n_domain_runs
from histoquilt.train import Split

if TYPE_CHECKING:
    import torch


def evaluate_expression(
    sections: Sections,
    methods: Mapping[str, Callable[[], ExpressionModel]] | Sequence[str] = (),
    *,
    use_rep: str | Sequence[str] | None = None,
    leave_out: Literal["patient", "section", "fold"] = "patient",
    splits: Sequence[Split] | None = None,
    patient_key: str = Keys.PATIENT,
    slide_key: str = Keys.SLIDE,
    section_key: str = Keys.SECTION,
    spatial_key: str = Keys.SPATIAL,
    seeds: Sequence[int] = (0,),
    device: "str | torch.device" = "auto",
    genes: Sequence[str] | None = None,
    n_genes: int | None = None,
    layer: str | None = None,
    protocol: Literal["honest", "published", "hest"] = "honest",
    label_key: str | None = None,
    unlabelled: Sequence[str] = NO_REGION,
    gmt: str | Path | None = None,
    markers: str | Path | Sequence[str] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Train methods on some sections, predict the others, and compare their scores with baselines and oracles.

    A model is given the training sections of its fold, and only embeddings and coordinates of a held-out section. The
    gene panel, the lists of top genes and all settings come from training sections.

    Always included, requested or not, are the training mean, the predicted depth (``predicted_depth``, if there are raw
    counts), ridge regression on one patch (``ridge_plain``) and on all inputs with smoothing (``ridge``), reduced-rank
    ridge regression, retrieval by the cosine of embeddings (``knn_cosine``) and in a learned metric (``knn``), and two
    oracles that use the answer: the spot's depth, and the measured mean of its neighbours. Which method is better is
    decided by the correlation at equal depth.

    Parameters
    ----------
    sections
        At least three sections: a dict from name to AnnData, a list, one AnnData with ``obs[section_key]``, or the path
        of a ``samples.csv`` (:meth:`histoquilt.study.Study.of`); each with image embeddings in ``obsm``, spot centres,
        and measured expression. They are not changed.
    methods
        Short names (``"stack"``, ``"spahgc"``, ``"mclstexp"``, ``"reduced_rank_ridge"``, ``"ridge"``,
        ``"ridge_plain"``, ``"knn"``, ``"predicted_depth"``, ``"mean"``), or a dict from a label to a function that
        returns a new, untrained model: ``{"mine": lambda: SpaHGC(config)}``.
    use_rep
        Key or keys in ``obsm``, the first being the one patch of ``ridge_plain``. By default those that
        :func:`histoquilt.im.embed_patches` wrote into all sections.
    leave_out
        ``"patient"`` holds out all sections of a patient, with every patient that shares a slide with it.
        ``"section"`` holds out one section, and its scores are optimistic if the patient has others. ``"fold"`` holds
        out the sections with the same value of ``obs["fold"]``.
    splits
        Custom folds, instead of ``leave_out`` (:func:`histoquilt.train.read_splits`). All folds are checked for leaks:
        the same section, patient or slide, or spots with the same expression, on both sides.
    patient_key, slide_key
        Columns of ``obs``, one value for each section. The slide is used if present.
    section_key, spatial_key
        Column of ``obs`` with section names, and key in ``obsm`` of the spot centres.
    seeds
        Random seeds. Every method that uses randomness is trained once with each; the others once.
    device
        Device on which networks are trained; ``"auto"`` uses a GPU if available. Domains of predictions are found on
        the CPU.
    genes
        Genes of the panel, if you have one that was not chosen on these sections. By default each fold chooses its own.
    n_genes
        Number of genes of highest mean, and of highest variance, in the panel (default 200).
    layer
        Layer with the expression; by default ``layers["counts"]``, else ``X``.
    protocol
        ``"published"`` adds scores in the flawed definitions of the published code, marked as such, only for comparison
        with the papers' tables; ``"hest"`` adds scores as HEST-Bench defines them, with its linear probe as a row, and
        needs raw counts. Training and all other tables are unchanged.
    label_key
        Column of ``obs`` with regions: the domains of predicted expression are compared with them, next to those of
        measured expression (``measured``) and those found in the embeddings without genes (``image_only``).
    unlabelled
        Labels that do not name a region, case-insensitive: their spots are not scored, like those without a label. Pass
        ``()`` if one of these words is a region of yours.
    gmt
        Path of a GMT file of gene sets, tested for enrichment among the well-predicted genes against the panel.
    markers
        Genes to score as a set of their own, ``markers``: names or symbols, or the path of a file with one per line.
        Those that are not in the panel are predicted in addition.
    progress
        If true, show a progress bar on stderr.

    Returns
    -------
    :class:`histoquilt.evaluate.Evaluation`

    Raises
    ------
    KeyError
        A column, an embedding or a layer is missing; patients are not known and ``leave_out="patient"``.
    ValueError
        A method is unknown; a fold leaves fewer than two training sections, or leaks; no marker was
        measured in all sections; an argument is not one of those listed; or as
        :meth:`histoquilt.models.ExpressionModel.fit`.
    TypeError
        ``methods`` holds trained models, or functions that do not return models.

    Examples
    --------
    >>> import histoquilt as hq
    >>> sections = hq.datasets.paired_study(n_sections=3, n_spots=120, n_genes=40, seed=0)
    >>> found = hq.tl.evaluate_expression(sections, use_rep="X_image", progress=False)
    >>> found.summary()["kind"].to_dict()["ridge"], len(found.folds), found.optimistic
    ('baseline', 3, False)
    """
    asked = contenders(methods)
    chosen_seeds = _check_arguments(leave_out, seeds, n_genes, protocol, gmt, device)
    names = read_genes(markers) if isinstance(markers, str | Path) else list(markers or ())
    study = read_evaluation_study(
        sections, Slots(spatial_key, section_key, layer), use_rep=use_rep, leave_out=leave_out, splits=splits,
        patient_key=patient_key, slide_key=slide_key, protocol=protocol, markers=names,
    )  # fmt: skip
    labels = {} if label_key is None else labelled_sections(study.study.adatas, label_key, unlabelled)
    n_genes = ExpressionConfig().n_genes if n_genes is None else n_genes
    n_fits = len(study.splits) * n_runs(asked, chosen_seeds)
    with progress_bar("Evaluation", n_fits, enabled=progress) as advance:
        options: dict[str, Any] = {"genes": genes, "n_genes": n_genes, "device": device, "show": shown_label(methods)}
        folds = [run_fold(study, split, asked, chosen_seeds, **options, advance=advance) for split in study.splits]
    asked = without_untrained(asked, folds)
    with progress_bar("Domains", n_domain_runs(folds, labels), enabled=progress and bool(labels)) as advance:
        domains, found = domain_table(study, folds, labels, advance)
    by_gene = gene_table(study, folds)
    scores, summary = score_table(study, by_gene, folds), gene_summary(by_gene)
    _warn_of_limits(folds, own_splits=splits is not None)
    return Evaluation(
        scores=scores,
        genes=by_gene,
        gene_summary=summary,
        differences=difference_table(scores),
        intervals=interval_table(scores),
        structure=structure_table(folds),
        domains=domains[COLUMNS],
        enrichment=enrichment_table(summary, gmt),
        published=published_table(study, folds) if protocol == "published" else pd.DataFrame(),
        hest=hest_of_folds(study, folds) if protocol == "hest" else pd.DataFrame(),
        folds=fold_table(folds),
        predictions=_shown(folds, study, found, label_key),
        facts=_facts(study, folds, asked, chosen_seeds, "own splits" if splits else leave_out, protocol, n_genes)
        | {"label_key": label_key if labels else None, "unlabelled": list(unlabelled)},
    )


def _check_arguments(
    leave_out: str,
    seeds: Sequence[int],
    n_genes: int | None,
    protocol: str,
    gmt: str | Path | None,
    device: "str | torch.device",
) -> list[int]:
    """Check the arguments before any section is read, and return the seeds."""
    if leave_out not in ("patient", "section", "fold"):
        raise ValueError(f"leave_out must be 'patient', 'section' or 'fold', got {leave_out!r}.")
    if protocol not in ("honest", "published", "hest"):
        raise ValueError(f"protocol must be 'honest', 'published' or 'hest', got {protocol!r}.")
    if n_genes is not None and (isinstance(n_genes, bool) or not isinstance(n_genes, int) or n_genes < 1):
        raise ValueError(f"n_genes must be a whole number of at least 1, got {n_genes!r}.")
    found = [int(seed) for seed in seeds]
    if not found or len(set(found)) < len(found) or min(found) < 0:
        raise ValueError(f"seeds must be one or more whole numbers of at least 0, each once, got {list(seeds)!r}.")
    if gmt is not None:
        read_gmt(gmt)
    resolve_device(device)
    return found


def _shown(
    folds: Sequence[Fold],
    study: EvaluationStudy,
    domains: Mapping[str, Mapping[str, np.ndarray]],
    label_key: str | None,
) -> dict[str, AnnData]:
    """Return held-out section -> prediction, with labels and domains of sections that have labels.

    It is the first one if several custom splits hold the section out.
    """
    shown: dict[str, AnnData] = {}
    for fold in folds:
        for name, predicted in fold.shown.items():
            shown.setdefault(name, predicted)
    for name, of_methods in domains.items():
        labelled, colors = study.study[name].adata, f"{label_key}_colors"
        shown[name].obs[label_key] = labelled.obs[label_key].set_axis(shown[name].obs_names)
        if colors in labelled.uns:
            shown[name].uns[colors] = labelled.uns[colors]
        for method, found in of_methods.items():
            write_result(shown[name], "obs", f"{Keys.DOMAIN}_{method}", pd.Categorical(found))
    return shown


def _warn_of_limits(folds: Sequence[Fold], *, own_splits: bool) -> None:
    """Warn of genes that cannot be scored, and log if scores are optimistic."""
    missing = {name: n for fold in folds for name in fold.truth if (n := fold.n_unmeasured(name))}
    if missing:
        listed = ", ".join(f"{name}: {n}" for name, n in missing.items())
        warn_user(
            f"Some genes of the panel were not measured in the held-out section and cannot be scored there ({listed}). "
            "The column n_unmeasured counts them."
        )
    if own_splits and any(fold.split.optimistic for fold in folds):  # of others leave_one_out has said it
        logger.info("Scores are optimistic: training held relatives of held-out sections (same patient or slide).")


def _facts(
    study: EvaluationStudy,
    folds: Sequence[Fold],
    asked: Sequence[Contender],
    seeds: Sequence[int],
    leave_out: str,
    protocol: str,
    n_genes: int,
) -> dict[str, Any]:
    first = next(iter(study.study.values()))
    return {
        "leave_out": leave_out,
        "optimistic": any(fold.split.optimistic for fold in folds),
        "protocol": protocol,
        "seeds": list(seeds),
        "use_rep": list(study.reps),
        "encoders": {rep: str(first.record(rep).get("encoder", "not recorded")) for rep in study.reps},
        "n_genes": n_genes,
        "n_sections": len(study.study),
        "n_spots": sum(len(section.microns) for section in study.study.values()),
        "seconds": {one.label: sum(fold.seconds[one.label] for fold in folds) for one in asked},
        "devices": {one.label: folds[0].devices[one.label] for one in asked},
        "chosen": {one.label: {fold.split.fold: fold.chosen[one.label] for fold in folds} for one in asked},
        "version": histoquilt.__version__,
    }
