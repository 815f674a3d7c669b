"""Fit of SpaHGC's network, with the number of epochs chosen on left-out training sections."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from histoquilt.models._image_components import Basis
from histoquilt.models._ridge_path import spot_weights
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, InnerFold, criterion
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.models.spahgc._graph import NetworkSection, ReferenceBank, build_graph, search_directions
from histoquilt.models.spahgc._network import SpaHGCNetwork
from histoquilt.models.spahgc._training import build_network, network_predicts, train_epochs
from histoquilt.runtime import Advance, logger
from histoquilt.train import TrainingCheckpoint, strip_prefix


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network with its inputs and references."""

    basis: Basis | None  # principal components of the inputs; None for the inputs themselves
    network: SpaHGCNetwork
    bank: ReferenceBank
    directions: np.ndarray | None  # in which references are searched; None for the inputs themselves
    n_epochs: int

    def predict(self, section: ImageSection, config: SpaHGCConfig, device: torch.device) -> np.ndarray:
        """Return ``(n_spots, n_genes)`` float32."""
        target = _as_target(section, _features(self.basis, section))
        return network_predicts(self.network, build_graph(target, self.bank, self.directions, config, device))

    def state(self) -> MethodState:
        """Return the fitted state, for :meth:`restore`."""
        basis = {} if self.basis is None else {f"basis.{name}": value for name, value in self.basis.arrays().items()}
        bank = {f"bank.{name}": getattr(self.bank, name) for name in ("x", "expression", "group")}
        search = {} if self.directions is None else {"directions": self.directions}
        own = self.basis is not None and self.basis.own_moments
        settings = {"n_epochs": self.n_epochs, "groups": list(self.bank.groups), "own_moments_of_components": own}
        return MethodState(self.network.state_dict(), basis | bank | search, settings)

    @classmethod
    def restore(cls, state: MethodState, config: SpaHGCConfig, device: torch.device) -> "TrainedNetwork":
        """Rebuild from :meth:`state`."""
        basis = strip_prefix(state.arrays, "basis")
        bank = ReferenceBank(**strip_prefix(state.arrays, "bank"), groups=tuple(state.settings["groups"]))
        network = build_network(bank.x.shape[1], bank.expression.shape[1], config, seed=0)
        network.load_state_dict(state.weights)
        network.to(device).eval()
        own = state.settings["own_moments_of_components"]
        return cls(
            Basis.restore(own, basis) if basis else None,
            network,
            bank,
            state.arrays.get("directions"),
            state.settings["n_epochs"],
        )


@dataclass(frozen=True)
class NetworkFit:
    """Result of :func:`fit_network`."""

    trained: TrainedNetwork  # fitted on all training sections
    score: float | None  # mean correlation on inner validation; None if there are too few sections for it
    held_out: dict[int, np.ndarray]  # index of a training section -> prediction without its group


def fit_network(
    train: list[ImageSection],
    folds: list[InnerFold],
    config: SpaHGCConfig,
    *,
    seed: int,
    device: torch.device,
    checkpoint: Callable[..., TrainingCheckpoint | None],
    advance: Advance,
) -> NetworkFit:
    """Choose the number of epochs on inner validation, and train on all sections.

    checkpoint: returns the checkpoint file of a training by name.
    """
    basis = None
    if config.n_inputs:
        own = config.own_moments is not False
        at_spots = [replace(section, x=_at_spots(section)) for section in train]
        basis = Basis.fit(at_spots, own).first(config.n_inputs)
    sections = [_as_target(one, _features(basis, one), measured=True, weigh=config.weigh_spots) for one in train]
    choices = Choices()
    held_out: dict[tuple[int, int], np.ndarray] = {}  # by number of epochs and index of section
    looks = {*range(config.check_every, config.max_epochs, config.check_every), config.max_epochs}
    for number, fold in enumerate(folds):
        members = _fold_sections(train, sections, fold)
        if members is None:
            continue
        bank, directions = ReferenceBank.of(members), search_directions(members, config)
        graphs = {i: build_graph(sections[i], bank, directions, config, device) for i in fold.held_out}
        file = checkpoint(f"fold-{number}")
        epochs = train_epochs(
            members, config, config.max_epochs, seed=seed, device=device, looks=looks, checkpoint=file
        )
        for epoch, (network, losses) in enumerate(epochs, start=1):
            advance(note=f"inner validation, loss {losses['total']:.3f}")
            if epoch not in looks:
                continue
            for i, graph in graphs.items():
                held_out[epoch, i] = network_predicts(network, graph)
                choices.add(epoch, criterion(train[i].measured, held_out[epoch, i]))
    n_epochs = choices.best if held_out else config.max_epochs
    if not held_out:
        logger.info(
            "SpaHGC: too few training sections to validate the network; trained for %d epochs.", config.max_epochs
        )
    file = checkpoint("all", n_epochs=n_epochs)
    for trained, losses in train_epochs(sections, config, n_epochs, seed=seed, device=device, checkpoint=file):
        advance(note=f"all sections, loss {losses['total']:.3f}")
        network = trained
    fitted = TrainedNetwork(basis, network, ReferenceBank.of(sections), search_directions(sections, config), n_epochs)
    score = choices.best_score if held_out else None
    return NetworkFit(fitted, score, {i: values for (epoch, i), values in held_out.items() if epoch == n_epochs})


def _at_spots(section: ImageSection) -> np.ndarray:
    """Return the inputs without the means over neighbours, which the network sees through edges."""
    return section.x[:, section.columns("several", False)]


def _features(basis: Basis | None, section: ImageSection) -> np.ndarray:
    """Return the inputs of the network, float32 ``(n_spots, n_inputs)``."""
    x = _at_spots(section)
    return np.ascontiguousarray(x if basis is None else basis.scores(x), dtype=np.float32)


def _as_target(section: ImageSection, x: np.ndarray, *, measured: bool = False, weigh: bool = False) -> NetworkSection:
    y = section.measured if measured else None
    return NetworkSection(section.group, x, section.centres_um, y, spot_weights(section) if weigh else None)


def _fold_sections(
    train: list[ImageSection], sections: list[NetworkSection], fold: InnerFold
) -> list[NetworkSection] | None:
    """Return a fold's training sections.

    Sections of a single patient are references of each other; ``None`` for a single section.
    """
    members = [sections[i] for i in fold.train]
    if len({one.group for one in members}) < 2:
        members = [replace(sections[i], group=train[i].name) for i in fold.train]
    return members if len(members) > 1 else None
