"""Result of an evaluation: tables of scores, facts and predictions."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from anndata import AnnData

PLAIN_RIDGE, RIDGE, REDUCED_RANK_RIDGE = "ridge_plain", "ridge", "reduced_rank_ridge"
PREDICTED_DEPTH = "predicted_depth"
RAW, ADJUSTED = "pcc_median", "pcc_median_adjusted"  # correlation of the median gene, as it is and at equal depth
SUMMARISED = (RAW, ADJUSTED, "deviance_median", "deviance_above_0")


@dataclass(frozen=True)
class Evaluation:
    """Scores of methods, baselines and oracles on sections that none of them was trained on.

    Every table with the column ``kind`` has three kinds of rows: ``method`` (the requested ones), ``baseline``
    (``mean``; ``predicted_depth``: depth read from the image, and the same rates everywhere; ``ridge_plain``: ridge on
    one patch; ``ridge``: ridge on all inputs and with smoothing, as inner validation chooses; ``reduced_rank_ridge``;
    ``knn_cosine``; ``knn``) and ``oracle`` (these use the answer and are not methods: ``depth_oracle`` predicts each
    gene from the spot's total count, ``neighbour_oracle`` from the measurement of the surrounding spots).

    Attributes
    ----------
    scores
        One row for each held-out section, method, seed and set of genes, and two for all sections together
        (``section`` = ``pooled``, ``pooled_centred``; their ``fold`` is ``all``). Columns ``fold, section, method,
        kind, seed, gene_set, n_genes, n_undefined, pcc_mean, pcc_median, pcc_median_adjusted, deviance_median,
        deviance_above_0, spearman_mean, mse, rmse, mae, n_unmeasured, optimistic, note``. ``gene_set``: ``panel``,
        ``top50_mean``, ``top50_variable``, thirds of the panel by mean (``highest_third``, ``middle_third``,
        ``lowest_third``), all chosen on training sections, and ``markers`` if given. ``pcc_median_adjusted``: at equal
        depth (:func:`histoquilt.metrics.depth_adjusted_correlation`); ``deviance_median, deviance_above_0``: deviance
        of raw counts that the predicted map of a gene explains, and share of genes above 0
        (:func:`histoquilt.metrics.gene_deviance_explained`). These three are NaN for sections without raw counts, and
        ``note`` says so. In rows of all sections together the deviances are NaN, and ``pcc_median_adjusted`` regresses
        on depth within each section, which removes its level: it is the same in both rows. ``n_unmeasured``:
        panel genes that the held-out section does not have, and that nothing can be scored on. The depth oracle has no
        errors (NaN).
    genes
        One row for each held-out section, method, seed and gene: ``fold, section, method, kind, seed, gene, symbol,
        pearson, pearson_adjusted, deviance_explained, spearman, undefined, mse, mae, rmse, n_effective, p_value, fdr,
        p_value_adjusted, fdr_adjusted``. The last five respect spatial autocorrelation
        (:func:`histoquilt.metrics.gene_significance`); NaN for oracles, and at equal depth without raw counts.
    gene_summary
        One row for each method and gene: ``method, kind, gene, symbol, n_sections, pearson, pearson_adjusted,
        deviance_explained`` (means over sections and seeds), ``p_value`` (sections combined by Fisher, of several seeds
        the worst), ``fdr``, and ``p_value_adjusted, fdr_adjusted`` at equal depth (NaN without raw counts). Oracles are
        left out.
    differences
        Paired differences to both ridges of ``pcc_median`` and ``pcc_median_adjusted`` (column ``value``), one row for
        each method, ridge and set of genes: ``method, kind, against, gene_set, value, difference, ci_low, ci_high, n,
        n_pairs, n_higher, note, verdict``. Pairs are of one fold, section and seed; the interval draws folds.
        ``verdict``, in the rows of the value that decides (:attr:`decided_by`): ``beats ridge``, ``not shown to beat
        ridge`` (higher, but the interval holds 0 or there is none), ``does not beat ridge``, in the words of `against`.
    intervals
        Mean over held-out sections with a bootstrap interval, one row for each method, set of genes and ``value``
        (``pcc_median, pcc_median_adjusted, deviance_median, deviance_above_0``): ``method, kind, gene_set, value, mean,
        low, high, n, note``.
    structure
        Preservation of gene-gene correlations: ``fold, section, method, kind, seed, correlation, n_genes``.
    domains
        Domains of the predicted expression against the user's labels: ``fold, section, method, kind, seed, n_domains,
        n_labelled, ari, nmi``. Method ``measured`` (an oracle) finds them in the measured panel, ``image_only`` (a
        baseline) in the image embeddings without genes. The number of domains is that of the labels, for all alike.
        Empty without ``label_key``.
    enrichment
        Gene sets enriched among the well-predicted genes: ``method, kind, gene_set, n_genes, n_hits, expected,
        fold_over, p_value, q_value, hits``; hits have ``fdr_adjusted`` (``fdr`` if no section has raw counts) below
        5 % in `gene_summary`, the background is the panel. Empty without a GMT file.
    published
        Scores as defined in the published code, flawed and marked as such: ``fold, section, method, kind, seed`` and
        the columns of :func:`histoquilt.metrics.published_scores`. Empty unless ``protocol="published"``.
    hest
        Scores as defined by HEST-Bench, with its linear probe as one row: the columns of
        :func:`histoquilt.evaluate.hest_table`. Methods are scored at their predicted depth, those that predict none are
        left out. Empty unless ``protocol="hest"``.
    folds
        ``fold, train, test`` (lists of section names)``, optimistic, n_panel``.
    facts
        Plain values: ``leave_out, optimistic`` (bool, any fold), ``protocol, seeds, use_rep`` (list), ``encoders``,
        ``n_genes`` (requested), ``n_sections, n_spots``, ``seconds`` (method -> time of fitting and predicting, all
        folds), ``chosen`` (method -> fold -> settings chosen inside training), ``label_key, unlabelled`` (of the labels
        that domains are compared with), ``version``.
    predictions
        Held-out section -> its prediction by the method requested first (ridge if none was), with the first seed, for
        inspection: as ``predict`` returns it (``layers["predicted_<method>"]``, ``layers["measured_log1p_cp10k"]``,
        ``var["reliability"]`` of training, ``obs["out_of_distribution"]``), with the panel genes that the section
        measured and without its embeddings. With ``label_key``, ``obs`` has the labels, and ``obs["domain_<method>"]``
        the domains of every method, of ``measured`` and of ``image_only``, with the first seed. The method was not
        chosen by its scores. Two float32 matrices ``(n_spots, n_scored)`` per section are held: 400 genes of 100,000
        spots are 320 MB.

    Examples
    --------
    >>> import pandas as pd
    >>> from histoquilt.evaluate import Evaluation
    >>> none = pd.DataFrame()
    >>> scores = pd.DataFrame({"method": ["ridge", "knn"], "pcc_median_adjusted": [0.30, 0.35]})
    >>> evaluation = Evaluation(scores, *[none] * 9, facts={"optimistic": False})
    >>> evaluation.decided_by, evaluation.optimistic
    ('pcc_median_adjusted', False)
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
    hest: pd.DataFrame = field(default_factory=pd.DataFrame)
    facts: dict[str, Any] = field(default_factory=dict)
    predictions: dict[str, AnnData] = field(default_factory=dict)

    @property
    def optimistic(self) -> bool:
        """Whether training held tissue of held-out patients or slides, so that scores on new patients will be lower."""
        return bool(self.facts["optimistic"])

    @property
    def decided_by(self) -> str:
        """Score that decides which method is better: ``pcc_median_adjusted``; raw if no section has raw counts."""
        return ADJUSTED if self.scores[ADJUSTED].notna().any() else RAW

    def summary(self, gene_set: str = "panel") -> pd.DataFrame:
        """Return one row per method, best first and oracles last: scores (means over sections), interval, verdicts.

        Parameters
        ----------
        gene_set
            Name of the set of genes to summarise.

        Returns
        -------
        Table indexed by method; columns ``kind, pcc_median, pcc_median_adjusted, deviance_median, deviance_above_0,
        low, high, n, against_ridge_plain, verdict_ridge_plain, against_ridge, verdict_ridge`` (the last four missing
        for ridge itself and for oracles). Order, interval and the last four are those of :attr:`decided_by`.

        Raises
        ------
        KeyError
            There is no such set of genes.
        """
        own = self.intervals[self.intervals["gene_set"] == gene_set]
        if own.empty:
            known = ", ".join(map(repr, self.intervals["gene_set"].unique()))
            raise KeyError(f"There is no set of genes {gene_set!r} (found: {known}).")
        by_value = {str(value): part.set_index("method") for value, part in own.groupby("value", sort=False)}
        decided_by = self.decided_by
        table = by_value[decided_by][["kind"]].assign(**{value: part["mean"] for value, part in by_value.items()})
        table[["low", "high", "n"]] = by_value[decided_by][["low", "high", "n"]]
        pairs = self.differences.query("gene_set == @gene_set and value == @decided_by").set_index("method")
        for against in (PLAIN_RIDGE, RIDGE):
            of_ridge = pairs[pairs["against"] == against]
            table[f"against_{against}"] = of_ridge["difference"]
            table[f"verdict_{against}"] = of_ridge["verdict"]
        table = table.sort_values(decided_by, ascending=False, kind="stable")
        return table.sort_values("kind", key=lambda kinds: kinds == "oracle", kind="stable")
