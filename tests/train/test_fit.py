import math
from collections.abc import Callable

import pytest
import torch

from histoquilt.train import fit_until_stable


class Run:
    """Training whose embedding moves from noise towards a fixed one, halving the distance each epoch."""

    def __init__(self, loss: Callable[[int], float] = lambda epoch: 1 / epoch) -> None:
        generator = torch.Generator().manual_seed(0)
        self.goal, self.noise = torch.randn(2, 50, 4, generator=generator)
        self.epoch, self.looks, self.notes, self.loss = 0, 0, [], loss

    def step(self) -> dict[str, float]:
        self.epoch += 1
        return {"loss": self.loss(self.epoch), "feature_loss": 0.5}

    def embed(self) -> torch.Tensor:
        self.looks += 1
        return self.goal + self.noise / 2**self.epoch

    def advance(self, steps: int = 1, *, note: str = "") -> None:
        self.notes.append((steps, note))

    def fit(self, *, max_epochs: int = 100, check_every: int = 1, tolerance: float = 1e-4):
        return fit_until_stable(
            self.step,
            self.embed,
            max_epochs=max_epochs,
            check_every=check_every,
            tolerance=tolerance,
            advance=self.advance,
        )


def test_stops_when_the_embedding_stands_still():
    run = Run()
    history = run.fit()
    assert history.stopped == "converged"
    assert 3 < history.n_epochs == run.epoch < 20
    change = history.frame()["embedding_change"]
    assert change.iloc[-1] < 1e-4
    assert (change.iloc[1:-1] >= 1e-4).all()


def test_a_looser_tolerance_stops_sooner():
    assert Run().fit(tolerance=0.05).n_epochs < Run().fit(tolerance=1e-4).n_epochs


def test_max_epochs_is_the_bound():
    history = Run().fit(max_epochs=3)
    assert (history.stopped, history.n_epochs) == ("max_epochs", 3)


def test_tolerance_zero_never_stops_nor_looks():
    run = Run()
    history = run.fit(max_epochs=60, tolerance=0)
    assert (history.stopped, history.n_epochs, run.looks) == ("max_epochs", 60, 0)
    assert history.frame()["embedding_change"].isna().all()


def test_checks_come_every_so_many_epochs():
    run = Run()
    history = run.fit(check_every=5)
    assert history.n_epochs % 5 == 0
    assert run.looks == history.n_epochs // 5
    frame = history.frame()
    assert frame.loc[frame["embedding_change"].notna(), "epoch"].tolist() == list(range(10, history.n_epochs + 1, 5))


def test_history():
    run = Run()
    frame = run.fit(max_epochs=4, tolerance=0).frame()
    assert frame.columns.tolist() == ["epoch", "loss", "feature_loss", "embedding_change"]
    assert frame["epoch"].tolist() == [1, 2, 3, 4]
    assert frame["loss"].tolist() == [1, 1 / 2, 1 / 3, 1 / 4]
    assert run.notes[1] == (1, "loss 0.500")
    assert len(run.notes) == 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_is_an_error(value):
    run = Run(loss=lambda epoch: value if epoch == 3 else 1.0)
    with pytest.raises(RuntimeError, match=r"Training diverged: the loss is .* in epoch 3. Lower learning_rate"):
        run.fit()
