"""Reduced-rank ridge regression: from image embeddings to a few programmes of genes.

Most of what an H&E image tells about hundreds of genes is told about few directions: how much tumour, stroma, immune
cells. Ridge regression is followed by projecting its fitted values on their leading directions among the genes (Izenman
1975, J. Multivariate Anal. 5: 248; with a ridge penalty Mukherjee & Zhu 2011, Stat. Anal. Data Min. 4: 612), so that
noisy genes borrow strength from the others. Two further things carry over to tissue that was not seen:

- A spot of few counts says little, and weighs ``depth / (depth + c * median depth)``.
- Stain and scanner shift and stretch every embedding of a section; its own moments, shrunk to those of training where
  it has few spots, take that out. It needs no label.

Penalty, rank and weighting are judged on inner validation, and so are the moments where training holds three or more
individuals (among fewer it prefers the training moments, which do not carry over). The predictions of the leading
settings are averaged, since those that score alike err differently.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from histoquilt.models._image_components import Basis, moments_to_try
from histoquilt.models._ranges import Count, Positive, WholeNumber
from histoquilt.models._ridge_path import RidgePath, spot_weights
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._config import ExpressionConfig
from histoquilt.models.expression._inner_validation import Choices, InnerFold, criterion, part_of_sections
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.runtime import Advance
from histoquilt.train import strip_prefix


@dataclass(frozen=True)
class ReducedRankRidgeConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.ReducedRankRidge`.

    Raises
    ------
    ValueError
        A value is outside its range.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.ReducedRankRidgeConfig(rbf=256).rbf
    256
    """

    # penalties to try, in units of the mean squared length of a centred row of inputs
    alphas: tuple[Positive, ...] = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
    # numbers of directions to try, besides the full rank
    ranks: tuple[Count, ...] | tuple[()] = (1, 2, 3, 4, 6, 8, 12, 16, 24)
    n_settings: Count = 8  # leading settings whose predictions are averaged
    rbf: WholeNumber = 0  # features of an RBF kernel map of the components that are added to them; 0 for none

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_inputs_are_given()


@dataclass(frozen=True)
class Setting:
    """One way to fit."""

    own_moments: bool
    weighted: bool
    alpha: float
    rank: int | None  # None: not reduced


@dataclass(frozen=True)
class LinearModel:
    """Fitted linear model.

    Attributes
    ----------
    bases
        Principal components of the inputs.
    coefficients
        ``(n_components, n_genes)`` for each basis.
    intercept
        ``(n_genes,)``
    """

    bases: tuple[Basis, ...]
    coefficients: tuple[np.ndarray, ...]
    intercept: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return log1p of counts per 10,000, ``(n_spots, n_genes)`` float32, from ``ImageSection.x``."""
        values = self.intercept.astype(np.float64)
        for basis, coefficients in zip(self.bases, self.coefficients, strict=True):
            values = values + basis.scores(x) @ coefficients
        return values.astype(np.float32)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything fitted, for a checkpoint."""
        stored: dict[str, np.ndarray] = {"intercept": self.intercept}
        for basis, coefficients in zip(self.bases, self.coefficients, strict=True):
            kind = "own" if basis.own_moments else "training"
            stored |= {f"{kind}.{name}": value for name, value in basis.arrays().items()}
            stored[f"{kind}.coefficients"] = coefficients
        return stored

    @classmethod
    def restore(cls, stored: dict[str, np.ndarray]) -> "LinearModel":
        """Rebuild from :meth:`arrays`."""
        kinds = [(own, kind) for own, kind in ((False, "training"), (True, "own")) if f"{kind}.mean" in stored]
        return cls(
            tuple(Basis.restore(own, strip_prefix(stored, kind)) for own, kind in kinds),
            tuple(stored[f"{kind}.coefficients"] for _, kind in kinds),
            stored["intercept"],
        )


@dataclass(frozen=True)
class LinearFit:
    """Result of :func:`fit_reduced_rank`.

    Attributes
    ----------
    model
        Model fitted on all training sections.
    held_out
        Prediction of every training section by the model that had not seen its group.
    settings
        Settings that were averaged, best first.
    score
        Mean correlation of the best on inner validation.
    """

    model: LinearModel
    held_out: list[np.ndarray]
    settings: list[Setting]
    score: float


def fit_reduced_rank(train: list[ImageSection], folds: list[InnerFold], config: ReducedRankRidgeConfig) -> LinearFit:
    """Choose settings on inner validation and fit the average of the leading ones.

    Parameters
    ----------
    train
        Sections with ``y``.
    folds
        Inner folds: no section is predicted by a model that has seen its group.
    config
        Settings to choose from.
    """
    inputs = LinearInputs.of(train, config.own_moments, config.rbf)
    weightings = (False, True) if any(one.depth is not None for one in train) else (False,)
    choices = Choices()
    for fold in folds:
        for own in inputs.bases:
            for weighted in weightings:
                path = inputs.path(fold.train, own, weighted)
                for i, rows in part_of_sections(train, fold.held_out):
                    x, measured = inputs.scores[own][i][rows], train[i].measured[rows]
                    for alpha, rank, values in path.predictions(x, config.alphas, config.ranks):
                        choices.add(Setting(own, weighted, alpha, rank), criterion(measured, values))
    settings: list[Setting] = choices.leading(config.n_settings)
    held_out: dict[int, np.ndarray] = {}
    for fold in folds:
        fitted = inputs.average(fold.train, settings)
        held_out |= {i: fitted.predict(train[i].x) for i in fold.held_out}
    model = inputs.average(range(len(train)), settings)
    return LinearFit(model, [held_out[i] for i in range(len(train))], settings, choices.best_score)


@dataclass(frozen=True)
class LinearInputs:
    """Training sections and the scores of their spots, by training moments and by their own."""

    train: list[ImageSection]
    bases: dict[bool, Basis]
    scores: dict[bool, list[np.ndarray]]

    @classmethod
    def of(
        cls, train: list[ImageSection], own_moments: bool | Literal["auto"] = "auto", rbf: int = 0
    ) -> "LinearInputs":
        """Find the components, with ``rbf`` features of a kernel map, and the scores, by the moments allowed."""
        bases = {own: Basis.fit(train, own).with_kernel(train, rbf) for own in moments_to_try(train, own_moments)}
        return cls(train, bases, {kind: [basis.scores(one.x) for one in train] for kind, basis in bases.items()})

    def path(self, members: Sequence[int], own: bool, weighted: bool) -> RidgePath:
        """Return the ridge path on some of the sections."""
        x = np.concatenate([self.scores[own][i] for i in members])
        y = np.concatenate([self.train[i].measured for i in members])
        weights = np.concatenate([spot_weights(self.train[i]) for i in members]) if weighted else None
        return RidgePath.fit(x, y, weights)

    def average(self, members: Sequence[int], settings: list[Setting]) -> LinearModel:
        """Fit every setting on some sections and average: the model is linear, so its coefficients can be."""
        kinds: dict[tuple[bool, bool], list[Setting]] = defaultdict(list)
        for one in settings:
            kinds[one.own_moments, one.weighted].append(one)
        coefficients: dict[bool, np.ndarray] = {}
        intercept = np.zeros(self.train[0].measured.shape[1])
        for (own, weighted), of_kind in kinds.items():
            path = self.path(members, own, weighted)
            for one in of_kind:
                slope, level = path.coefficients(one.alpha, one.rank)
                coefficients[own] = coefficients.get(own, 0) + slope / len(settings)
                intercept += level / len(settings)
        used = [own for own in self.bases if own in coefficients]
        return LinearModel(
            tuple(self.bases[own] for own in used),
            tuple(coefficients[own].astype(np.float32) for own in used),
            intercept.astype(np.float32),
        )


@dataclass(frozen=True)
class _Learnt:
    """What a fit of :class:`ReducedRankRidge` leaves: the model, its settings, their score on inner validation."""

    model: LinearModel
    settings: tuple[Setting, ...]
    score: float


class ReducedRankRidge(ExpressionModel):
    """Predicts expression by ridge regression on image embeddings whose fitted values have few directions among genes.

    Penalty, rank, and whether spots are weighed by their depth are chosen by leaving training sections (or patients)
    out, and with three individuals or more also whether a section is standardised by its own moments; the predictions
    of the ``n_settings`` best are averaged. The model holds coefficients, no expression of its training sections.

    Parameters
    ----------
    config
        Settings.

    References
    ----------
    A. J. Izenman. Reduced-rank regression for the multivariate linear model. J. Multivariate Anal. 5, 248-264, 1975.
    A. Mukherjee, J. Zhu. Reduced rank ridge regression and its kernel extensions. Stat. Anal. Data Min. 4, 612-622,
    2011.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> held_out = study.pop("s3")
    >>> model = hq.models.ReducedRankRidge().fit(study, use_rep="X_image")
    >>> model.predict(held_out).layers["predicted_reduced_rank_ridge"].shape
    (60, 20)
    """

    method = "reduced_rank_ridge"
    config_class = ReducedRankRidgeConfig
    draws = False
    config: ReducedRankRidgeConfig
    learnt: _Learnt

    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray]]:
        fit = fit_reduced_rank(train, folds, self.config)
        return _Learnt(fit.model, tuple(fit.settings), fit.score), fit.held_out

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        return self.learnt.model.predict(section.x)

    def state(self) -> MethodState:
        learnt = self.learnt
        averaged = [asdict(one) for one in learnt.settings]
        return MethodState(arrays=learnt.model.arrays(), settings={"averaged": averaged, "inner_pcc": learnt.score})

    def restore(self, state: MethodState) -> _Learnt:
        settings = tuple(Setting(**one) for one in state.settings["averaged"])
        return _Learnt(LinearModel.restore(state.arrays), settings, state.settings["inner_pcc"])
