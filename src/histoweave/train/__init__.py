"""Training: the fit loop with its history and stopping rule."""

from histoweave.train._fit import History, fit_until_stable
from histoweave.train._similarity import linear_cka

__all__ = ["History", "fit_until_stable", "linear_cka"]
