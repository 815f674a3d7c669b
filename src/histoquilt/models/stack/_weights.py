"""Weights of the members of a stack, from predictions of training sections by models that had not seen them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from histoquilt.models.expression._inner_validation import InnerFold

_STEPS = 10  # weights are tenths
_BLOCK = 64  # genes in double precision at a time


@dataclass(frozen=True)
class Moments:
    """Second moments, gene by gene, of the members' predictions of one section and of what was measured there.

    Correlations of every weighted mean follow from them, without its values.

    Attributes
    ----------
    of_members
        ``(n_members, n_members, n_genes)``
    with_truth
        ``(n_members, n_genes)``
    of_truth
        ``(n_genes,)``
    """

    of_members: np.ndarray
    with_truth: np.ndarray
    of_truth: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, predicted: Sequence[np.ndarray], depth: np.ndarray | None) -> "Moments":
        """Take moments of what is left once the log depth is regressed out, where depths are known.

        Parameters
        ----------
        truth, predicted
            ``(n_spots, n_genes)`` each.
        depth
            Total counts, ``(n_spots,)``.
        """
        values = np.stack([truth, *predicted])  # (1 + n_members, n_spots, n_genes)
        explained = [np.ones(values.shape[1])]
        if depth is not None and (depth > 0).any():  # spots without counts tell nothing
            values, log_depth = values[:, depth > 0], np.log(depth[depth > 0].astype(np.float64))
            explained = [np.ones(len(log_depth))] + ([log_depth] if np.ptp(log_depth) > 1e-12 else [])
        basis = np.linalg.qr(np.stack(explained, axis=1))[0]
        parts = []
        for genes in np.array_split(np.arange(values.shape[2]), -(-values.shape[2] // _BLOCK)):
            block = values[:, :, genes].astype(np.float64)
            block -= basis @ (basis.T @ block)
            parts.append(np.einsum("asg,bsg->abg", block, block))
        moments = np.concatenate(parts, axis=2)
        return cls(moments[1:, 1:], moments[1:, 0], moments[0, 0])

    def score(self, weights: np.ndarray) -> float:
        """Return the mean over genes of the correlation of the weighted mean with what was measured."""
        along = weights @ self.with_truth
        spread = np.sqrt(self.of_truth * np.einsum("a,abg,b->g", weights, self.of_members, weights))
        defined = spread > 1e-9 * max(spread.max(), 1e-300)
        return float(np.divide(along, spread, out=np.zeros_like(along), where=defined).mean())


@dataclass(frozen=True)
class Weights:
    """Weights of the members, and what inner validation says of them.

    Attributes
    ----------
    weights
        ``(n_members,)``, at least 0, with sum 1.
    validated
        True if chosen on inner folds; else they are equal, because the folds could not tell.
    score
        Mean correlation on inner validation, with the measured log depth regressed out where it is known.
    of_members
        The same of every member alone, ``(n_members,)``.
    """

    weights: np.ndarray
    validated: bool
    score: float
    of_members: np.ndarray


def choose_weights(sections: Mapping[int, Moments], folds: Sequence[InnerFold]) -> Weights:
    """Choose the weights that would have predicted the held-out training sections best, or equal ones.

    ``sections`` are those that can be judged, by their number.

    Weights are chosen on all folds but one and tried on that one. If, over the folds, they are not better than equal
    weights by more than the standard error, equal weights are taken.
    """
    numbers = np.array(list(sections))
    n_members = len(sections[numbers[0]].with_truth)
    equal = np.full(n_members, 1 / n_members)
    tried = np.vstack([equal, np.array(list(_simplex(n_members, _STEPS))) / _STEPS])
    scores = np.array([[one.score(weights) for one in sections.values()] for weights in tried])
    gains = []
    for fold in folds:
        held_out = np.isin(numbers, fold.held_out)
        if held_out.any() and not held_out.all():
            best = scores[:, ~held_out].mean(axis=1).argmax()
            gains.append(float((scores[best] - scores[0])[held_out].mean()))
    better = len(gains) > 1 and np.mean(gains) > np.std(gains, ddof=1) / np.sqrt(len(gains))
    best = int(scores.mean(axis=1).argmax()) if better else 0
    alone = np.array([[one.score(weights) for one in sections.values()] for weights in np.eye(n_members)])
    return Weights(tried[best], best > 0, float(scores[best].mean()), alone.mean(axis=1))


def _simplex(n: int, total: int) -> Iterator[tuple[int, ...]]:
    """Yield all ways to share ``total`` among ``n``."""
    if n == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _simplex(n - 1, total - first):
            yield (first, *rest)
