"""Training until the embedding is stable, with a history."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
from torch import Tensor

from histoquilt.runtime import Advance
from histoquilt.train._similarity import linear_cka


@dataclass
class History:
    """Losses of every epoch, and why training stopped."""

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
    embed: Callable[[], Tensor],
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
