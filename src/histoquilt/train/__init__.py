"""Training: splits by patient, training loops, and checkpoints."""

from histoquilt.train._checkpoint import TrainingCheckpoint, strip_prefix, training_folder
from histoquilt.train._epochs import Step, restore_training, run_epochs, training_tensors
from histoquilt.train._fit import History, fit_until_stable, linear_cka
from histoquilt.train._read_splits import read_splits
from histoquilt.train._splits import Split, check_split, inner_folds, leave_one_out, section_groups

__all__ = [
    "History", "Split", "Step", "TrainingCheckpoint", "check_split", "fit_until_stable", "inner_folds",
    "leave_one_out", "linear_cka", "read_splits", "restore_training", "run_epochs", "section_groups", "strip_prefix",
    "training_folder", "training_tensors",
]  # fmt: skip
