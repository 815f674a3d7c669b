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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.sparse.linalg import svds

from histoweave.models._expression_checkpoint import under
from histoweave.models._expression_inputs import ImageSection
from histoweave.models._inner_validation import Choices, Fold, criterion

ALPHAS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # in units of the mean eigenvalue times 100
RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
N_SETTINGS = 8  # whose predictions are averaged
MAX_COMPONENTS = 512
_SHALLOW = 0.3  # c above
_FEW_SPOTS = 20  # a section of so many spots is standardised half by its own, half by the training moments
_LEAST_SCALE = 0.3  # of the training scale: a column that hardly varies in a section is not blown up


class Setting(NamedTuple):
    """One way to fit."""

    own_moments: bool
    weighted: bool
    alpha: float
    rank: int | None  # None: not reduced


def own_moments(x: np.ndarray) -> np.ndarray:
    """Standardise a section's inputs by its own moments, shrunk to those of training where it has few spots.

    Parameters
    ----------
    x
        ``(n_spots, n_inputs)``, standardised with the training moments.
    """
    trust = len(x) / (len(x) + _FEW_SPOTS)
    variance = trust * x.var(axis=0) + (1 - trust)
    return (x - trust * x.mean(axis=0)) / np.maximum(np.sqrt(variance), _LEAST_SCALE)


def spot_weights(section: ImageSection) -> np.ndarray:
    """Return how much each spot's measurement counts, ``(n_spots,)``; all alike where depth is not known."""
    if section.depth is None:
        return np.ones(len(section.x))
    return section.depth / (section.depth + _SHALLOW * np.median(section.depth))


@dataclass(frozen=True)
class Basis:
    """Principal components of the inputs of training sections.

    Attributes
    ----------
    own_moments
        Whether sections are standardised by their own moments first.
    mean
        ``(n_inputs,)``
    components
        ``(n_inputs, n_components)`` orthonormal columns, by falling variance.
    scale
        Root mean square of all the training scores: dividing by it makes scores comparable between bases.
    """

    own_moments: bool
    mean: np.ndarray
    components: np.ndarray
    scale: float

    @classmethod
    def fit(cls, train: Sequence[ImageSection], own: bool) -> "Basis":
        """Find the components, at most 512, of all spots."""
        x = np.concatenate([own_moments(one.x) if own else one.x for one in train])
        mean = x.mean(axis=0)
        x = x - mean
        n_components = min(MAX_COMPONENTS, *x.shape)
        if n_components < min(x.shape):
            start = np.ones(min(x.shape), dtype=x.dtype)  # svds would draw one
            vectors = svds(x, k=n_components, v0=start, return_singular_vectors="vh")[2][::-1].T
        elif x.shape[0] < x.shape[1]:
            values, left = np.linalg.eigh((x @ x.T).astype(np.float64))
            keep = values > 1e-9 * values[-1]
            vectors = (x.T @ (left[:, keep] / np.sqrt(values[keep])))[:, ::-1]
        else:
            vectors = np.linalg.eigh((x.T @ x).astype(np.float64))[1][:, ::-1]
        components = np.ascontiguousarray(vectors, dtype=np.float32)
        scale = float(np.sqrt(((x @ components) ** 2).mean()))
        return cls(own, mean, components, scale or 1.0)

    def first(self, n_components: int) -> "Basis":
        """Return the leading components alone."""
        return replace(self, components=np.ascontiguousarray(self.components[:, :n_components]))

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return ``(n_spots, n_components)`` of inputs ``(n_spots, n_inputs)`` standardised with training moments."""
        moved = own_moments(x) if self.own_moments else x
        return ((moved - self.mean) @ self.components) / self.scale

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything fitted, for a checkpoint."""
        return {"mean": self.mean, "components": self.components, "scale": np.array(self.scale)}

    @classmethod
    def restore(cls, own: bool, stored: dict[str, np.ndarray]) -> "Basis":
        """Take back what :meth:`arrays` gave."""
        return cls(own, stored["mean"], stored["components"], float(stored["scale"]))


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
        predicted = {}
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
                path = _Path.fit(train, fold.train, scores, weighted)
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
            path = _Path.fit(self.train, members, self.scores[own], weighted)
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


@dataclass(frozen=True)
class _Path:
    """Weighted ridge regression at every penalty and rank, from one eigendecomposition.

    Attributes
    ----------
    mean, intercept
        Weighted means of scores and of expression.
    values, vectors
        Of the weighted covariance of the scores, ``(n_components,)`` and ``(n_components, n_components)``.
    products
        ``vectors.T @ x.T @ y``, ``(n_components, n_genes)``.
    unit
        Of the penalty.
    """

    mean: np.ndarray
    intercept: np.ndarray
    values: np.ndarray
    vectors: np.ndarray
    products: np.ndarray
    unit: float

    @classmethod
    def fit(
        cls, train: list[ImageSection], members: Sequence[int], scores: list[np.ndarray], weighted: bool
    ) -> "_Path":
        x = np.concatenate([scores[i] for i in members]).astype(np.float64)
        y = np.concatenate([train[i].measured for i in members]).astype(np.float64)
        weights = np.concatenate([spot_weights(train[i]) if weighted else np.ones(len(train[i].x)) for i in members])
        weights /= weights.sum()
        mean, intercept = weights @ x, weights @ y
        x -= mean
        root = np.sqrt(weights)[:, None]
        values, vectors = np.linalg.eigh((root * x).T @ (root * x))
        products = vectors.T @ ((weights[:, None] * x).T @ (y - intercept))
        values = np.maximum(values, 0)
        return cls(mean, intercept, values, vectors, products, 1e-2 * float(values.sum()) or 1.0)

    def _slopes(self, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients in the eigenbasis, and directions among the genes by falling fitted variance."""
        slope = self.products / (self.values + alpha * self.unit)[:, None]
        fitted = np.sqrt(self.values)[:, None] * slope  # has the Gram matrix of the fitted values
        n_rows, n_genes = fitted.shape
        if n_rows < n_genes:
            values, left = np.linalg.eigh(fitted @ fitted.T)
            size = np.sqrt(np.maximum(values, values[-1] * 1e-12 + 1e-300))
            directions = (left / size).T[::-1][: RANKS[-1]] @ fitted
        else:
            directions = np.linalg.eigh(fitted.T @ fitted)[1].T[::-1][: RANKS[-1]]
        return slope, directions

    def predictions(self, scores: np.ndarray) -> Iterator[tuple[float, int | None, np.ndarray]]:
        """Yield penalty, rank and prediction ``(n_spots, n_genes)`` for every setting of the path."""
        inside = (scores - self.mean) @ self.vectors
        for alpha in ALPHAS:
            slope, directions = self._slopes(alpha)
            full = inside @ slope
            yield alpha, None, full + self.intercept
            along = full @ directions.T
            for rank in RANKS:
                if rank < len(directions):
                    yield alpha, rank, along[:, :rank] @ directions[:rank] + self.intercept

    def coefficients(self, alpha: float, rank: int | None) -> np.ndarray:
        """Return ``(n_components, n_genes)``."""
        slope, directions = self._slopes(alpha)
        slope = self.vectors @ slope
        return slope if rank is None else slope @ directions[:rank].T @ directions[:rank]
