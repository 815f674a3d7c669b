"""Ridge regression on image embeddings: the linear probe that a network has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from histoquilt.models._baseline_config import BaselineConfig, Inputs
from histoquilt.models._ranges import Positive
from histoquilt.models._ridge_path import RidgePath
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, InnerFold, criterion, part_of_sections, smooth
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.runtime import Advance


@dataclass(frozen=True)
class RidgeConfig(BaselineConfig):
    """Settings of :class:`histoquilt.models.RidgeOnEmbedding`.

    Raises
    ------
    ValueError
        A value is outside its range.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.RidgeConfig(alphas=(0.1, 1.0)).alphas
    (0.1, 1.0)
    >>> hq.models.RidgeConfig(alphas=(-1.0,))
    Traceback (most recent call last):
        ...
    ValueError: alphas must be one or more positive numbers, got (-1.0,).
    """

    # penalties to try, in units of the mean squared length of a centred input row: at 1 a typical direction is halved
    alphas: tuple[Positive, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


class _Setting(NamedTuple):
    inputs: Inputs
    alpha: float
    smoothing: int


@dataclass(frozen=True)
class _Learnt:
    """What a fit leaves.

    Attributes
    ----------
    setting
        Setting chosen on inner validation.
    coefficients, intercept
        ``(n_columns, n_genes)`` and ``(n_genes,)`` float32.
    score
        Mean correlation of the setting on inner validation.
    """

    setting: _Setting
    coefficients: np.ndarray
    intercept: np.ndarray
    score: float

    def predict(self, section: ImageSection) -> np.ndarray:
        """Return ``(n_spots, n_genes)`` float32."""
        values = section.x[:, section.columns(*self.setting.inputs)] @ self.coefficients + self.intercept
        return smooth(values, section.adjacency, self.setting.smoothing)


class RidgeOnEmbedding(ExpressionModel):
    """Predicts expression by ridge regression on the embeddings around a spot.

    Penalty, inputs (one patch size or all, with or without the neighbours' mean embeddings) and smoothing of the
    prediction are chosen together by leaving training sections (or patients) out. ``RidgeConfig.plain()`` is the usual
    linear probe on one patch.

    Parameters
    ----------
    config
        Settings.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> sections = {}
    >>> for name in "abc":
    ...     adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=3, seed=0)
    ...     noise = np.random.default_rng(ord(name)).normal(size=(120, 4))
    ...     adata.obsm["X_image"] = np.eye(4)[adata.obs["domain_true"].cat.codes] + 0.3 * noise
    ...     sections[name] = adata
    >>> held_out = sections.pop("c")
    >>> model = hq.models.RidgeOnEmbedding().fit(sections, use_rep="X_image")
    >>> predicted = model.predict(held_out)
    >>> predicted.layers["predicted_ridge"].shape
    (120, 50)
    """

    method = "ridge"
    config_class = RidgeConfig
    draws = False
    config: RidgeConfig
    learnt: _Learnt

    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray]]:
        choices = Choices()
        for inputs in self.config.inputs_to_try(len(train[0].reps)):
            columns = train[0].columns(*inputs)
            for fold in folds:
                path = _path(train, fold.train, columns)
                for i, rows in part_of_sections(train, fold.held_out, whole=any(self.config.smoothing_to_try)):
                    for alpha, _, values in path.predictions(train[i].x[rows, columns], self.config.alphas):
                        for steps in self.config.smoothing_to_try:
                            smoothed = smooth(values.astype(np.float32), train[i].adjacency, steps)
                            choices.add(_Setting(inputs, alpha, steps), criterion(train[i].measured[rows], smoothed))
                advance(note=f"{inputs.fields} field(s), neighbours {inputs.neighbours}")
        best: _Setting = choices.best
        columns = train[0].columns(*best.inputs)
        held_out: dict[int, np.ndarray] = {}
        for fold in folds:
            learnt = _fit(train, fold.train, columns, best, choices.best_score)
            held_out |= {i: learnt.predict(train[i]) for i in fold.held_out}
        learnt = _fit(train, range(len(train)), columns, best, choices.best_score)
        return learnt, [held_out[i] for i in range(len(train))]

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        return self.learnt.predict(section)

    def state(self) -> MethodState:
        learnt = self.learnt
        inputs, *setting = learnt.setting
        names = ("fields", "neighbours", "alpha", "smoothing", "inner_pcc")
        return MethodState(
            arrays={"coefficients": learnt.coefficients, "intercept": learnt.intercept},
            settings=dict(zip(names, [*inputs, *setting, learnt.score], strict=True)),
        )

    def restore(self, state: MethodState) -> _Learnt:
        kept = state.settings
        setting = _Setting(Inputs(kept["fields"], kept["neighbours"]), kept["alpha"], kept["smoothing"])
        learnt = _Learnt(setting, **state.arrays, score=kept["inner_pcc"])
        if learnt.coefficients.shape != (len(self.fitted.inputs.columns(*setting.inputs)), len(learnt.intercept)):
            raise ValueError("the coefficients do not fit the inputs")
        return learnt


def _path(train: list[ImageSection], members: Sequence[int], columns: np.ndarray) -> RidgePath:
    x = np.concatenate([train[i].x[:, columns] for i in members])
    path = RidgePath.fit(x, np.concatenate([train[i].measured for i in members]))
    return replace(path, unit=path.unit / len(x))  # of the sum of squared errors, not their mean


def _fit(
    train: list[ImageSection], members: Sequence[int], columns: np.ndarray, setting: _Setting, score: float
) -> _Learnt:
    slope, intercept = _path(train, members, columns).coefficients(setting.alpha)
    return _Learnt(setting, slope.astype(np.float32), intercept.astype(np.float32), score)


def plain_ridge() -> RidgeOnEmbedding:
    """Return ridge regression as commonly fitted: one patch, no neighbours, no smoothing.

    Examples
    --------
    >>> import histoquilt as hq
    >>> config = hq.models.plain_ridge().config
    >>> config.fields, config.neighbours, config.smoothing
    ('one', False, 0)
    """
    return RidgeOnEmbedding(RidgeConfig.plain())
