"""Resumable training for a number of epochs."""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from histoquilt.runtime import logger
from histoquilt.train._checkpoint import TrainingCheckpoint, strip_prefix

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# prefixes of tensors in the checkpoint
_STEP, _SEEN = "step", "seen"
_NETWORK, _OPTIMISER, _GENERATOR = "network", "optimiser", "generator"


class Step(Protocol):
    """One epoch of training, which can be saved and resumed in another process.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.train import run_epochs
    >>> class Halve:
    ...     loss = 8.0
    ...     def __call__(self):
    ...         self.loss /= 2
    ...         return {"loss": self.loss}
    ...     def state(self):
    ...         return {"loss": torch.tensor(self.loss)}
    ...     def restore(self, state):
    ...         self.loss = float(state["loss"])
    >>> list(run_epochs(Halve(), torch.nn.Linear(1, 1), 3, looks=(), checkpoint=None))
    [(1, {'loss': 4.0}), (2, {'loss': 2.0}), (3, {'loss': 1.0})]
    """

    def __call__(self) -> dict[str, float]:
        """Run the epoch; return its losses by name, including ``loss``."""
        ...

    def state(self) -> "dict[str, Tensor]":
        """Return the state that further epochs depend on."""
        ...

    def restore(self, state: "Mapping[str, Tensor]") -> None:
        """Restore a saved state."""
        ...


def run_epochs(
    step: Step,
    network: "torch.nn.Module",
    n_epochs: int,
    *,
    looks: Collection[int],
    checkpoint: TrainingCheckpoint | None,
) -> Iterator[tuple[int, dict[str, float]]]:
    """Run epochs; after each, yield its number (from 1) and its losses.

    When training is resumed, epochs of the earlier run are yielded without being computed, those in ``looks`` with the
    weights of that time.

    Parameters
    ----------
    step
        Function that runs one epoch.
    network
        Network that ``step`` trains.
    n_epochs
        Number of epochs.
    looks
        Epochs, other than the last, after which the caller uses the weights.
    checkpoint
        Checkpoint that is written at intervals and at the end, or ``None``.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.train import TrainingCheckpoint, run_epochs
    >>> class Count:
    ...     done = 0
    ...     def __call__(self):
    ...         self.done += 1
    ...         return {"loss": 1 / self.done}
    ...     def state(self):
    ...         return {"done": torch.tensor(self.done)}
    ...     def restore(self, state):
    ...         self.done = int(state["done"])
    >>> network, path = torch.nn.Linear(1, 1), getfixture("tmp_path") / "seed0.safetensors"
    >>> for n_epochs in (2, 4):  # the second run computes two epochs
    ...     step, checkpoint = Count(), TrainingCheckpoint(path, {"seed": 0}, torch.device("cpu"))
    ...     epochs = run_epochs(step, network, n_epochs, looks=(), checkpoint=checkpoint)
    ...     [row["loss"] for _, row in epochs]
    [1.0, 0.5]
    [1.0, 0.5, 0.3333333333333333, 0.25]
    """
    seen: dict[str, Tensor] = {}
    rows: list[dict[str, float]] = []
    saved = None if checkpoint is None else checkpoint.read()
    if saved is not None:
        rows = saved.facts["rows"]
        logger.info("Resuming an interrupted run after %d epochs of training.", len(rows))
        seen = strip_prefix(saved.tensors, _SEEN)
        for epoch, row in enumerate(rows, start=1):
            if epoch in looks:
                network.load_state_dict(strip_prefix(seen, str(epoch)))
            if epoch == len(rows):
                step.restore(strip_prefix(saved.tensors, _STEP))
            yield epoch, row
    for epoch in range(len(rows) + 1, n_epochs + 1):
        rows.append(step())
        if checkpoint is not None:
            if epoch in looks:
                seen |= {f"{epoch}.{name}": value.clone() for name, value in network.state_dict().items()}
            if checkpoint.due or epoch == n_epochs:
                of_step = {f"{_STEP}.{name}": value for name, value in step.state().items()}
                of_looks = {f"{_SEEN}.{name}": value for name, value in seen.items()}
                checkpoint.write(of_step | of_looks, {"rows": rows})
        yield epoch, rows[-1]


def training_tensors(
    network: "torch.nn.Module", optimiser: "torch.optim.Optimizer", generator: "torch.Generator"
) -> "dict[str, Tensor]":
    """Return the state of training by name; the tensors are not copied.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.train import training_tensors
    >>> network = torch.nn.Linear(2, 1)
    >>> list(training_tensors(network, torch.optim.SGD(network.parameters(), lr=0.1), torch.Generator()))
    ['network.weight', 'network.bias', 'generator']
    """
    tensors = {f"{_NETWORK}.{name}": value for name, value in network.state_dict().items()}
    for number, of_weight in optimiser.state_dict()["state"].items():
        tensors |= {f"{_OPTIMISER}.{number}.{name}": value for name, value in of_weight.items()}
    return tensors | {_GENERATOR: generator.get_state()}


def restore_training(
    tensors: "Mapping[str, Tensor]",
    network: "torch.nn.Module",
    optimiser: "torch.optim.Optimizer",
    generator: "torch.Generator",
) -> None:
    """Restore the state from :func:`training_tensors`; other names are ignored.

    Examples
    --------
    >>> import torch
    >>> from histoquilt.train import restore_training, training_tensors
    >>> network, generator = torch.nn.Linear(2, 1), torch.Generator()
    >>> optimiser = torch.optim.Adam(network.parameters())
    >>> saved = {name: value.clone() for name, value in training_tensors(network, optimiser, generator).items()}
    >>> before = torch.rand(1, generator=generator)
    >>> restore_training(saved, network, optimiser, generator)
    >>> bool(torch.rand(1, generator=generator) == before)
    True
    """
    network.load_state_dict(strip_prefix(tensors, _NETWORK))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in strip_prefix(tensors, _OPTIMISER).items():
        number, _, moment = name.partition(".")
        moments.setdefault(int(number), {})[moment] = value
    optimiser.load_state_dict({"state": moments, "param_groups": optimiser.state_dict()["param_groups"]})
    generator.set_state(tensors[_GENERATOR])
