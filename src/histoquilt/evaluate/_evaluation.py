"""What an evaluation found: tables that the report, the files of ``histoquilt evaluate`` and a notebook read."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from anndata import AnnData

PLAIN_RIDGE, RIDGE, REDUCED_RANK_RIDGE = "ridge_plain", "ridge", "reduced_rank_ridge"


@dataclass(frozen=True)
class Evaluation:
    """Scores of methods, baselines and oracles on sections that none of them was trained on.

    Every table with the column ``kind`` has three kinds of rows: ``method`` (the requested ones), ``baseline``
    (``mean``; ``ridge_plain``: ridge on one patch; ``ridge``: ridge on all inputs and with smoothing, as inner
    validation chooses; ``reduced_rank_ridge``; ``knn_cosine``; ``knn``) and ``oracle`` (these use the answer and are
    not methods: ``depth_oracle`` predicts each gene from the spot's total count, ``neighbour_oracle`` from the
    measurement of the surrounding spots).

    Attributes
    ----------
    scores
        One row for each held-out section, method, seed and set of genes, and two for all sections together
        (``section`` = ``pooled``, ``pooled_centred``; their ``fold`` is ``all``). Columns ``fold, section, method,
        kind, seed, gene_set, n_genes, n_undefined, pcc_mean, pcc_median, spearman_mean, mse, rmse, mae, n_unmeasured,
        optimistic``. ``gene_set``: ``panel``, ``top50_mean``, ``top50_variable``, all chosen on training sections.
        ``n_unmeasured``: panel genes that the held-out section does not have, and that nothing can be scored on.
        The depth oracle has no errors (NaN).
    genes
        One row for each held-out section, method, seed and gene: ``fold, section, method, kind, seed, gene, symbol,
        pearson, spearman, undefined, mse, mae, rmse, n_effective, p_value, fdr``. The last three respect spatial
        autocorrelation (:func:`histoquilt.metrics.gene_significance`); NaN for oracles.
    gene_summary
        One row for each method and gene: ``method, kind, gene, symbol, n_sections, pearson`` (mean over sections and
        seeds), ``p_value`` (sections combined by Fisher, of several seeds the worst), ``fdr``. Oracles are left out.
    differences
        Paired differences of ``pcc_median`` to both ridges, one row for each method, ridge and set of genes: ``method,
        kind, against, gene_set, value, difference, ci_low, ci_high, n, n_pairs, n_higher, note, verdict``. Pairs are
        of one fold, section and seed; the interval draws folds. ``verdict``: ``beats ridge``, ``not shown to beat
        ridge`` (higher, but the interval holds 0 or there is none), ``does not beat ridge``, in the words of `against`.
    intervals
        Mean over held-out sections with a bootstrap interval, one row for each method and set of genes: ``method, kind,
        gene_set, value`` (``pcc_median``), ``mean, low, high, n, note``.
    structure
        Preservation of gene-gene correlations: ``fold, section, method, kind, seed, correlation, n_genes``.
    domains
        Domains of the predicted expression against the user's labels: ``fold, section, method, kind, seed, n_domains,
        n_labelled, ari, nmi``. Method ``measured`` (an oracle) finds them in the measured panel. The number of domains
        is that of the labels, for all alike. Empty without ``label_key``.
    enrichment
        Gene sets enriched among the well-predicted genes: ``method, kind, gene_set, n_genes, n_hits, expected,
        fold_over, p_value, q_value, hits``; hits have ``fdr`` below 5 % in `gene_summary`, the background is the panel.
        Empty without a GMT file.
    published
        Scores as defined in the published code, flawed and marked as such: ``fold, section, method, kind, seed`` and
        the columns of :func:`histoquilt.metrics.published_scores`. Empty unless ``protocol="published"``.
    folds
        ``fold, train, test`` (lists of section names)``, optimistic, n_panel``.
    facts
        Plain values: ``leave_out, optimistic`` (bool, any fold), ``protocol, seeds, use_rep`` (list), ``encoders``,
        ``n_genes`` (requested), ``n_sections, n_spots``, ``seconds`` (method -> time of fitting and predicting, all
        folds), ``chosen`` (method -> fold -> settings chosen inside training), ``version``.
    predictions
        Held-out section -> its prediction by the method requested first (ridge if none was), with the first seed, for
        inspection: as ``predict`` returns it (``layers["predicted_<method>"]``, ``layers["measured_log1p_cp10k"]``,
        ``var["reliability"]`` of training, ``obs["out_of_distribution"]``), with the panel genes that the section
        measured and without its embeddings. The method was not chosen by its scores. Two float32 matrices
        ``(n_spots, n_scored)`` per section are held: 400 genes of 100,000 spots are 320 MB.
    """

    scores: pd.DataFrame
    genes: pd.DataFrame
    gene_summary: pd.DataFrame
    differences: pd.DataFrame
    intervals: pd.DataFrame
    structure: pd.DataFrame
    domains: pd.DataFrame
    enrichment: pd.DataFrame
    published: pd.DataFrame
    folds: pd.DataFrame
    facts: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, AnnData] = field(default_factory=dict)

    @property
    def optimistic(self) -> bool:
        """Whether held-out tissue has relatives in training, so that a new patient will get less."""
        return bool(self.facts["optimistic"])

    def summary(self, gene_set: str = "panel") -> pd.DataFrame:
        """Return one row per method, best first: ``kind, pcc_median`` (mean over sections), ``low, high``, verdicts.

        Parameters
        ----------
        gene_set
            Name of the set of genes to summarise.

        Returns
        -------
        Table indexed by method; columns ``kind, pcc_median, low, high, n, against_ridge_plain, verdict_ridge_plain,
        against_ridge, verdict_ridge`` (the last four missing for ridge itself and for oracles).

        Raises
        ------
        KeyError
            There is no such set of genes.
        """
        own = self.intervals[self.intervals["gene_set"] == gene_set].set_index("method")
        if own.empty:
            known = ", ".join(map(repr, self.intervals["gene_set"].unique()))
            raise KeyError(f"There is no set of genes {gene_set!r} (found: {known}).")
        table = own[["kind", "mean", "low", "high", "n"]].rename(columns={"mean": "pcc_median"})
        for against in (PLAIN_RIDGE, RIDGE):
            pairs = self.differences[
                (self.differences["against"] == against) & (self.differences["gene_set"] == gene_set)
            ].set_index("method")
            table[f"against_{against}"] = pairs["difference"]
            table[f"verdict_{against}"] = pairs["verdict"]
        return table.sort_values("pcc_median", ascending=False, kind="stable")
