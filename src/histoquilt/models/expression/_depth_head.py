"""Depth head: how many counts a spot will have, by ridge regression of log counts on the inputs of a method.

Depth is what an image tells best, on tissue of an unseen patient too. A model that knows it can separate what it says
of a gene from what it says of all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from histoquilt.models._image_components import Basis
from histoquilt.models._ridge_path import RidgePath
from histoquilt.models.expression._inner_validation import Choices, InnerFold
from histoquilt.models.expression._inputs import ImageSection

_ALPHAS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # in units of the mean squared length of a row of inputs
_N_COMPONENTS, _EXACT = 128, 1000  # of the inputs; exact up to that many spots or inputs
_DEFAULT_ALPHA = 0.1  # if no section with known depth can be held out


@dataclass(frozen=True)
class DepthHead:
    """Ridge regression of log counts per spot, with a free level for every training section.

    Attributes
    ----------
    slope
        ``(n_inputs,)`` float32.
    level
        Prediction for inputs of 0.
    lowest, highest
        Range of the log counts in training; predictions do not leave it.
    """

    slope: np.ndarray
    level: float
    lowest: float
    highest: float

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the natural log of the counts of each spot, float64 ``(n_spots,)``, from ``ImageSection.x``."""
        return np.clip((x @ self.slope).astype(np.float64) + self.level, self.lowest, self.highest)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return everything fitted, for a checkpoint."""
        return {"slope": self.slope, "range": np.array([self.level, self.lowest, self.highest])}

    @classmethod
    def restore(cls, stored: dict[str, np.ndarray]) -> "DepthHead":
        """Rebuild from :meth:`arrays`."""
        return cls(stored["slope"], *map(float, stored["range"]))


def fit_depth_head(train: list[ImageSection], folds: list[InnerFold]) -> tuple[DepthHead, list[np.ndarray]] | None:
    """Fit a depth head; its penalty is chosen on the inner folds.

    Sections without known depth, and spots without a count, are left out of the fit.

    Parameters
    ----------
    train
        Training sections.
    folds
        Inner folds.

    Returns
    -------
    The head, and the predicted log counts of every training section by a head fitted on the other side of its fold
    (their mean if no section of known depth is there); ``None`` if no section has a known depth.
    """
    known = {i for i, section in enumerate(train) if section.has_counts}
    if not known:
        return None
    basis = Basis.fit(train, own=False, n_components=_N_COMPONENTS, exact=_EXACT)
    scores = [basis.scores(section.x) for section in train]
    choices = Choices()
    for fold in folds:
        members = [i for i in fold.train if i in known]
        held_out = [i for i in fold.held_out if i in known]
        if members and held_out:
            path = _path(train, scores, members)
            for i in held_out:
                there, truth = _log_counts(train[i])
                if np.ptp(truth) == 0:
                    continue  # any prediction is as good as another
                for alpha, _, values in path.predictions(scores[i][there], _ALPHAS):
                    error = truth - truth.mean() - (values[:, 0] - values.mean())
                    choices.add(alpha, -float((error**2).mean() / truth.var()))
    alpha = choices.best if choices.leading(1) else _DEFAULT_ALPHA
    predicted: dict[int, np.ndarray] = {}
    for fold in folds:
        head = _fit(train, scores, [i for i in fold.train if i in known] or sorted(known), basis, alpha)
        blind = not known & set(fold.train)
        for i in fold.held_out:
            values = head.predict(train[i].x)
            predicted[i] = np.full(len(values), values.mean()) if blind else values
    return _fit(train, scores, sorted(known), basis, alpha), [predicted[i] for i in range(len(train))]


def _fit(
    train: list[ImageSection], scores: list[np.ndarray], members: Sequence[int], basis: Basis, alpha: float
) -> DepthHead:
    of_scores, shift = _path(train, scores, members).coefficients(alpha)
    slope = basis.components.astype(np.float64) @ of_scores[:, 0] / basis.scale
    logs = [_log_counts(train[i])[1] for i in members]
    level = np.mean([log.mean() for log in logs]) + shift[0] - basis.mean @ slope
    joined = np.concatenate(logs)
    return DepthHead(slope.astype(np.float32), float(level), float(joined.min()), float(joined.max()))


def _path(train: list[ImageSection], scores: list[np.ndarray], members: Sequence[int]) -> RidgePath:
    """Decompose the inputs of spots with counts; log counts are taken relative to their section."""
    found = {i: _log_counts(train[i]) for i in members}
    x = np.concatenate([scores[i][there] for i, (there, _) in found.items()])
    return RidgePath.fit(x, np.concatenate([log - log.mean() for _, log in found.values()])[:, None])


def _log_counts(section: ImageSection) -> tuple[np.ndarray, np.ndarray]:
    """Return which spots have counts, ``(n_spots,)`` bool, and the log counts of these."""
    there = section.counted_depth > 0
    return there, np.log(section.counted_depth[there])
