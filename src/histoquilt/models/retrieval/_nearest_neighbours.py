"""Retrieval: a spot gets the mean expression of the training spots whose images look most like its own."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from histoquilt.models._baseline_config import BaselineConfig, Inputs
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, Fold, criterion, smooth
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.retrieval._retrieval import Weighting, averaging, nearest_rows
from histoquilt.runtime import Advance

Metric = Literal["cosine", "euclidean"]


@dataclass(frozen=True)
class NearestNeighboursConfig(BaselineConfig):
    """Settings of :class:`histoquilt.models.NearestNeighbours`.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    k: tuple[int, ...] = (5, 10, 20, 50, 100, 200)  # numbers of training spots to try
    metric: Literal["cosine", "euclidean", "validate"] = "cosine"
    standardised: bool | Literal["validate"] = "validate"  # compare columns of equal spread, or the embedding as it is
    weighting: Literal["uniform", "inverse_square", "validate"] = "validate"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.k or any(isinstance(k, bool) or not isinstance(k, int) or k < 1 for k in self.k):
            raise ValueError(f"k must be one or more whole numbers of at least 1, got {self.k!r}.")
        if self.metric not in ("cosine", "euclidean", "validate"):
            raise ValueError(f"metric must be 'cosine', 'euclidean' or 'validate', got {self.metric!r}.")
        if self.standardised not in (True, False, "validate"):
            raise ValueError(f"standardised must be true, false or 'validate', got {self.standardised!r}.")
        if self.weighting not in ("uniform", "inverse_square", "validate"):
            raise ValueError(f"weighting must be 'uniform', 'inverse_square' or 'validate', got {self.weighting!r}.")

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


class _Setting(NamedTuple):
    space: _Space
    k: int
    weighting: Weighting
    smoothing: int


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
    config: NearestNeighboursConfig

    @property
    def keeps_expression(self) -> bool:
        """Always: predictions are averages of it."""
        return True

    def fit_arrays(self, train: list[ImageSection], folds: list[Fold], seed: int, advance: Advance) -> list[np.ndarray]:
        choices = Choices()
        for space in self.config.spaces_to_try(len(train[0].reps)):
            points = [self._points(one.x, space) for one in train]
            for fold in folds:
                for i, setting, values in self._try(train, points, fold, self._settings(space)):
                    choices.add(setting, criterion(train[i].measured, values))
            advance(note=f"{space.inputs.fields} field(s), {space.metric}")
        best: _Setting = choices.best
        points = [self._points(one.x, best.space) for one in train]
        held_out = {i: values for fold in folds for i, _, values in self._try(train, points, fold, [best])}
        self._setting, self._score_inside = best, choices.best_score
        self._bank = np.concatenate(points)
        self._expression = np.concatenate([one.measured for one in train])
        return [held_out[i] for i in range(len(train))]

    def _settings(self, space: _Space) -> list[_Setting]:
        return [
            _Setting(space, k, weighting, smoothing)
            for k in self.config.k
            for weighting in self.config.weightings_to_try
            for smoothing in self.config.smoothing_to_try
        ]

    def _try(
        self, train: list[ImageSection], points: list[np.ndarray], fold: Fold, settings: Iterable[_Setting]
    ) -> Iterator[tuple[int, _Setting, np.ndarray]]:
        """Yield the prediction of every held-out section at every setting, from one search each."""
        settings = list(settings)
        bank = np.concatenate([points[i] for i in fold.train])
        expression = np.concatenate([train[i].measured for i in fold.train])
        for i in fold.held_out:
            numbers, squared = nearest_rows(points[i], bank, max(setting.k for setting in settings))
            averages: dict[tuple[int, Weighting], np.ndarray] = {}
            for setting in settings:
                key = (setting.k, setting.weighting)
                if key not in averages:
                    averages = {key: averaging(numbers, squared, *key, len(bank)) @ expression}
                yield i, setting, smooth(averages[key], train[i].adjacency, setting.smoothing)

    def _points(self, x: np.ndarray, space: _Space) -> np.ndarray:
        """Return the points whose Euclidean distance compares spots."""
        columns = self.columns(*space.inputs)
        points = x[:, columns]
        if not space.standardised:
            inputs = self._standardised_by()
            points = points * inputs.scale[columns] + inputs.mean[columns]
        if space.metric == "cosine":
            points = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return points

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        space, k, weighting, smoothing = self._setting
        numbers, squared = nearest_rows(self._points(section.x, space), self._bank, k)
        values = averaging(numbers, squared, k, weighting, len(self._bank)) @ self._expression
        return smooth(values, section.adjacency, smoothing)

    def state(self) -> MethodState:
        space, k, weighting, smoothing = self._setting
        inputs, standardised, metric = space
        chosen = {
            "fields": inputs.fields,
            "neighbours": inputs.neighbours,
            "standardised": standardised,
            "metric": metric,
            "k": k,
            "weighting": weighting,
        }
        return MethodState(
            arrays={"bank": self._bank, "expression": self._expression},
            settings={**chosen, "smoothing": smoothing, "inner_pcc": self._score_inside},
        )

    def restore(self, state: MethodState) -> None:
        kept = state.settings
        space = _Space(Inputs(kept["fields"], kept["neighbours"]), kept["standardised"], kept["metric"])
        self._setting = _Setting(space, kept["k"], kept["weighting"], kept["smoothing"])
        self._score_inside = kept["inner_pcc"]
        self._bank, self._expression = state.arrays["bank"], state.arrays["expression"]
        if len(self._bank) != len(self._expression) or self._bank.shape[1] != len(self.columns(*space.inputs)):
            raise ValueError("the reference bank does not fit the inputs")
