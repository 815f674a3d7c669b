"""Reduced-rank ridge regression: the linear part of an expression model, from image embeddings to a few programmes.

Most of what an H&E image tells about hundreds of genes is told about few directions: how much tumour, stroma, immune
cells. Ridge regression is followed by projecting its fitted values on their leading directions among the genes (Izenman
1975, J. Multivariate Anal. 5: 248; with a ridge penalty Mukherjee & Zhu 2011, Stat. Anal. Data Min. 4: 612), so that
noisy genes borrow strength from the others. Two further things carry over to tissue that was not seen:

- A spot of few counts says little, and weighs ``depth / (depth + c * median depth)``.
- Stain and scanner shift and stretch every embedding of a section; its own moments, shrunk to those of training where
  it has few spots, take that out. It needs no label.

Penalty, rank, weighting and moments are judged on inner validation, and the predictions of the leading settings are
averaged, since those that score alike err differently.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from histoquilt.models._image_components import Basis
from histoquilt.models.expression._inner_validation import Choices, Fold, criterion
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.linear._ridge_path import RidgePath
from histoquilt.train import under

N_SETTINGS = 8  # whose predictions are averaged


class Setting(NamedTuple):
    """One way to fit."""

    own_moments: bool
    weighted: bool
    alpha: float
    rank: int | None  # None: not reduced


@dataclass(frozen=True)
class ReducedRankRidge:
    """A fitted linear model.

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
    def restore(cls, stored: dict[str, np.ndarray]) -> "ReducedRankRidge":
        """Take back what :meth:`arrays` gave."""
        kinds = [(own, kind) for own, kind in ((False, "training"), (True, "own")) if f"{kind}.mean" in stored]
        return cls(
            tuple(Basis.restore(own, under(stored, kind)) for own, kind in kinds),
            tuple(stored[f"{kind}.coefficients"] for _, kind in kinds),
            stored["intercept"],
        )


@dataclass(frozen=True)
class LinearFit:
    """What :func:`fit_reduced_rank` returns.

    Attributes
    ----------
    model
        Fitted on all training sections.
    held_out
        For every training section the prediction of the model that had not seen its group.
    settings
        Those averaged, the best first.
    score
        Mean correlation of the best on inner validation.
    inputs
        To fit the same settings on some of the sections.
    """

    model: ReducedRankRidge
    held_out: list[np.ndarray]
    settings: list[Setting]
    score: float
    inputs: "LinearInputs"

    def cross_fit(self, members: Sequence[int], groups: Sequence[str]) -> dict[int, np.ndarray]:
        """Predict every one of some training sections by a model fitted on those of them that are of other groups."""
        predicted: dict[int, np.ndarray] = {}
        for group in dict.fromkeys(groups):
            others = [i for i, of in zip(members, groups, strict=True) if of != group]
            model = self.inputs.average(others, self.settings)
            own = (i for i, of in zip(members, groups, strict=True) if of == group)
            predicted |= {i: model.predict(self.inputs.train[i].x) for i in own}
        return predicted


def fit_reduced_rank(train: list[ImageSection], folds: list[Fold]) -> LinearFit:
    """Choose settings on inner validation and fit the average of the leading ones.

    Parameters
    ----------
    train
        Sections with ``y``.
    folds
        Inner folds: no section is predicted by a model that has seen its group.
    """
    inputs = LinearInputs.of(train)
    weightings = (False, True) if any(one.depth is not None for one in train) else (False,)
    choices = Choices()
    for fold in folds:
        for own in (False, True):
            scores = inputs.scores[own]
            for weighted in weightings:
                path = RidgePath.fit(train, fold.train, scores, weighted)
                for i in fold.held_out:
                    for alpha, rank, values in path.predictions(scores[i]):
                        choices.add(Setting(own, weighted, alpha, rank), criterion(train[i].measured, values))
    settings: list[Setting] = choices.leading(N_SETTINGS)
    held_out: dict[int, np.ndarray] = {}
    for fold in folds:
        fitted = inputs.average(fold.train, settings)
        held_out |= {i: fitted.predict(train[i].x) for i in fold.held_out}
    model = inputs.average(range(len(train)), settings)
    return LinearFit(model, [held_out[i] for i in range(len(train))], settings, choices.best_score, inputs)


@dataclass(frozen=True)
class LinearInputs:
    """Training sections and the scores of their spots, by training moments and by their own."""

    train: list[ImageSection]
    bases: tuple[Basis, Basis]
    scores: dict[bool, list[np.ndarray]]

    @classmethod
    def of(cls, train: list[ImageSection]) -> "LinearInputs":
        """Find the components and compute the scores."""
        bases = (Basis.fit(train, own=False), Basis.fit(train, own=True))
        return cls(train, bases, {basis.own_moments: [basis.scores(one.x) for one in train] for basis in bases})

    def average(self, members: Sequence[int], settings: list[Setting]) -> ReducedRankRidge:
        """Fit every setting on some sections and average: the model is linear, so its coefficients can be."""
        kinds: dict[tuple[bool, bool], list[Setting]] = defaultdict(list)
        for one in settings:
            kinds[one.own_moments, one.weighted].append(one)
        coefficients: dict[bool, np.ndarray] = {}
        intercept = np.zeros(self.train[0].measured.shape[1])
        for (own, weighted), of_kind in kinds.items():
            path = RidgePath.fit(self.train, members, self.scores[own], weighted)
            for one in of_kind:
                slope = path.coefficients(one.alpha, one.rank) / len(settings)
                coefficients[own] = coefficients.get(own, 0) + slope
                intercept += path.intercept / len(settings) - path.mean @ slope
        used = [basis for basis in self.bases if basis.own_moments in coefficients]
        return ReducedRankRidge(
            tuple(used),
            tuple(coefficients[basis.own_moments].astype(np.float32) for basis in used),
            intercept.astype(np.float32),
        )
