"""Predicted depth: the baseline that knows how many counts a spot has, and nothing of any gene."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._config import ExpressionConfig
from histoquilt.models.expression._expected_log1p import expected_log1p
from histoquilt.models.expression._inner_validation import InnerFold
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.expression._targets import MissingCountsError
from histoquilt.runtime import Advance

_LEAST_COUNTS = 0.5  # of a gene without counts in training


@dataclass(frozen=True)
class PredictedDepthConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.PredictedDepth`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.PredictedDepthConfig(n_genes=20, neighbours=False)
    PredictedDepthConfig(n_genes=20, fields='several', neighbours=False, own_moments='auto')
    """


class PredictedDepth(ExpressionModel):
    """Predicts how many counts each spot has, and every gene at one rate throughout the tissue.

    A baseline: the expected log1p of counts per 10,000, ``E log1p(1e4 C / N)`` with ``C ~ Poisson(N r)``, for the rate
    ``r`` of the gene in training and the depth ``N`` predicted from the image. Its raw correlation is what depth alone
    is worth; its map of every gene relative to the section is constant, so that it explains no deviance.

    Parameters
    ----------
    config
        Settings.

    Raises
    ------
    ValueError
        In :meth:`fit`: no training section has raw counts.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> held_out = study.pop("s3")
    >>> predicted = hq.models.PredictedDepth().fit(study, use_rep="X_image").predict(held_out)
    >>> bool(predicted.layers["relative_predicted_depth"].any())
    False
    """

    method = "predicted_depth"
    config_class = PredictedDepthConfig
    draws = False
    learnt: np.ndarray

    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[np.ndarray, list[np.ndarray] | None]:
        known = [i for i, section in enumerate(train) if section.has_counts]
        if not known:
            raise MissingCountsError(
                "Predicted depth needs raw counts in at least one training section; all have normalised expression "
                "only. Give raw counts in layers['counts']."
            )
        held_out: dict[int, np.ndarray] = {}
        for fold in folds:
            members = [i for i in fold.train if i in known]
            if members:
                log_rates = _log_rates(train, members)
                held_out |= {i: _expected(train[i], log_rates) for i in fold.held_out}
        complete = len(held_out) == len(train)
        return _log_rates(train, known), [held_out[i] for i in range(len(train))] if complete else None

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        return _expected(section, self.learnt)

    def relative_arrays(self, section: ImageSection, values: np.ndarray) -> np.ndarray:
        return np.zeros_like(values)

    def state(self) -> MethodState:
        return MethodState(arrays={"log_rates": self.learnt})

    def restore(self, state: MethodState) -> np.ndarray:
        return state.arrays["log_rates"]


def _log_rates(train: list[ImageSection], members: Sequence[int]) -> np.ndarray:
    """Return the log of each gene's share of all counts, ``(n_genes,)``."""
    counts, total = np.zeros(train[0].measured.shape[1]), 0.0
    for i in members:
        depth = train[i].counted_depth
        counts += depth @ np.expm1(train[i].measured.astype(np.float64)) / 1e4
        total += depth.sum()
    return np.log(np.maximum(counts, _LEAST_COUNTS) / total)


def _expected(section: ImageSection, log_rates: np.ndarray) -> np.ndarray:
    log_counts = section.log_counts
    assert log_counts is not None, "a section in training had counts"
    return expected_log1p(np.broadcast_to(log_rates, (len(log_counts), len(log_rates))), log_counts)
