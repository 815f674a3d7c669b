"""Jobs on files: many inputs to a results folder, resumable, on one machine or a Dask cluster; used by the commands.

Each job takes paths and the options of its config class, checks everything before any work, and writes a folder
atomically: ``run.json``, ``.h5ad``, ``.csv``, pictures and ``report.html``.
"""

from histoquilt.jobs._compare import CompareConfig, CompareResult, compare_results
from histoquilt.jobs._demo import DemoConfig, DemoResult, run_demo
from histoquilt.jobs._domains import DomainsConfig, DomainsResult, find_domains
from histoquilt.jobs._export import ExportConfig, export_results
from histoquilt.jobs._study import StudyConfig, StudyResult, describe_study
from histoquilt.jobs.expression._evaluate import EvaluateConfig, EvaluateResult, evaluate_models
from histoquilt.jobs.expression._predict import PredictConfig, predict_folder
from histoquilt.jobs.expression._train import TrainConfig, train_model
from histoquilt.jobs.work._errors import Interrupted, JobError, WriteError, one_line
from histoquilt.jobs.work._options import Option, OutputConfig, RunConfig, options_of
from histoquilt.jobs.work._record import FOR_DEVELOPERS, IGNORED, PACKAGES, package_versions
from histoquilt.jobs.work._run import JobResult, check_one_process

__all__ = [
    "FOR_DEVELOPERS",
    "IGNORED",
    "PACKAGES",
    "CompareConfig",
    "CompareResult",
    "DemoConfig",
    "DemoResult",
    "DomainsConfig",
    "DomainsResult",
    "EvaluateConfig",
    "EvaluateResult",
    "ExportConfig",
    "Interrupted",
    "JobError",
    "JobResult",
    "Option",
    "OutputConfig",
    "PredictConfig",
    "RunConfig",
    "StudyConfig",
    "StudyResult",
    "TrainConfig",
    "WriteError",
    "check_one_process",
    "compare_results",
    "describe_study",
    "evaluate_models",
    "export_results",
    "find_domains",
    "one_line",
    "options_of",
    "package_versions",
    "predict_folder",
    "run_demo",
    "train_model",
]
