"""The fit loop: steps until the embedding no longer changes, with a history of what happened."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import pandas as pd
from torch import Tensor

from histoquilt.runtime import Advance, logger
from histoquilt.train._checkpoint import TrainingCheckpoint, under
from histoquilt.train._similarity import linear_cka

_STEP, _BEFORE = "step", "before"  # names of what is kept


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


class Step(Protocol):
    """One epoch of training, which says where it stands, so that another process can go on from there."""

    def __call__(self) -> dict[str, float]:
        """Make the step; return its losses by name, ``loss`` among them."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return all that further steps depend on."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Set a new step of the same job to where :meth:`state` was asked."""
        ...


def fit_until_stable(
    step: Step,
    embed: Callable[[], Tensor],
    *,
    max_epochs: int,
    check_every: int,
    tolerance: float,
    advance: Advance,
    checkpoint: TrainingCheckpoint | None = None,
) -> History:
    """Run ``step`` until the embedding is stable.

    Every ``check_every`` epochs the embedding is compared with the one of the last check; when ``1 - linear_cka`` falls
    below ``tolerance`` training stops. A tolerance of 0 never stops early.

    Parameters
    ----------
    step
        One epoch.
    embed
        The embedding as it stands, ``(n_spots, n_latent)``, without dropout.
    max_epochs, check_every
        Bound, and epochs between two checks.
    tolerance
        Largest change between two checks that counts as none.
    advance
        Moves a progress bar.
    checkpoint
        Where training is kept at intervals, when the embedding is looked at, and at its end; training that was kept
        there is taken up. ``step`` and embedding end up the same bit for bit on CPU. Without it nothing is kept.

    Returns
    -------
    The history, a row an epoch, those of an interrupted run among them.

    Raises
    ------
    RuntimeError
        The loss is NaN or infinite: training has diverged, and what it would leave behind is worthless.
    """
    history, before, ended = _take_up(step, checkpoint, advance)
    if ended:
        return history
    for epoch in range(history.n_epochs + 1, max_epochs + 1):
        row = {"epoch": float(epoch), **step(), "embedding_change": float("nan")}
        history.rows.append(row)
        if not math.isfinite(row["loss"]):
            raise RuntimeError(
                f"Training diverged: the loss is {row['loss']} in epoch {epoch}. Lower learning_rate in the config, "
                "and check the features for extreme values."
            )
        advance(note=f"loss {row['loss']:.3f}")
        if epoch % check_every:
            continue
        if tolerance > 0:
            now = embed()
            if before is not None:
                row["embedding_change"] = 1 - linear_cka(before.to(now.device), now)
                if row["embedding_change"] < tolerance:
                    history.stopped = "converged"
                    break
            before = now
        if checkpoint is not None and checkpoint.due:
            _keep(checkpoint, step, history, before, ended=False)
    if checkpoint is not None:
        _keep(checkpoint, step, history, None, ended=True)
    return history


def _keep(checkpoint: TrainingCheckpoint, step: Step, history: History, before: Tensor | None, *, ended: bool) -> None:
    tensors = {f"{_STEP}.{name}": value for name, value in step.state().items()}
    if before is not None:
        tensors[_BEFORE] = before
    checkpoint.write(tensors, {"rows": history.rows, "stopped": history.stopped, "ended": ended})


def _take_up(
    step: Step, checkpoint: TrainingCheckpoint | None, advance: Advance
) -> tuple[History, Tensor | None, bool]:
    """Return history, the embedding at the last look, and whether training had ended; set ``step`` to where it was."""
    kept = None if checkpoint is None else checkpoint.read()
    if kept is None:
        return History(), None, False
    step.restore(under(kept.tensors, _STEP))
    history = History(kept.facts["rows"], kept.facts["stopped"])
    advance(history.n_epochs)
    logger.info("%d epochs of training were kept by an interrupted run.", history.n_epochs)
    return history, kept.tensors.get(_BEFORE), kept.facts["ended"]
