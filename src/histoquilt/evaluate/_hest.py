"""HEST-Bench: its linear probe and its score, on the folds of an evaluation.

G. Jaume et al., HEST-1k: A Dataset for Spatial Transcriptomics and Histology Image Analysis, NeurIPS 2024. The paper
speaks of expression normalised by total counts; the released code takes log1p of the raw counts, and so does this file.
Its target therefore follows the depth of each spot, which the rows ``probe_depth`` and ``depth_oracle`` measure.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import ConstantInputWarning, NearConstantInputWarning, pearsonr
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from histoquilt.evaluate._hest_published import quoted_scores
from histoquilt.metrics import depth_adjusted_correlation
from histoquilt.models import measure
from histoquilt.study import Section
from histoquilt.train import Split

PROBE, PROBE_DEPTH, DEPTH_ORACLE = "hest_probe", "probe_depth", "depth_oracle"
_N_COMPONENTS, _SEED, _MAX_ITERATIONS, _PENALTY = 256, 1, 1000, 100.0
_COLUMNS = ["fold", "method", "kind", "seed", "n_train", "n_test", "n_genes", "n_undefined", "pcc_mean",
            "pcc_mean_defined", "pcc_mean_adjusted"]  # fmt: skip


def hest_probe(train_x: np.ndarray, train_y: np.ndarray, test_x: np.ndarray) -> np.ndarray:
    """Predict by the linear probe of HEST-Bench.

    Embeddings are standardised and reduced to 256 principal components, both fitted on the training spots (seed 1).
    Ridge regression without intercept is solved by LSQR in at most 1,000 iterations; its penalty is 100 / (number of
    components x number of genes).

    Parameters
    ----------
    train_x, test_x
        Embeddings ``(n_spots, n_features)`` of the training and of the test spots. An encoder with fewer than 256
        features, or training with fewer than 256 spots, which HEST-Bench does not have, gets as many components as
        there are.
    train_y
        Target ``(n_spots, n_genes)`` of the training spots.

    Returns
    -------
    float64 ``(n_test, n_genes)``.

    Raises
    ------
    ValueError
        All training spots have the same embedding.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(80, 10))
    >>> hest_probe(x[:60], x[:60, :2], x[60:]).shape
    (20, 2)
    """
    if not np.ptp(train_x, axis=0).any():
        raise ValueError(
            f"The embeddings of {len(train_x):,} training spots do not vary, so nothing can be learnt from them. Look "
            "at the patches: all may be empty glass."
        )
    n_components = min(_N_COMPONENTS, *train_x.shape)
    reduce = make_pipeline(StandardScaler(), PCA(n_components, random_state=_SEED))
    train, test = (np.asarray(step(x), dtype=np.float32) for step, x in
                   ((reduce.fit_transform, train_x), (reduce.transform, test_x)))  # fmt: skip
    ridge = Ridge(
        alpha=_PENALTY / (n_components * train_y.shape[1]), fit_intercept=False, solver="lsqr",
        max_iter=_MAX_ITERATIONS, random_state=_SEED,
    )  # fmt: skip
    return np.asarray(ridge.fit(train, train_y).predict(test), dtype=np.float64).reshape(len(test), -1)


def hest_correlations(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the Pearson correlation of each gene over all test spots of a split; NaN if it is undefined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        warnings.simplefilter("ignore", NearConstantInputWarning)
        return np.array([pearsonr(*pair)[0] for pair in zip(truth.T, predicted.T, strict=True)])


def at_predicted_depth(expression: pd.DataFrame, log_counts: ArrayLike) -> pd.DataFrame:
    """Convert predicted log1p of counts per 10,000 to log1p of counts, at the predicted depth of each spot.

    Examples
    --------
    >>> table = pd.DataFrame({"A": [np.log1p(100.0)]})
    >>> at_predicted_depth(table, np.log([500.0])).round(4).to_numpy().tolist()
    [[1.7918]]
    """
    depth = np.exp(np.asarray(log_counts, dtype=np.float64))[:, None]
    values = np.log1p(np.expm1(expression.to_numpy(np.float64)) * depth / 1e4)
    return pd.DataFrame(values, columns=expression.columns)


def hest_table(
    sections: Mapping[str, Section],
    split: Split,
    genes: Sequence[str],
    use_rep: str,
    predicted: Mapping[Any, Mapping[str, pd.DataFrame]] | None = None,
) -> pd.DataFrame:
    """Score one fold as HEST-Bench does: log1p of raw counts, all test spots together.

    Parameters
    ----------
    sections
        Sections with raw counts and embeddings.
    split
        Training and test sections.
    genes
        Genes to score, which all of them measured.
    use_rep
        Key in ``obsm`` of the embedding that the probe uses.
    predicted
        Run of a method (``label``, ``kind``, ``seed``) -> test section -> predicted log1p of counts, spots by genes.

    Returns
    -------
    One row per method with ``fold, method, kind, seed, n_train, n_test`` (spots)``, n_genes, n_undefined``,

    ``pcc_mean`` : mean correlation over genes, as in HEST-Bench: NaN if a gene is undefined (constant in the test spots
    or in the prediction)
    ``pcc_mean_defined`` : the same over the genes that have a correlation
    ``pcc_mean_adjusted`` : mean correlation at equal depth; an undefined gene counts as 0

    The first rows are ``hest_probe``; ``probe_depth``, the same probe trained on log1p of the total counts, whose
    prediction stands for every gene; and ``depth_oracle``, the measured log1p of the total counts.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.evaluate import hest_table
    >>> from histoquilt.study import Study
    >>> from histoquilt.train import Split
    >>> study = Study.of(hq.datasets.paired_study(n_sections=3, n_spots=40, n_genes=8, seed=0))
    >>> split = Split("0", train=["s1", "s2"], test=["s3"], optimistic=False)
    >>> table = hest_table(study, split, study["s1"].adata.var_names[:5], "X_image")
    >>> table[["method", "kind", "n_train", "n_test", "n_genes"]].values.tolist()
    [['hest_probe', 'probe', 80, 40, 5], ['probe_depth', 'baseline', 80, 40, 5], ['depth_oracle', 'oracle', 80, 40, 5]]
    """
    depth = {name: np.asarray(measure(sections[name]).depth, np.float64) for name in (*split.train, *split.test)}
    x = {side: np.concatenate([sections[name].embeddings([use_rep])[0] for name in names])
         for side, names in (("train", split.train), ("test", split.test))}  # fmt: skip
    train, truth = (np.concatenate([_log1p_counts(sections[name], genes) for name in names])
                    for names in (split.train, split.test))  # fmt: skip
    total = np.log1p(np.concatenate([depth[name] for name in split.train]))[:, None]
    test_depth = np.concatenate([depth[name] for name in split.test])
    guesses: list[tuple[str, str, int, np.ndarray]] = [
        (PROBE, "probe", _SEED, hest_probe(x["train"], train, x["test"])),
        (PROBE_DEPTH, "baseline", _SEED, np.repeat(hest_probe(x["train"], total, x["test"]), len(genes), axis=1)),
        (DEPTH_ORACLE, "oracle", _SEED, np.repeat(np.log1p(test_depth)[:, None], len(genes), axis=1)),
    ]
    for run, of_run in (predicted or {}).items():
        values = np.concatenate([of_run[name][list(genes)].to_numpy(np.float64) for name in split.test])
        guesses.append((run.label, run.kind, run.seed, values))
    named = np.repeat(split.test, [len(depth[name]) for name in split.test])
    with np.errstate(divide="ignore"):
        log_depth = np.log(test_depth)
    rows = []
    for label, kind, seed, values in guesses:
        r = hest_correlations(truth, values)
        rows.append({
            "fold": split.fold, "method": label, "kind": kind, "seed": seed, "n_train": len(train),
            "n_test": len(truth), "n_genes": len(genes), "n_undefined": int(np.isnan(r).sum()), "pcc_mean": r.mean(),
            "pcc_mean_defined": np.nan if np.isnan(r).all() else np.nanmean(r),
            "pcc_mean_adjusted": depth_adjusted_correlation(truth, values, log_depth, sections=named).mean(),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=_COLUMNS)


def _log1p_counts(section: Section, genes: Sequence[str]) -> np.ndarray:
    found = section.expression
    if found.scale != "counts":
        raise ValueError(
            f"HEST-Bench scores raw counts, and section {section.name!r} has normalised expression only. Give raw "
            "counts in layers['counts']."
        )
    return np.log1p(found.of_genes(genes).toarray().astype(np.float64))


def hest_overview(tables: Mapping[str, pd.DataFrame], encoder: str, value: str = "pcc_mean") -> pd.DataFrame:
    """Join the tables of tasks: one row per method, one column per task, and the published scores as further rows.

    Parameters
    ----------
    tables
        Task -> rows of :func:`hest_table` for all its splits.
    encoder
        Name of the image encoder.
    value
        Column of the tables. Published rows are quoted for ``pcc_mean`` only.

    Returns
    -------
    Columns ``method, kind, encoder, average, average_adjusted``, one per task, and ``source``. A task is the mean over
    its splits (and seeds), ``average`` that over all tasks of the table, NaN if one is missing, and
    ``average_adjusted`` the same of the correlations at equal depth. Rows of kind ``quoted`` are those that
    the authors published for the same task, which were not computed here; ``source`` says where.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.evaluate import hest_overview
    >>> rows = {"method": ["hest_probe", "ridge"], "kind": ["probe", "method"], "pcc_mean_adjusted": [0.2, 0.3]}
    >>> first, second = (pd.DataFrame({**rows, "pcc_mean": scores}) for scores in ([0.3, 0.4], [0.5, 0.4]))
    >>> table = hest_overview({"TOY1": first, "TOY2": second}, "he_texture")
    >>> table[["method", "average", "TOY1", "TOY2"]].values.tolist()
    [['hest_probe', 0.4, 0.3, 0.5], ['ridge', 0.4, 0.4, 0.4]]
    """
    own = _means(tables, value)
    kinds = pd.concat(tables.values()).drop_duplicates("method").set_index("method")["kind"]
    own = own.reindex(kinds.index)
    own.insert(0, "average_adjusted", _means(tables, "pcc_mean_adjusted").mean(axis=1, skipna=False))
    own.insert(0, "average", own[list(tables)].mean(axis=1, skipna=False))
    own.insert(0, "encoder", encoder)
    own.insert(0, "kind", kinds)
    own["source"] = ""
    order = {"probe": 0, "method": 1, "baseline": 2, "oracle": 3}
    own = own.sort_values("average", ascending=False, kind="stable").sort_values(
        "kind", key=lambda kind: kind.map(order), kind="stable"
    )
    own = own.rename_axis("method").reset_index()
    if value != "pcc_mean":
        return own
    quoted = quoted_scores(list(tables))
    return own if quoted.empty else pd.concat([own, quoted], ignore_index=True)


def _means(tables: Mapping[str, pd.DataFrame], value: str) -> pd.DataFrame:
    """Return means over the rows of each method, methods by tasks; NaN if one is."""
    return pd.DataFrame({
        task: table.groupby("method", sort=False)[value].agg(lambda rows: np.mean(rows.to_numpy()))
        for task, table in tables.items()
    })  # fmt: skip
