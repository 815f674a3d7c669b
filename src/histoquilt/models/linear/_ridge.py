"""Ridge regression on image embeddings: the linear probe that a network has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from histoquilt.models._baseline_config import BaselineConfig, Inputs
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, Fold, criterion, smooth
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
    """

    # penalties to try, in units of the mean squared length of a centred input row: at 1 a typical direction is halved
    alphas: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alphas or min(self.alphas) <= 0:
            raise ValueError(f"alphas must be one or more positive penalties, got {self.alphas!r}.")


class _Setting(NamedTuple):
    inputs: Inputs
    alpha: float
    smoothing: int


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
    config: RidgeConfig

    def fit_arrays(self, train: list[ImageSection], folds: list[Fold], seed: int, advance: Advance) -> list[np.ndarray]:
        choices = Choices()
        for inputs in self.config.inputs_to_try(len(train[0].reps)):
            for fold in folds:
                path = _RidgePath.of(train, fold.train, self.columns(*inputs))
                for i in fold.held_out:
                    self._score(path, inputs, train[i], choices)
                advance(note=f"{inputs.fields} field(s), neighbours {inputs.neighbours}")
        best: _Setting = choices.best
        held_out: dict[int, np.ndarray] = {}
        for fold in folds:
            path = _RidgePath.of(train, fold.train, self.columns(*best.inputs))
            for i in fold.held_out:
                (values,) = path.predict(train[i].x, (best.alpha,))
                held_out[i] = smooth(values, train[i].adjacency, best.smoothing)
        self._setting, self._score_inside = best, choices.best_score
        path = _RidgePath.of(train, range(len(train)), self.columns(*best.inputs))
        self._coefficients, self._intercept = path.coefficients(best.alpha)
        return [held_out[i] for i in range(len(train))]

    def _score(self, path: "_RidgePath", inputs: Inputs, section: ImageSection, choices: Choices) -> None:
        for alpha, values in zip(self.config.alphas, path.predict(section.x, self.config.alphas), strict=True):
            for steps in self.config.smoothing_to_try:
                score = criterion(section.measured, smooth(values, section.adjacency, steps))
                choices.add(_Setting(inputs, alpha, steps), score)

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        values = section.x[:, self.columns(*self._setting.inputs)] @ self._coefficients + self._intercept
        return smooth(values, section.adjacency, self._setting.smoothing)

    def state(self) -> MethodState:
        inputs, alpha, smoothing = self._setting
        return MethodState(
            arrays={"coefficients": self._coefficients, "intercept": self._intercept},
            settings={
                "fields": inputs.fields,
                "neighbours": inputs.neighbours,
                "alpha": alpha,
                "smoothing": smoothing,
                "inner_pcc": self._score_inside,
            },
        )

    def restore(self, state: MethodState) -> None:
        kept = state.settings
        self._setting = _Setting(Inputs(kept["fields"], kept["neighbours"]), kept["alpha"], kept["smoothing"])
        self._score_inside = kept["inner_pcc"]
        self._coefficients, self._intercept = state.arrays["coefficients"], state.arrays["intercept"]
        if self._coefficients.shape != (len(self.columns(*self._setting.inputs)), len(self._intercept)):
            raise ValueError("the coefficients do not fit the inputs")


@dataclass(frozen=True)
class _RidgePath:
    """Ridge regression for all penalties, from one eigendecomposition of the smaller of the two Gram matrices.

    Attributes
    ----------
    columns
        Column numbers of ``x`` that are used.
    mean, intercept
        Means of inputs and targets.
    values
        Eigenvalues of the Gram matrix.
    way_in
        Matrix ``(n_columns, n_values)``. Predictions are centred inputs times this, divided by eigenvalue plus penalty,
        times ``way_out``.
    way_out
        Matrix ``(n_values, n_genes)``.
    unit
        Mean squared length of a centred input row.
    """

    columns: np.ndarray
    mean: np.ndarray
    intercept: np.ndarray
    values: np.ndarray
    way_in: np.ndarray
    way_out: np.ndarray
    unit: float

    @classmethod
    def of(cls, train: list[ImageSection], members: Sequence[int], columns: np.ndarray) -> "_RidgePath":
        x = np.concatenate([train[i].x[:, columns] for i in members]).astype(np.float64)
        y = np.concatenate([train[i].measured for i in members]).astype(np.float64)
        mean, intercept = x.mean(axis=0), y.mean(axis=0)
        x -= mean
        y -= intercept
        n_spots, n_columns = x.shape
        if n_columns <= n_spots:
            values, vectors = np.linalg.eigh(x.T @ x)
            way_in, way_out = vectors, vectors.T @ (x.T @ y)
        else:
            values, vectors = np.linalg.eigh(x @ x.T)
            way_in, way_out = x.T @ vectors, vectors.T @ y
        values = np.maximum(values, 0)
        unit = float(values.sum() / n_spots)
        return cls(columns, mean, intercept, values, way_in, way_out, unit if unit > 0 else 1.0)

    def predict(self, x: np.ndarray, alphas: Sequence[float]) -> list[np.ndarray]:
        """Return the prediction at every penalty, ``(n_spots, n_genes)`` float32 each."""
        inside = (x[:, self.columns] - self.mean) @ self.way_in
        return [
            ((inside / (self.values + alpha * self.unit)) @ self.way_out + self.intercept).astype(np.float32)
            for alpha in alphas
        ]

    def coefficients(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients ``(n_columns, n_genes)`` and intercept ``(n_genes,)``, float32."""
        slope = (self.way_in / (self.values + alpha * self.unit)) @ self.way_out
        return slope.astype(np.float32), (self.intercept - self.mean @ slope).astype(np.float32)


def plain_ridge() -> RidgeOnEmbedding:
    """Return ridge regression as commonly fitted: one patch, no neighbours, no smoothing."""
    return RidgeOnEmbedding(RidgeConfig.plain())
