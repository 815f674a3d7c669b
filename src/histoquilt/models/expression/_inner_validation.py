"""Choices inside training: groups of training sections left out in turn, and the score by which settings are chosen."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from histoquilt import train
from histoquilt.gr import neighbour_means
from histoquilt.metrics import depth_adjusted_correlation

if TYPE_CHECKING:
    from histoquilt.models.expression._inputs import ImageSection

MAX_FOLDS = 5
MAX_JUDGED = 2_000  # held-out spots of a fold on which settings are tried: more cost time and choose the same
_LEAST_SPOTS = 500  # spots of a section that are enough to judge settings
NEAR_ZERO = 0.05  # median correlation over genes below which a model is said to predict nothing of a gene


@dataclass(frozen=True)
class InnerFold:
    """Numbers of the training sections to fit on and of those to look at."""

    train: tuple[int, ...]
    held_out: tuple[int, ...]


def inner_folds(groups: Sequence[str]) -> list[InnerFold]:
    """Leave out one group of training sections after the other, in at most five folds.

    Parameters
    ----------
    groups
        Group of every training section: its patient, or its own name. Sections of one group stay together.

    Returns
    -------
    Folds in which every section is held out exactly once. With more than five groups a fold holds several out.

    Raises
    ------
    ValueError
        There is only one group.

    Examples
    --------
    >>> [fold.held_out for fold in inner_folds(["A", "A", "B"])]
    [(0, 1), (2,)]
    """
    names = list(dict.fromkeys(groups))
    if len(names) < 2:
        raise ValueError(f"Inner validation needs at least two groups of training sections, got {names}.")
    numbers = {str(number): group for number, group in enumerate(groups)}
    return [
        InnerFold(tuple(map(int, split.train)), tuple(map(int, split.test)))
        for split in train.inner_folds(numbers, numbers, max_folds=MAX_FOLDS)
    ]


def part_of_sections(
    train: "Sequence[ImageSection]", numbers: Sequence[int], most: int | None = None, *, whole: bool = False
) -> list[tuple[int, slice]]:
    """Return sections of at most about ``most`` spots in all, and the spots to take of each.

    Settings are chosen on a part of a large study. Of many sections some are taken, evenly; of large ones every
    second, third, ... spot.

    Parameters
    ----------
    train
        Training sections.
    numbers
        Numbers of the sections to take from.
    most
        Number of spots, by default 2,000. If the sections have no more, all are taken.
    whole
        If true, every spot of the sections that are taken, because their neighbours are needed.
    """
    most = MAX_JUDGED if most is None else most
    if sum(len(train[i].x) for i in numbers) <= most:
        return [(i, slice(None)) for i in numbers]
    taken = np.unique(np.linspace(0, len(numbers) - 1, min(len(numbers), most // _LEAST_SPOTS)).astype(int))
    steps = [1 if whole else max(1, -(-len(train[numbers[k]].x) * len(taken) // most)) for k in taken]
    return [(numbers[k], slice(None, None, step)) for k, step in zip(taken, steps, strict=True)]


def gene_correlations(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Pearson correlation over the spots of one section, gene by gene, ``(n_genes,)``; 0 where it is undefined."""
    truth = truth - truth.mean(axis=0, dtype=np.float64)
    predicted = predicted - predicted.mean(axis=0, dtype=np.float64)
    spread = np.sqrt((truth**2).sum(axis=0) * (predicted**2).sum(axis=0))
    # a prediction that is constant but for rounding has no correlation
    size = np.sqrt(len(truth)) * np.finfo(np.float32).eps
    defined = spread > size**2
    product = (truth * predicted).sum(axis=0)
    return np.divide(product, spread, out=np.zeros_like(spread), where=defined)


def correlations_at_equal_depth(truth: np.ndarray, predicted: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """:func:`histoquilt.metrics.depth_adjusted_correlation` from total counts; spots without counts are left out."""
    with np.errstate(divide="ignore"):
        return depth_adjusted_correlation(truth, predicted, np.log(depth.astype(np.float64)))


def criterion(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Return what settings are chosen by: the mean over genes of the correlation inside one held-out section."""
    return float(gene_correlations(truth, predicted).mean())


class Choices:
    """Scores of settings over held-out sections, and the settings that did best.

    Examples
    --------
    >>> choices = Choices()
    >>> for setting, score in [("a", 0.1), ("b", 0.3), ("a", 0.2), ("b", 0.2)]:
    ...     choices.add(setting, score)
    >>> choices.best
    'b'
    """

    def __init__(self) -> None:
        self._scores: dict[Hashable, list[float]] = {}

    def add(self, setting: Hashable, score: float) -> None:
        """Record the score of a setting on one held-out section."""
        self._scores.setdefault(setting, []).append(score)

    @property
    def best(self) -> Any:
        """The setting of highest mean score; of equal ones the first that was tried."""
        return max(self._scores, key=lambda setting: float(np.mean(self._scores[setting])))

    def leading(self, n: int) -> list[Any]:
        """Return the ``n`` settings of highest mean score, best first; of equal ones the first that was tried."""
        return sorted(self._scores, key=lambda setting: -float(np.mean(self._scores[setting])))[:n]

    @property
    def best_score(self) -> float:
        """Its mean score."""
        return float(np.mean(self._scores[self.best]))


@dataclass(frozen=True)
class Reliability:
    """How well each gene was predicted on training sections that were held out.

    Attributes
    ----------
    correlation
        ``(n_genes,)`` mean over held-out sections; NaN where the method kept no held-out predictions.
    adjusted
        The same at equal depth (:func:`histoquilt.metrics.depth_adjusted_correlation`), over sections with raw counts;
        NaN where there are none.
    beats_mean
        ``(n_genes,)`` bool: squared error below that of the mean of the sections trained on.
    n_folds
        Folds behind it; 0 for none.
    """

    correlation: np.ndarray
    adjusted: np.ndarray
    beats_mean: np.ndarray
    n_folds: int

    def summary(self) -> dict[str, Any]:
        """Return scores over genes, ready for JSON; None where they are not known.

        ``pcc_median``, ``pcc_median_adjusted`` (at equal depth), ``n_genes``, ``n_beats_mean``, ``n_folds``.
        """
        known = self.n_folds > 0
        return {
            "pcc_median": float(np.median(self.correlation)) if known else None,
            "pcc_median_adjusted": None if np.isnan(self.adjusted).any() else float(np.median(self.adjusted)),
            "n_genes": len(self.correlation),
            "n_beats_mean": int(self.beats_mean.sum()) if known else None,
            "n_folds": self.n_folds,
        }

    @property
    def caution(self) -> str:
        """What to know before the prediction of a typical gene is used; empty if it is reliable at equal depth."""
        if np.isnan(self.adjusted).any() or np.median(self.adjusted) >= NEAR_ZERO or not self.correlation.any():
            return ""  # not known, or reliable, or a constant, which claims nothing
        numbers = (
            f"In held-out training sections the median gene correlates with its measurement by "
            f"{np.median(self.correlation):.2f}, and by {np.median(self.adjusted):.2f} between spots of equal depth"
        )
        if np.median(self.correlation) < NEAR_ZERO:
            return f"{numbers}: this model predicts next to nothing of most genes."
        return f"{numbers}: what this model distinguishes between spots is mostly how many counts they have."


def reliability(
    truth: list[np.ndarray],
    held_out: list[np.ndarray] | None,
    folds: list[InnerFold],
    depths: Sequence[np.ndarray | None],
) -> Reliability:
    """Score held-out predictions of the training sections gene by gene.

    Parameters
    ----------
    truth
        Expression of every training section, ``(n_spots, n_genes)``.
    held_out
        Prediction for each section by the model that had not seen its group; ``None`` if a method keeps none.
    folds
        Folds of these predictions.
    depths
        Total counts of the spots of every section; ``None`` without raw counts.
    """
    n_genes = truth[0].shape[1]
    unknown = np.full(n_genes, np.nan)
    if held_out is None:
        return Reliability(unknown, unknown, np.zeros(n_genes, dtype=bool), 0)
    correlation = np.mean([gene_correlations(y, p) for y, p in zip(truth, held_out, strict=True)], axis=0)
    adjusted = [
        correlations_at_equal_depth(y, p, depth)
        for y, p, depth in zip(truth, held_out, depths, strict=True)
        if depth is not None
    ]
    of_model, of_mean = np.zeros(n_genes), np.zeros(n_genes)
    for fold in folds:
        mean = np.concatenate([truth[i] for i in fold.train]).mean(axis=0, dtype=np.float64)
        for i in fold.held_out:
            of_model += ((truth[i] - held_out[i].astype(np.float64)) ** 2).sum(axis=0)
            of_mean += ((truth[i] - mean) ** 2).sum(axis=0)
    # by more than rounding, which would let the mean beat itself
    beats_mean = of_model < (1 - 1e-6) * of_mean
    return Reliability(correlation, np.mean(adjusted, axis=0) if adjusted else unknown, beats_mean, len(folds))


def smooth(values: np.ndarray, adjacency: csr_matrix, steps: int) -> np.ndarray:
    """Average every spot with its neighbours, ``steps`` times; itself counts as one of them.

    Parameters
    ----------
    values
        ``(n_spots, n_columns)``.
    adjacency
        ``(n_spots, n_spots)`` binary, no self loops.
    """
    if steps == 0:
        return values
    means = neighbour_means(adjacency, itself=True)
    for _ in range(steps):
        values = means @ values
    return values.astype(np.float32, copy=False)
