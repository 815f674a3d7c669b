"""Evaluation of expression models on sections that they have not seen: folds, methods, tables."""

from histoquilt.evaluate._evaluation import PLAIN_RIDGE, Evaluation
from histoquilt.evaluate._fold import Fold, Run, n_runs, run_fold, without_untrained
from histoquilt.evaluate._hest import hest_overview, hest_probe, hest_table
from histoquilt.evaluate._leaks import check_images, check_sections
from histoquilt.evaluate._methods import Contender, contenders, new_model
from histoquilt.evaluate._shown import shown_label
from histoquilt.evaluate._study import EvaluationStudy, match_markers, plan_folds, read_evaluation_study
from histoquilt.evaluate._tables import (
    difference_table,
    enrichment_table,
    fold_table,
    gene_summary,
    gene_table,
    hest_of_folds,
    interval_table,
    published_table,
    score_table,
    structure_table,
)

__all__ = [
    "PLAIN_RIDGE", "Contender", "Evaluation", "EvaluationStudy", "Fold", "Run", "check_images", "check_sections",
    "contenders", "difference_table", "enrichment_table", "fold_table", "gene_summary", "gene_table", "hest_of_folds",
    "hest_overview", "hest_probe", "hest_table", "interval_table", "match_markers", "n_runs", "new_model",
    "plan_folds", "published_table", "read_evaluation_study", "run_fold", "score_table", "shown_label",
    "structure_table", "without_untrained",
]  # fmt: skip
