"""The fit loop: steps until the embedding no longer changes, with a history of what happened."""

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
    """What happened in training, a row an epoch.

    Attributes
    ----------
    rows
        One dict per epoch: ``epoch``, the named losses, and ``embedding_change`` where it was measured.
    stopped
        ``converged``: the embedding no longer changed; ``max_epochs``: the bound was reached first.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    stopped: Literal["converged", "max_epochs"] = "max_epochs"

    @property
    def n_epochs(self) -> int:
        """Number of epochs run."""
        return len(self.rows)

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table; ``embedding_change`` is NaN where it was not measured."""
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
    """Run ``step`` until the embedding is stable.

    Every ``check_every`` epochs the embedding is compared with the one of the last check; when ``1 - linear_cka`` falls
    below ``tolerance`` training stops. A tolerance of 0 never stops early.

    Parameters
    ----------
    step
        Function that makes one epoch and returns its losses by name, ``loss`` among them.
    embed
        The embedding as it stands, ``(n_spots, n_latent)``, without dropout.
    max_epochs, check_every
        Bound, and epochs between two checks.
    tolerance
        Largest change between two checks that counts as none.
    advance
        Moves a progress bar.

    Returns
    -------
    The history, a row an epoch.

    Raises
    ------
    RuntimeError
        The loss is NaN or infinite: training has diverged, and what it would leave behind is worthless.
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
