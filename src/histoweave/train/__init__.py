"""Training: who is held out, and the fit loop with its history and stopping rule."""

from histoweave.train._checkpoint import TrainingCheckpoint, training_folder, under
from histoweave.train._epochs import run_epochs
from histoweave.train._fit import History, Step, fit_until_stable
from histoweave.train._optimiser_state import restore_training, training_tensors
from histoweave.train._similarity import linear_cka
from histoweave.train._splits import Split, check_split, inner_folds, leave_one_out, section_groups

__all__ = [
    "History",
    "Split",
    "Step",
    "TrainingCheckpoint",
    "check_split",
    "fit_until_stable",
    "inner_folds",
    "leave_one_out",
    "linear_cka",
    "restore_training",
    "run_epochs",
    "section_groups",
    "training_folder",
    "training_tensors",
    "under",
]
