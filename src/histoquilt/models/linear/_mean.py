"""The training mean: the baseline that a prediction from the image has to beat."""

from dataclasses import dataclass

import numpy as np

from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._config import ExpressionConfig
from histoquilt.models.expression._inner_validation import InnerFold
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.runtime import Advance


@dataclass(frozen=True)
class MeanConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.MeanExpression`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.MeanConfig(n_genes=20)
    MeanConfig(n_genes=20, fields='several', neighbours=False, own_moments='auto')
    """

    neighbours: bool = False  # the embedding is only used to recognise spots unlike training


class MeanExpression(ExpressionModel):
    """Predicts every spot's expression by the mean over the training spots.

    A baseline: its correlation inside a section is undefined (counted as 0), its squared error is the variance.

    Parameters
    ----------
    config
        Settings.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> unseen = study.pop("s3")
    >>> predicted = hq.models.MeanExpression().fit(study, use_rep="X_image").predict(unseen)
    >>> bool(predicted.layers["predicted_mean"].std(axis=0).max() < 1e-5)
    True
    """

    method = "mean"
    config_class = MeanConfig
    draws = False
    learnt: np.ndarray

    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        held_out: dict[int, np.ndarray] = {}
        for fold in folds:
            mean = _mean([train[i] for i in fold.train])
            held_out |= {i: np.tile(mean, (len(train[i].x), 1)) for i in fold.held_out}
        return _mean(train), [held_out[i] for i in range(len(train))]

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        return np.tile(self.learnt, (len(section.x), 1))

    def relative_arrays(self, section: ImageSection, values: np.ndarray) -> np.ndarray:
        return np.zeros_like(values)  # all spots are alike

    def state(self) -> MethodState:
        return MethodState(arrays={"mean": self.learnt})

    def restore(self, state: MethodState) -> np.ndarray:
        return state.arrays["mean"]


def _mean(sections: list[ImageSection]) -> np.ndarray:
    return np.concatenate([one.measured for one in sections]).mean(axis=0, dtype=np.float64).astype(np.float32)
