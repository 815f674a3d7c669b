"""Where mclSTExp starts: the latents of weighted reduced-rank ridge regression, on the image and on the spot side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from histoquilt.models.expression._inner_validation import Choices, Fold, criterion
from histoquilt.models.expression._inputs import ImageSection

ALPHAS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # in units of a hundredth of the scores' total variance
RANKS = (2, 4, 8, 16)


class Start(NamedTuple):
    """One way to start."""

    alpha: float
    rank: int


@dataclass(frozen=True)
class LinearLatents:
    """Latents that both branches can start from; each has unit variance over the expression of the training spots.

    Attributes
    ----------
    image_slope, image_shift
        ``(n_image, n_latents)``, ``(n_latents,)``: from what the image branch sees.
    spot_slope
        ``(n_genes, n_latents)``: from expression less ``mean``.
    mean
        ``(n_genes,)`` weighted mean expression.
    out
        ``(n_latents, n_genes)``: latents times this, plus the mean, is expression.
    """

    image_slope: np.ndarray
    image_shift: np.ndarray
    spot_slope: np.ndarray
    mean: np.ndarray
    out: np.ndarray

    @classmethod
    def fit(
        cls, x: np.ndarray, y: np.ndarray, weights: np.ndarray, alphas: Sequence[float], rank: int
    ) -> list["LinearLatents"]:
        """Fit at every penalty.

        Parameters
        ----------
        x, y
            ``(n_spots, n_image)`` and ``(n_spots, n_genes)``.
        weights
            ``(n_spots,)``.
        alphas, rank
            Penalties, and how many latents at most.
        """
        share = (weights / weights.sum()).astype(np.float64)
        mean_x, mean = share @ x, share @ y
        root = np.sqrt(share)[:, None]
        centred_x, centred_y = root * (x - mean_x), root * (y - mean)
        values, vectors = np.linalg.eigh(centred_x.T @ centred_x)
        values = np.maximum(values, 0)
        unit = 0.01 * float(values.sum()) or 1.0
        inside, products = centred_x @ vectors, vectors.T @ (centred_x.T @ centred_y)
        found = []
        for alpha in alphas:
            slope = products / (values + alpha * unit)[:, None]
            directions = np.linalg.svd(inside @ slope, full_matrices=False)[2][:rank]  # (n_latents, n_genes)
            spread = np.sqrt(((centred_y @ directions.T) ** 2).sum(axis=0))
            spread = np.maximum(spread, 1e-6 * spread.max() + np.finfo(np.float32).tiny)
            image_slope = vectors @ slope @ directions.T / spread
            found.append(
                cls(image_slope, -mean_x @ image_slope, directions.T / spread, mean, spread[:, None] * directions)
            )
        return found


def choose_start(
    train: list[ImageSection], images: list[np.ndarray], weights: list[np.ndarray], folds: list[Fold]
) -> Start:
    """Choose penalty and rank of the linear model by what it predicts of held-out training sections."""
    choices = Choices()
    for fold in folds:
        x, y, w = joined(train, images, weights, fold.train)
        for alpha, latents in zip(ALPHAS, LinearLatents.fit(x, y, w, ALPHAS, RANKS[-1]), strict=True):
            for i in fold.held_out:
                seen = images[i] @ latents.image_slope + latents.image_shift
                for rank in RANKS:
                    values = seen[:, :rank] @ latents.out[:rank] + latents.mean
                    choices.add(Start(alpha, rank), criterion(train[i].measured, values))
    best: Start = choices.best
    return best


def joined(
    train: list[ImageSection], images: list[np.ndarray], weights: list[np.ndarray], members: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return image inputs, expression and weights of some sections, one after the other."""
    return (
        np.concatenate([images[i] for i in members]),
        np.concatenate([train[i].measured for i in members]),
        np.concatenate([weights[i] for i in members]),
    )
