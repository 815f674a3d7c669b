"""One fold of an evaluation: choose the panel on training sections, train every method, predict held-out sections."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.evaluate._methods import Contender
from histoquilt.evaluate._shown import shown_section
from histoquilt.evaluate._study import EvaluationStudy
from histoquilt.metrics import (
    gene_deviance_explained,
    gene_sets_of_training,
    neighbour_oracle,
    training_moments,
)
from histoquilt.models import PREDICTED_LOG_COUNTS, MissingCountsError, check_panel, choose_panel, near_spots
from histoquilt.runtime import Advance, log_prefix, logger
from histoquilt.train import Split

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Run:
    """A method with a seed.

    Examples
    --------
    >>> from histoquilt.evaluate import Run
    >>> scores = {Run("ridge", "method", seed=0): 0.30, Run("ridge", "method", seed=1): 0.32}
    >>> max(scores, key=scores.get)
    Run(label='ridge', kind='method', seed=1)
    """

    label: str
    kind: str
    seed: int


@dataclass
class Fold:
    """Predictions of the held-out sections of one fold.

    Attributes
    ----------
    split, panel, gene_sets
        Panel (with the user's markers) and sets are chosen on training sections.
    truth
        Held-out section -> measured expression ``(n_spots, n_scored)`` of the panel genes that it has.
    predicted
        Run -> held-out section -> the same shape.
    explained
        Run -> held-out section -> deviance explained of these genes; NaN without raw counts or rates.
    depths
        Run -> held-out section -> predicted log of the counts of each spot; None if training knew no depths.
    shown
        Held-out section -> its prediction by one method with the first seed, as an AnnData to look at.
    untrained
        Labels of baselines and members that had too few raw counts to learn from.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.evaluate import Fold, Run
    >>> from histoquilt.train import Split
    >>> truth = {"s1": pd.DataFrame({"MBP": [0.0, 1.0]})}
    >>> fold = Fold(Split("P1", ["s2"], ["s1"], optimistic=False), ["MBP", "PLP1"], {"panel": ["MBP", "PLP1"]}, truth)
    >>> fold.predicted[Run("ridge", "method", seed=0)] = {"s1": truth["s1"] + 0.1}
    >>> fold.n_unmeasured("s1"), len(fold.predicted)  # PLP1 was not measured
    (1, 1)
    """

    split: Split
    panel: list[str]
    gene_sets: dict[str, list[str]]
    truth: dict[str, pd.DataFrame]
    predicted: dict[Run, dict[str, pd.DataFrame]] = field(default_factory=dict)
    explained: dict[Run, dict[str, np.ndarray]] = field(default_factory=dict)
    depths: dict[Run, dict[str, Any]] = field(default_factory=dict)
    shown: dict[str, AnnData] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    chosen: dict[str, Any] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    untrained: set[str] = field(default_factory=set)

    def n_unmeasured(self, section: str) -> int:
        """Return the number of panel genes that a held-out section lacks."""
        return len(self.panel) - self.truth[section].shape[1]


def run_fold(
    study: EvaluationStudy,
    split: Split,
    contenders: Sequence[Contender],
    seeds: Sequence[int],
    *,
    genes: Sequence[str] | None,
    n_genes: int,
    device: "str | torch.device",
    show: str,
    advance: Advance,
) -> Fold:
    """Choose the panel, train and predict; predictions of the contender ``show`` are kept for the report.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import contenders, read_evaluation_study, run_fold
    >>> from histoquilt.study import Slots
    >>> sections = hq.datasets.paired_study(n_sections=3, n_spots=40, n_genes=8, seed=0)
    >>> study = read_evaluation_study(
    ...     sections, Slots(), use_rep="X_image", leave_out="patient", splits=None, patient_key="patient",
    ...     slide_key="slide", protocol="honest", markers=[],
    ... )
    >>> mean = [contender for contender in contenders([]) if contender.label == "mean"]
    >>> fold = run_fold(
    ...     study, study.splits[0], mean, [0], genes=None, n_genes=8, device="cpu", show="mean",
    ...     advance=lambda steps=1, note="": None,
    ... )
    >>> [(run.label, run.kind) for run in fold.predicted], list(fold.truth)
    ([('mean', 'baseline'), ('neighbour_oracle', 'oracle')], ['s1'])
    """
    measured = {name: study.measured(name) for name in split.train}
    panel = choose_panel(measured, n_genes) if genes is None else check_panel(measured, genes)
    sets = gene_sets_of_training(*training_moments([one.of(panel) for one in measured.values()]), panel)
    if study.markers:
        sets["markers"] = study.markers
        panel = [*panel, *(gene for gene in study.markers if gene not in sets["panel"])]
    truth = {name: _truth(study, name, panel, split.fold) for name in split.test}
    fold = Fold(split, panel, sets, truth)
    for contender in contenders:
        started = time.perf_counter()
        for seed in _seeds(contender, seeds):
            advance(0, note=f"fold {split.fold}: {contender.label}, seed {seed}")
            model = contender.make()
            training = study.seen.select(split.train)
            named = f"Fold {split.fold}, {contender.label}"
            try:
                with log_prefix(named):
                    model.fit(
                        training, use_rep=list(study.reps), genes=panel, seed=seed, device=device, check_memory=False
                    )  # fmt: skip
            except MissingCountsError:
                if contender.requested:
                    raise
                fold.untrained.add(contender.label)
                advance(1)
                continue
            run = Run(contender.label, contender.kind, seed)
            of_run, explained = fold.predicted.setdefault(run, {}), fold.explained.setdefault(run, {})
            for name in split.test:
                with log_prefix(named):
                    found = model.predict(study.hidden[name])
                of_run[name] = _predicted(found, model.method, truth[name].columns)
                fold.depths.setdefault(run, {})[name] = found.obs.get(PREDICTED_LOG_COUNTS)
                explained[name] = _explained(study, name, found, f"relative_{model.method}", of_run[name].columns)
                if contender.label == show and name not in fold.shown:
                    fold.shown[name] = shown_section(study, name, found, truth[name], show)
            fold.chosen.setdefault(contender.label, model.training_facts.get("chosen", {}))
            fold.devices.setdefault(contender.label, str(model.device))
            advance(1)
        fold.seconds[contender.label] = time.perf_counter() - started
    run = Run("neighbour_oracle", "oracle", seeds[0])
    fold.predicted[run], fold.explained[run] = {}, {}
    for name, table in truth.items():
        if len(table) > 1:
            near = near_spots(study.study[name])
            fold.predicted[run][name] = pd.DataFrame(neighbour_oracle(table.to_numpy(), near), columns=table.columns)
            fold.explained[run][name] = _explained_by_neighbours(study, name, near, table.columns)
    return fold


def without_untrained(asked: list[Contender], folds: Sequence[Fold]) -> list[Contender]:
    """Return the contenders that every fold could train; the folds forget the others.

    Examples
    --------
    >>> from histoquilt.evaluate import Contender, Fold, without_untrained
    >>> from histoquilt.models import CountRegression, RidgeOnEmbedding
    >>> from histoquilt.train import Split
    >>> asked = [Contender("counts", "baseline", CountRegression), Contender("ridge", "method", RidgeOnEmbedding)]
    >>> fold = Fold(Split("P1", ["s2"], ["s1"], optimistic=False), [], {}, {}, untrained={"counts"})
    >>> [contender.label for contender in without_untrained(asked, [fold])]
    ['ridge']
    """
    lacking = {label for fold in folds for label in fold.untrained}
    for label in sorted(lacking):
        logger.info("%s is left out: a fold has too few raw counts to train it on.", label)
    for fold in folds:
        for run in [run for run in fold.predicted if run.label in lacking]:
            del fold.predicted[run], fold.explained[run]
    return [one for one in asked if one.label not in lacking]


def n_runs(contenders: Sequence[Contender], seeds: Sequence[int]) -> int:
    """Return the number of models that a fold trains.

    Examples
    --------
    >>> from histoquilt.evaluate import Contender, n_runs
    >>> from histoquilt.models import MclSTExp, RidgeOnEmbedding
    >>> asked = [Contender("ridge", "method", RidgeOnEmbedding), Contender("mclstexp", "method", MclSTExp)]
    >>> n_runs(asked, seeds=[0, 1, 2])  # ridge does not depend on the seed
    4
    """
    return sum(len(_seeds(contender, seeds)) for contender in contenders)


def _seeds(contender: Contender, seeds: Sequence[int]) -> Sequence[int]:
    return seeds if contender.make().draws else seeds[:1]


def _predicted(found: AnnData, method: str, genes: pd.Index) -> pd.DataFrame:
    """Return the prediction of some genes, spots by genes."""
    return pd.DataFrame(found.layers[f"predicted_{method}"], columns=found.var_names)[list(genes)]


def _explained(study: EvaluationStudy, name: str, found: AnnData, layer: str, genes: pd.Index) -> np.ndarray:
    """Return the deviance of raw counts that predicted rates explain, ``(n_genes,)``; NaN if either is not there."""
    counts, depth = study.counts(name, list(genes)), study.measured(name).depth
    if counts is None or depth is None or layer not in found.layers:
        return np.full(len(genes), np.nan)
    return gene_deviance_explained(counts, depth, found[:, list(genes)].layers[layer])


def _explained_by_neighbours(study: EvaluationStudy, name: str, near: csr_matrix, genes: pd.Index) -> np.ndarray:
    """Return the deviance that the measured rates of neighbours explain, with a spot of the mean rate among them."""
    counts, depth = study.counts(name, list(genes)), study.measured(name).depth
    if counts is None or depth is None or not depth.any():
        return np.full(len(genes), np.nan)
    own, typical = counts.toarray().astype(np.float64), np.median(depth[depth > 0])
    rate = own.sum(axis=0) / depth.sum()
    around = (near @ own + typical * rate) / (near @ depth.astype(np.float64) + typical)[:, None]
    return gene_deviance_explained(counts, depth, np.log(np.where(rate > 0, around, 1.0)))


def _truth(study: EvaluationStudy, name: str, panel: list[str], fold: str) -> pd.DataFrame:
    measured = study.measured(name)
    known = set(measured.genes)
    scored = [gene for gene in panel if gene in known]
    if not scored:
        raise ValueError(
            f"Fold {fold!r}: held-out section {name!r} measured none of the {len(panel):,} genes of the panel that the "
            "training sections chose. Are genes named alike in all sections (histoquilt.io.annotate_genes)?"
        )
    return pd.DataFrame(np.asarray(measured.of(scored), dtype=np.float32), columns=scored)
