"""Training until the embedding is stable, with a history."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pandas as pd

from histoquilt.runtime import Advance

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class History:
    """Losses of every epoch, and why training stopped.

    Examples
    --------
    >>> from histoquilt.train import History
    >>> history = History([{"epoch": 1, "loss": 0.9}, {"epoch": 2, "loss": 0.4}], stopped="converged")
    >>> history.n_epochs, history.frame()["loss"].tolist()
    (2, [0.9, 0.4])
    """

    rows: list[dict[str, float]] = field(default_factory=list)  # epoch, losses by name, and embedding_change or NaN
    stopped: Literal["converged", "max_epochs"] = "max_epochs"

    @property
    def n_epochs(self) -> int:
        """Number of epochs run."""
        return len(self.rows)

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table."""
        return pd.DataFrame(self.rows)


def fit_until_stable(
    step: Callable[[], dict[str, float]],
    embed: "Callable[[], Tensor]",
    *,
    max_epochs: int,
    check_every: int,
    tolerance: float,
    advance: Advance,
) -> History:
    """Run ``step`` until the embedding is stable, and return the history.

    Parameters
    ----------
    step
        Function that runs one epoch and returns its losses by name, including ``loss``.
    embed
        Function that returns the current embedding, ``(n_spots, n_latent)``, without dropout.
    max_epochs, check_every
        Largest number of epochs, and epochs between two checks.
    tolerance
        Training stops when ``1 - linear_cka`` of the embeddings at two checks falls below it; with 0 never.
    advance
        Function that advances a progress bar.

    Raises
    ------
    RuntimeError
        Training diverged: the loss is NaN or infinite.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.train import fit_until_stable
    >>> losses = iter([0.9, 0.5, 0.4, 0.4, 0.4, 0.4])
    >>> history = fit_until_stable(
    ...     lambda: {"loss": next(losses)}, lambda: torch.eye(3), max_epochs=6, check_every=2, tolerance=1e-3,
    ...     advance=lambda note: None,
    ... )
    >>> history.n_epochs, history.stopped
    (4, 'converged')
    """
    history, before = History(), None
    for epoch in range(1, max_epochs + 1):
        row = {"epoch": float(epoch), **step(), "embedding_change": float("nan")}
        history.rows.append(row)
        if not math.isfinite(row["loss"]):
            raise RuntimeError(
                f"Training diverged: the loss is {row['loss']} in epoch {epoch}. Lower learning_rate in the config, "
                "and check the features for extreme values."
            )
        advance(note=f"loss {row['loss']:.3f}")
        if epoch % check_every or tolerance == 0:
            continue
        now = embed()
        if before is not None:
            row["embedding_change"] = 1 - linear_cka(before.to(now.device), now)
            if row["embedding_change"] < tolerance:
                history.stopped = "converged"
                break
        before = now
    return history


def linear_cka(a: "Tensor", b: "Tensor") -> float:
    """Return the linear centred kernel alignment of two embeddings: 0 unrelated, 1 equal up to rotation and scale.

    Kornblith et al., ICML 2019, section 3, eq. 2, computed from feature covariances. a, b: ``(n_spots, n_features)``
    with any number of features. Embeddings in which all spots are equal have alignment 1 to each other, else 0.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.train import linear_cka
    >>> a = torch.tensor([[1.0, 0], [0, 1], [0, 0]])
    >>> round(linear_cka(a, 3 * a[:, [1, 0]]), 4)  # turned and enlarged
    1.0
    >>> round(linear_cka(a, torch.tensor([[0.0], [0], [1]])), 4)
    0.3162
    """
    import torch

    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    own_a, own_b = torch.linalg.matrix_norm(a.T @ a), torch.linalg.matrix_norm(b.T @ b)
    if own_a == 0 or own_b == 0:
        return float(own_a == own_b)
    shared = torch.linalg.matrix_norm(a.T @ b) ** 2
    return float((shared / (own_a * own_b)).clamp(max=1.0))  # rounding may exceed 1; NaN stays NaN
