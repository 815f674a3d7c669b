"""Tables of an evaluation, from the predictions of all folds."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2, false_discovery_control

from histoquilt._base import listed
from histoquilt.evaluate._evaluation import ADJUSTED, PLAIN_RIDGE, RAW, RIDGE, SUMMARISED
from histoquilt.evaluate._fold import Fold, Run
from histoquilt.evaluate._hest import at_predicted_depth, hest_table
from histoquilt.evaluate._study import EvaluationStudy
from histoquilt.metrics import (
    bootstrap_ci,
    correlation_structure,
    depth_adjusted_correlation,
    depth_oracle,
    enrichment,
    gene_significance,
    paired_difference,
    published_scores,
    score_genes,
    score_sections,
    summarise_genes,
)
from histoquilt.runtime import warn_user

ALL_FOLDS = "all"
NO_COUNTS = "no raw counts: not adjusted for depth"
_LEAST_SPOTS = 10  # that a test against chance needs
_FDR = 0.05
_TESTS = ["n_effective", "p_value", "fdr", "p_value_adjusted", "fdr_adjusted"]
_SCORES = ["fold", "section", "method", "kind", "seed"]


def gene_table(study: EvaluationStudy, folds: Sequence[Fold]) -> pd.DataFrame:
    """Score every gene of every held-out section, for every run and both oracles.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import contenders, gene_table, read_evaluation_study, run_fold
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
    >>> gene_table(study, [fold])["method"].value_counts().to_dict()  # eight genes each
    {'mean': 8, 'neighbour_oracle': 8, 'depth_oracle': 8}
    """
    parts = []
    for fold in folds:
        # section by section, so that distances between spots are computed once
        by_run = {
            (run, section): _score_genes(study, fold, run, section)
            for section in fold.truth for run in fold.predicted if section in fold.predicted[run]
        }  # fmt: skip
        parts += [
            _with_run(by_run[run, section], fold, section, run)
            for run, of_run in fold.predicted.items() for section in of_run
        ]  # fmt: skip
        for section, truth in fold.truth.items():
            depth = study.measured(section).depth
            if depth is not None:  # a matrix that came normalised has no depth to cheat with
                scored = depth_oracle(truth.to_numpy(), np.log1p(depth), list(truth.columns)).reset_index()
                scored = scored.assign(pearson_adjusted=0.0, deviance_explained=0.0)  # by construction
                run = Run("depth_oracle", "oracle", next(iter(fold.predicted)).seed)
                parts.append(_with_run(scored, fold, section, run))
    table = pd.concat(parts, ignore_index=True)
    symbols: dict[str, str] = {}
    for name in reversed(list(study.study)):
        symbols |= study.symbols(name)
    table["symbol"] = table["gene"].map(lambda gene: symbols.get(gene, gene))
    columns = ["pearson", "pearson_adjusted", "deviance_explained", "spearman", "undefined", "mse", "mae", "rmse"]
    return table[[*_SCORES, "gene", "symbol", *columns, *_TESTS]]


def _score_genes(study: EvaluationStudy, fold: Fold, run: Run, section: str) -> pd.DataFrame:
    """Score the genes of a held-out section for one run, and test them against chance unless it is an oracle."""
    predicted = fold.predicted[run][section]
    genes, log_depth = list(predicted.columns), study.log_depth(section)
    pair = fold.truth[section].to_numpy(), predicted.to_numpy()
    scored = score_genes(*pair, genes)
    more = dict.fromkeys(["pearson_adjusted", "deviance_explained", *_TESTS], np.full(len(genes), np.nan))
    if log_depth is not None:
        more["pearson_adjusted"] = depth_adjusted_correlation(*pair, log_depth)
    if run in fold.explained:
        more["deviance_explained"] = fold.explained[run][section]
    if run.kind != "oracle":
        microns = study.study[section].microns
        if len(predicted) >= _LEAST_SPOTS:
            found = gene_significance(*pair, microns, genes)
            more |= {name: found[name].to_numpy() for name in _TESTS[:2]} | {"fdr": found["q_value"].to_numpy()}
        if log_depth is not None and np.isfinite(log_depth).sum() >= _LEAST_SPOTS:
            found = gene_significance(*pair, microns, genes, log_depth=log_depth)
            more |= {"p_value_adjusted": found["p_value"].to_numpy(), "fdr_adjusted": found["q_value"].to_numpy()}
    return scored.assign(**more).reset_index()


def score_table(study: EvaluationStudy, genes: pd.DataFrame, folds: Sequence[Fold]) -> pd.DataFrame:
    """Summarise scores of genes by set of genes, and add rows pooled over sections.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import contenders, gene_table, read_evaluation_study, run_fold, score_table
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
    >>> table = score_table(study, gene_table(study, [fold]), [fold])
    >>> table.query("method == 'mean' and gene_set == 'panel'")[["section", "n_genes", "pcc_mean"]].values.tolist()
    [['s1', 8, 0.0], ['pooled', 8, 0.0], ['pooled_centred', 8, 0.0]]
    """
    of_fold = {fold.split.fold: fold for fold in folds}
    parts = []
    for keys, part in genes.groupby(_SCORES, sort=False):
        named: dict[str, Any] = dict(zip(_SCORES, keys, strict=True))
        fold, section = of_fold[named["fold"]], named["section"]
        rows = summarise_genes(part.set_index("gene"), _scored_sets(fold.gene_sets, fold.truth[section].columns))
        rows["n_unmeasured"], rows["optimistic"] = fold.n_unmeasured(section), fold.split.optimistic
        rows["note"] = NO_COUNTS if part["pearson_adjusted"].isna().all() else ""
        parts.append(rows.assign(**named))
    parts += _pooled(study, folds)
    table = pd.concat(parts, ignore_index=True)
    rest = ["gene_set", "n_genes", "n_undefined", "pcc_mean", *SUMMARISED, "spearman_mean", "mse", "rmse", "mae"]
    return table[[*_SCORES, *rest, "n_unmeasured", "optimistic", "note"]]


def _pooled(study: EvaluationStudy, folds: Sequence[Fold]) -> list[pd.DataFrame]:
    """Score all held-out spots together, for genes that are in the panels of all folds."""
    truth = {section: table for fold in folds for section, table in fold.truth.items()}
    shared_sets = {
        name: [gene for gene in genes if all(gene in fold.gene_sets.get(name, ()) for fold in folds)]
        for name, genes in folds[0].gene_sets.items()
    }
    if sum(len(fold.truth) for fold in folds) > len(truth):
        return []  # custom folds that hold a section out twice: its spots would count twice
    n_panel = len(shared_sets["panel"])
    depths = {section: log_depth for section in truth if (log_depth := study.log_depth(section)) is not None}
    lacking = [section for section in truth if section not in depths]
    note = "" if not lacking else f"at equal depth without {listed(lacking)}: no raw counts" if depths else NO_COUNTS
    parts = []
    for run in folds[0].predicted:
        predicted = {section: table for fold in folds for section, table in fold.predicted[run].items()}
        if not predicted:
            continue
        scored = score_sections(truth, predicted)
        for section in ("pooled", "pooled_centred"):
            own = scored[scored["section"] == section].set_index("gene")
            sets = _scored_sets(shared_sets, own.index)
            if not sets:
                continue
            own["pearson_adjusted"], own["deviance_explained"] = _adjusted(truth, predicted, depths, own.index), np.nan
            rows = summarise_genes(own, sets).assign(section=section, method=run.label, kind=run.kind, seed=run.seed)
            rows["fold"], rows["n_unmeasured"] = ALL_FOLDS, n_panel - len(sets.get("panel", []))
            rows["note"] = note
            parts.append(rows.assign(optimistic=any(fold.split.optimistic for fold in folds)))
    return parts


def _adjusted(
    truth: dict[str, pd.DataFrame], predicted: dict[str, pd.DataFrame], depths: dict[str, np.ndarray], genes: pd.Index
) -> np.ndarray | float:
    """Return the correlation at equal depth over the spots of all sections with raw counts; NaN if there are none.

    Each section has a regression of its own, which removes its level, so that both pooled rows have the same value.
    """
    sections = [section for section in predicted if section in depths]
    if not sections:
        return np.nan
    measured, expected = (np.concatenate([of[one][list(genes)] for one in sections]) for of in (truth, predicted))
    named = np.repeat(sections, [len(depths[one]) for one in sections])
    log_depth = np.concatenate([depths[one] for one in sections])
    return depth_adjusted_correlation(measured, expected, log_depth, sections=named)


def _scored_sets(gene_sets: dict[str, list[str]], measured: Iterable[str]) -> dict[str, list[str]]:
    """Return the sets without genes that were not measured, which the table counts; an empty set is left out."""
    known = set(measured)
    own = {name: [gene for gene in genes if gene in known] for name, genes in gene_sets.items()}
    return {name: genes for name, genes in own.items() if genes}


def gene_summary(genes: pd.DataFrame) -> pd.DataFrame:
    """Average the scores of each gene over held-out sections, and combine its p-values.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.evaluate import gene_summary
    >>> genes = pd.DataFrame({
    ...     "fold": ["P1", "P2"], "section": ["s1", "s2"], "method": "ridge", "kind": "method", "seed": 0,
    ...     "gene": "MBP", "symbol": "MBP", "pearson": [0.2, 0.4], "pearson_adjusted": [0.1, 0.2],
    ...     "deviance_explained": [0.0, 0.1], "p_value": [0.1, 0.1], "p_value_adjusted": [1.0, 1.0],
    ... })
    >>> gene_summary(genes)[["gene", "n_sections", "pearson", "p_value"]].round(3).values.tolist()
    [['MBP', 2, 0.3, 0.056]]
    """
    own = genes[genes["kind"] != "oracle"]
    keys = ["method", "kind", "gene", "symbol"]
    # a method of several seeds is significant in a section where its worst seed is
    of_section = own.groupby([*keys, "fold", "section"], sort=False).agg(
        pearson=("pearson", "mean"), pearson_adjusted=("pearson_adjusted", "mean"),
        deviance_explained=("deviance_explained", "mean"), p_value=("p_value", "max"),
        p_value_adjusted=("p_value_adjusted", "max"),
    )  # fmt: skip
    by_gene = of_section.groupby(keys, sort=False)
    found = by_gene.agg(
        n_sections=("pearson", "size"), pearson=("pearson", "mean"), pearson_adjusted=("pearson_adjusted", "mean"),
        deviance_explained=("deviance_explained", "mean"),
    )  # fmt: skip
    for p_value, fdr in (("p_value", "fdr"), ("p_value_adjusted", "fdr_adjusted")):
        # Fisher: -2 sum(log p) of independent sections
        logs = np.log(of_section[p_value].clip(lower=1e-300)).groupby(keys, sort=False)
        n_tests = logs.count()
        found[p_value] = np.where(n_tests > 0, chi2.sf(-2 * logs.sum(), 2 * n_tests.clip(lower=1)), 1.0)
        found[fdr] = found.groupby("method", sort=False)[p_value].transform(false_discovery_control)
    found.loc[found["pearson_adjusted"].isna(), ["p_value_adjusted", "fdr_adjusted"]] = np.nan
    return found.reset_index()


def difference_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Compare every method and baseline with both ridges, paired by fold, section and seed.

    The correlation at equal depth decides; the raw one only where no section has raw counts.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.evaluate import difference_table
    >>> methods = [("spahgc", "method", 0.4), ("ridge", "baseline", 0.3), ("ridge_plain", "baseline", 0.2)]
    >>> rows = [
    ...     {"fold": section, "section": section, "seed": 0, "gene_set": "panel", "method": method, "kind": kind,
    ...      "pcc_median": score, "pcc_median_adjusted": score}
    ...     for section in ("s1", "s2", "s3", "s4") for method, kind, score in methods
    ... ]
    >>> table = difference_table(pd.DataFrame(rows)).query("value == 'pcc_median_adjusted' and against == 'ridge'")
    >>> table[["method", "difference", "n_higher", "verdict"]].round(3).values.tolist()
    [['spahgc', 0.1, 4, 'beats ridge']]
    """
    own = scores[scores["fold"] != ALL_FOLDS]
    kinds = own.drop_duplicates("method").set_index("method")["kind"]
    parts = []
    for value in (RAW, ADJUSTED):
        known = own[own[value].notna()]
        if known.empty:
            continue
        decides = value == ADJUSTED or own[ADJUSTED].isna().all()
        for method, kind in kinds[kinds != "oracle"].items():
            for against in (PLAIN_RIDGE, RIDGE):
                if method in (against, PLAIN_RIDGE):
                    continue
                found = paired_difference(known, str(method), against, value=value).assign(kind=kind, verdict="")
                if decides:
                    lows = zip(found["difference"], found["ci_low"], strict=True)
                    found["verdict"] = [_verdict(higher, low, against) for higher, low in lows]
                parts.append(found)
    table = pd.concat(parts, ignore_index=True)
    return table[["method", "kind", "against", "gene_set", "value", "difference", "ci_low", "ci_high", "n", "n_pairs",
                  "n_higher", "note", "verdict"]]  # fmt: skip


def _verdict(difference: float, low: float, against: str) -> str:
    """Return the verdict in words; a method is better only if the interval excludes 0."""
    name = "single-patch ridge" if against == PLAIN_RIDGE else "ridge"
    if difference <= 0:
        return f"does not beat {name}"
    return f"beats {name}" if low > 0 else f"not shown to beat {name}"


def interval_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return means over held-out sections with bootstrap intervals; sections without a value are left out.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.evaluate import interval_table
    >>> scores = pd.DataFrame({
    ...     "fold": ["P1", "P2"], "section": ["s1", "s2"], "method": "ridge", "kind": "method", "gene_set": "panel",
    ...     "pcc_median": [0.2, 0.4], "pcc_median_adjusted": [0.1, 0.2], "deviance_median": None,
    ...     "deviance_above_0": None,
    ... })
    >>> interval_table(scores)[["value", "mean", "n"]].iloc[:2].round(3).values.tolist()
    [['pcc_median', 0.3, 2], ['pcc_median_adjusted', 0.15, 2]]
    """
    own = scores[scores["fold"] != ALL_FOLDS]
    rows = []
    for (method, kind, gene_set), part in own.groupby(["method", "kind", "gene_set"], sort=False):
        sections = part["section"].to_numpy()
        for value in SUMMARISED:
            known = part[value].notna().to_numpy()
            values, of = part[value].to_numpy()[known], sections[known]
            row = {"method": method, "kind": kind, "gene_set": gene_set, "value": value}
            if len(values) == 0:
                why = NO_COUNTS if part[ADJUSTED].isna().all() else "no predicted rates"
                rows.append({**row, "mean": np.nan, "low": np.nan, "high": np.nan, "n": 0, "note": why})
                continue
            found = bootstrap_ci({str(section): values[of == section] for section in pd.unique(of)})
            n_without = len(pd.unique(sections)) - found.n
            notes = [found.note, f"{n_without} without raw counts" if n_without else ""]
            rows.append({
                **row, "mean": found.mean, "low": found.low, "high": found.high, "n": found.n,
                "note": "; ".join(filter(None, notes)),
            })  # fmt: skip
    return pd.DataFrame(rows)


def structure_table(folds: Sequence[Fold]) -> pd.DataFrame:
    """Return how far predictions preserve gene-gene correlations, for sections with at least three varying genes.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from histoquilt.evaluate import Fold, Run, structure_table
    >>> from histoquilt.train import Split
    >>> truth = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 4)), columns=list("abcd"))
    >>> run = Run("ridge", "method", seed=0)
    >>> split = Split("P1", ["s2"], ["s1"], optimistic=False)
    >>> fold = Fold(split, list("abcd"), {}, {"s1": truth}, {run: {"s1": 2 * truth + 1}})
    >>> structure_table([fold])[["method", "correlation", "n_genes"]].round(3).values.tolist()
    [['ridge', 1.0, 4]]
    """
    rows = []
    for fold in folds:
        for run, of_run in fold.predicted.items():
            for section, predicted in of_run.items():
                truth = fold.truth[section].to_numpy()
                if (np.ptp(truth, axis=0) > 0).sum() < 3:
                    continue
                found = correlation_structure(truth, predicted.to_numpy(dtype=np.float32))
                rows.append({**_run_columns(fold, section, run), "correlation": found.correlation,
                             "n_genes": found.n_genes})  # fmt: skip
    return pd.DataFrame(rows, columns=[*_SCORES, "correlation", "n_genes"])


def enrichment_table(summary: pd.DataFrame, gmt: str | Path | None) -> pd.DataFrame:
    r"""Test the user's gene sets for genes that a method predicts well (at equal depth if known), against the panel.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.evaluate import enrichment_table
    >>> path = getfixture("tmp_path") / "sets.gmt"
    >>> _ = path.write_text("MYELIN\thttps://example.org\tMBP\tPLP1\tMOBP\n")
    >>> summary = pd.DataFrame({
    ...     "method": "ridge", "kind": "method", "symbol": ["MBP", "PLP1", "MOBP", "SNAP25", "GFAP", "AQP4"],
    ...     "fdr": [0.01, 0.01, 0.01, 0.6, 0.7, 0.8], "fdr_adjusted": [0.01, 0.01, 0.01, 0.6, 0.7, 0.8],
    ... })
    >>> enrichment_table(summary, path)[["gene_set", "n_hits", "expected", "p_value"]].round(3).values.tolist()
    [['MYELIN', 3, 1.5, 0.05]]
    """
    columns = ["method", "kind", "gene_set", "n_genes", "n_hits", "expected", "fold_over", "p_value", "q_value", "hits"]
    parts, fdr = [], "fdr_adjusted" if summary["fdr_adjusted"].notna().any() else "fdr"
    for names, own in summary.groupby(["method", "kind"], sort=False):
        method, kind = map(str, names)
        if gmt is None:
            break
        background = own["symbol"]
        try:
            found = enrichment(gmt, set(own.loc[own[fdr] < _FDR, "symbol"]), background)
        except ValueError as error:
            # hours of training are not thrown away for gene sets of another species
            warn_user(f"Enrichment is left out. {error}")
            break
        found["hits"] = found["hits"].map(", ".join)
        parts.append(found.rename(columns={"fold": "fold_over"}).assign(method=method, kind=kind))
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def published_table(study: EvaluationStudy, folds: Sequence[Fold]) -> pd.DataFrame:
    """Score as the released code does, with its flaws; the depth oracle shows what such a score is worth.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import contenders, published_table, read_evaluation_study, run_fold
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
    >>> published_table(study, [fold])["method"].value_counts().to_dict()
    {'mean': 3, 'neighbour_oracle': 3, 'depth_oracle': 3}
    """
    parts = []
    for fold in folds:
        seed = next(iter(fold.predicted)).seed
        for section, truth in fold.truth.items():
            counts = study.counts(section, list(truth.columns))
            depth = np.log1p(np.asarray(study.measured(section).depth))
            guesses = {run: of_run[section].to_numpy() for run, of_run in fold.predicted.items() if section in of_run}
            guesses[Run("depth_oracle", "oracle", seed)] = np.repeat(depth[:, None], truth.shape[1], axis=1)
            for run, guess in guesses.items():
                rows = published_scores(counts, guess, list(truth.columns))
                parts.append(_with_run(rows, fold, section, run))
    return pd.concat(parts, ignore_index=True)


def hest_of_folds(study: EvaluationStudy, folds: Sequence[Fold]) -> pd.DataFrame:
    """Score as HEST-Bench does (:func:`hest_table`), on the genes of the panel that the held-out sections have.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import contenders, hest_of_folds, read_evaluation_study, run_fold
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
    >>> hest_of_folds(study, [fold])[["method", "n_train", "n_test"]].values.tolist()
    [['hest_probe', 80, 40], ['probe_depth', 80, 40], ['depth_oracle', 80, 40], ['mean', 80, 40]]
    """
    parts = []
    for fold in folds:
        genes = [gene for gene in fold.panel if all(gene in fold.truth[name].columns for name in fold.split.test)]
        predicted = {
            run: {name: at_predicted_depth(fold.predicted[run][name], depth) for name, depth in of_run.items()}
            for run, of_run in fold.depths.items()
            if run in fold.predicted and all(depth is not None for depth in of_run.values())
        }
        parts.append(hest_table(study.study, fold.split, genes, study.reps[0], predicted))
    return pd.concat(parts, ignore_index=True)


def fold_table(folds: Sequence[Fold]) -> pd.DataFrame:
    """Return training and held-out sections of each fold.

    Examples
    --------
    >>> from histoquilt.evaluate import Fold, fold_table
    >>> from histoquilt.train import Split
    >>> fold = Fold(Split("P1", ["s2", "s3"], ["s1"], optimistic=False), ["MBP"], {"panel": ["MBP"]}, truth={})
    >>> fold_table([fold]).to_dict("records")
    [{'fold': 'P1', 'train': ['s2', 's3'], 'test': ['s1'], 'optimistic': False, 'n_panel': 1}]
    """
    return pd.DataFrame(
        {"fold": fold.split.fold, "train": list(fold.split.train), "test": list(fold.split.test),
         "optimistic": fold.split.optimistic, "n_panel": len(fold.gene_sets["panel"])}
        for fold in folds
    )  # fmt: skip


def _run_columns(fold: Fold, section: str, run: Run) -> dict[str, Any]:
    return dict(zip(_SCORES, (fold.split.fold, section, run.label, run.kind, run.seed), strict=True))


def _with_run(table: pd.DataFrame, fold: Fold, section: str, run: Run) -> pd.DataFrame:
    for number, (name, value) in enumerate(_run_columns(fold, section, run).items()):
        table.insert(number, name, value)
    return table
