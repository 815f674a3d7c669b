"""Retrieval: the mean expression of the training spots whose images are most similar."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from histoquilt.models._baseline_config import BaselineConfig, Inputs
from histoquilt.models._ranges import Count
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, Fold, criterion, smooth
from histoquilt.models.expression._inputs import ImageSection, side_by_side
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.retrieval._bank import Bank, Metric, Weighting
from histoquilt.runtime import Advance


@dataclass(frozen=True)
class NearestNeighboursConfig(BaselineConfig):
    """Settings of :class:`histoquilt.models.NearestNeighbours`.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    k: tuple[Count, ...] = (5, 10, 20, 50, 100, 200)  # numbers of training spots to try
    metric: Literal["cosine", "euclidean", "validate"] = "cosine"
    standardised: bool | Literal["validate"] = "validate"  # compare columns of equal spread, or the embedding as it is
    weighting: Literal["uniform", "inverse_square", "validate"] = "validate"

    def spaces_to_try(self, n_reps: int) -> Iterator["_Space"]:
        """Yield the ways to compare two spots among which inner validation chooses."""
        metrics: Sequence[Metric] = ("cosine", "euclidean") if self.metric == "validate" else (self.metric,)
        for inputs in self.inputs_to_try(n_reps):
            for standardised in (False, True) if self.standardised == "validate" else (self.standardised,):
                for metric in metrics:
                    yield _Space(inputs, standardised, metric)

    @property
    def weightings_to_try(self) -> Sequence[Weighting]:
        """Weights among which inner validation chooses."""
        return ("uniform", "inverse_square") if self.weighting == "validate" else (self.weighting,)


class _Space(NamedTuple):
    """How two spots are compared."""

    inputs: Inputs
    standardised: bool
    metric: Metric

    def points(self, section: ImageSection) -> torch.Tensor:
        """Return what is compared, (n_spots, n_columns); float64 where squared lengths are subtracted."""
        if self.standardised:
            points = section.x[:, section.columns(*self.inputs)]
        else:
            reps = section.reps[:1] if self.inputs.fields == "one" else section.reps
            points = side_by_side(reps, section.adjacency, self.inputs.neighbours)
        return torch.from_numpy(points.astype(np.float64 if self.metric == "euclidean" else np.float32))


class _Setting(NamedTuple):
    space: _Space
    k: int
    weighting: Weighting
    smoothing: int


@dataclass(frozen=True)
class _Learnt:
    """What a fit leaves: the setting chosen on inner validation, the bank, and the setting's score."""

    setting: _Setting
    bank: Bank
    score: float

    def predict(self, section: ImageSection) -> np.ndarray:
        """Return ``(n_spots, n_genes)`` float32."""
        space, k, weighting, smoothing = self.setting
        ((_, _, values),) = self.bank.averages(space.points(section), (k,), (weighting,), space.metric)
        return smooth(values, section.adjacency, smoothing)


class NearestNeighbours(ExpressionModel):
    """Predicts the mean measured expression of the training spots with the most similar embeddings.

    How many, how they are weighted, how spots are compared, on which inputs, and smoothing of the prediction are chosen
    together by leaving training sections (or patients) out.

    The model contains the measured expression of its training sections.

    Parameters
    ----------
    config
        Settings.
    """

    method = "knn"
    config_class = NearestNeighboursConfig
    draws = False
    config: NearestNeighboursConfig
    learnt: _Learnt

    def fit_arrays(
        self, train: list[ImageSection], folds: list[Fold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray]]:
        config, choices = self.config, Choices()
        for space in config.spaces_to_try(len(train[0].reps)):
            points = [space.points(one) for one in train]
            for fold in folds:
                bank = _bank(train, points, fold.train)
                for i in fold.held_out:
                    averages = bank.averages(points[i], config.k, config.weightings_to_try, space.metric)
                    for k, weighting, values in averages:
                        for steps in config.smoothing_to_try:
                            smoothed = smooth(values, train[i].adjacency, steps)
                            choices.add(_Setting(space, k, weighting, steps), criterion(train[i].measured, smoothed))
            advance(note=f"{space.inputs.fields} field(s), {space.metric}")
        best: _Setting = choices.best
        points = [best.space.points(one) for one in train]
        held_out: dict[int, np.ndarray] = {}
        for fold in folds:
            learnt = _Learnt(best, _bank(train, points, fold.train), choices.best_score)
            held_out |= {i: learnt.predict(train[i]) for i in fold.held_out}
        learnt = _Learnt(best, _bank(train, points, range(len(train))), choices.best_score)
        return learnt, [held_out[i] for i in range(len(train))]

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        return self.learnt.predict(section)

    def state(self) -> MethodState:
        learnt = self.learnt
        (inputs, *space), *setting = learnt.setting
        names = ("fields", "neighbours", "standardised", "metric", "k", "weighting", "smoothing", "inner_pcc")
        chosen = dict(zip(names, [*inputs, *space, *setting, learnt.score], strict=True))
        return MethodState(arrays=learnt.bank.arrays(), settings=chosen)

    def restore(self, state: MethodState) -> _Learnt:
        kept = state.settings
        space = _Space(Inputs(kept["fields"], kept["neighbours"]), kept["standardised"], kept["metric"])
        bank = Bank.restore(state.arrays, self.device)
        if bank.points.shape[1] != len(self.fitted.inputs.columns(*space.inputs)):
            raise ValueError("the reference bank does not fit the inputs")
        return _Learnt(_Setting(space, kept["k"], kept["weighting"], kept["smoothing"]), bank, kept["inner_pcc"])


def _bank(train: list[ImageSection], points: list[torch.Tensor], members: Sequence[int]) -> Bank:
    return Bank(torch.cat([points[i] for i in members]), np.concatenate([train[i].measured for i in members]))
