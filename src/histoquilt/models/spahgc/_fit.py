"""Fit of SpaHGC's network, with the number of epochs chosen on left-out training sections."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from histoquilt.models._image_components import Basis
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, Fold, criterion
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.linear._reduced_rank import LinearFit
from histoquilt.models.linear._ridge_path import spot_weights
from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.models.spahgc._graph import NetworkSection, ReferenceBank, build_graph
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
    n_epochs: int

    def predict(self, section: ImageSection, config: SpaHGCConfig, device: torch.device) -> np.ndarray:
        """Return ``(n_spots, n_genes)`` float32."""
        target = _as_target(section, _features(self.basis, section))
        return network_predicts(self.network, build_graph(target, self.bank, config, device))

    def state(self) -> MethodState:
        """Return the fitted state, for :meth:`restore`."""
        basis = {} if self.basis is None else {f"basis.{name}": value for name, value in self.basis.arrays().items()}
        bank = {f"bank.{name}": getattr(self.bank, name) for name in ("x", "expression", "group")}
        own = self.basis is not None and self.basis.own_moments
        settings = {"n_epochs": self.n_epochs, "groups": list(self.bank.groups), "own_moments_of_components": own}
        return MethodState(self.network.state_dict(), basis | bank, settings)

    @classmethod
    def restore(cls, state: MethodState, config: SpaHGCConfig, device: torch.device) -> "TrainedNetwork":
        """Rebuild from :meth:`state`."""
        basis = strip_prefix(state.arrays, "basis")
        bank = ReferenceBank(**strip_prefix(state.arrays, "bank"), groups=tuple(state.settings["groups"]))
        network = build_network(bank.x.shape[1], bank.expression.shape[1], config, seed=0)
        network.load_state_dict(state.weights)
        network.to(device).eval()
        own = state.settings["own_moments_of_components"]
        return cls(Basis.restore(own, basis) if basis else None, network, bank, state.settings["n_epochs"])


@dataclass(frozen=True)
class NetworkFit:
    """Result of :func:`fit_network`."""

    trained: TrainedNetwork | None  # fitted on all training sections; None if gain is 0
    gain: float  # factor of the network's prediction
    score: float | None  # mean correlation on inner validation; None if there are too few sections for it
    held_out: dict[int, np.ndarray]  # index of a training section -> prediction without its group


def fit_network(
    train: list[ImageSection],
    folds: list[Fold],
    config: SpaHGCConfig,
    *,
    base: LinearFit | None = None,
    gains: Sequence[float] = (1.0,),
    seed: int,
    device: torch.device,
    checkpoint: Callable[..., TrainingCheckpoint | None],
    advance: Advance,
) -> NetworkFit:
    """Choose the number of epochs and the gain on inner validation, and train on all sections.

    base: fitted model to whose prediction the network adds, times one of ``gains``; checkpoint: returns the checkpoint
    file of a training by name.
    """
    basis = None
    if config.n_inputs:
        own = config.own_moments is not False
        at_spots = [replace(section, x=_at_spots(section)) for section in train]
        basis = Basis.fit(at_spots, own).first(config.n_inputs)
    features = [_features(basis, section) for section in train]
    choices = Choices()
    held_out: dict[tuple[int, int], np.ndarray] = {}  # by number of epochs and index of section
    looks = {*range(config.check_every, config.max_epochs, config.check_every), config.max_epochs}
    judged = folds if max(gains) > 0 else []
    for number, fold in enumerate(judged):
        members = _fold_sections(train, features, fold, base, config)
        if members is None:
            continue
        bank = ReferenceBank.of(members)
        graphs = {i: build_graph(_as_target(train[i], features[i]), bank, config, device) for i in fold.held_out}
        file = checkpoint(f"fold-{number}")
        epochs = train_epochs(
            members, config, config.max_epochs, seed=seed, device=device, looks=looks, checkpoint=file
        )
        for epoch, (network, losses) in enumerate(epochs, start=1):
            advance(note=f"inner validation, loss {losses['total']:.3f}")
            if epoch not in looks:
                continue
            for i, graph in graphs.items():
                values = held_out[epoch, i] = network_predicts(network, graph)
                for gain in gains:
                    predicted = gain * values if base is None else base.held_out[i] + gain * values
                    choices.add((gain, epoch), criterion(train[i].measured, predicted))
    gain, n_epochs = choices.best if held_out else (1.0 if base is None else 0.0, config.max_epochs)
    if not held_out:
        logger.info("SpaHGC: too few training sections to validate the network; %s.",
                    f"trained for {n_epochs} epochs" if base is None else "it is not used")  # fmt: skip
    fit = NetworkFit(
        None, gain, choices.best_score if held_out else None, {i: p for (n, i), p in held_out.items() if n == n_epochs}
    )
    if gain == 0:
        return fit
    sections = [
        _as_target(section, x, measured=True, base=None if base is None else base.held_out[i], weigh=config.weigh_spots)
        for i, (section, x) in enumerate(zip(train, features, strict=True))
    ]
    file = checkpoint("all", n_epochs=n_epochs)
    epochs = train_epochs(sections, config, n_epochs, seed=seed, device=device, checkpoint=file)
    for trained, losses in epochs:
        advance(note=f"all sections, loss {losses['total']:.3f}")
        network = trained
    return replace(fit, trained=TrainedNetwork(basis, network, ReferenceBank.of(sections), n_epochs))


def _at_spots(section: ImageSection) -> np.ndarray:
    """Return the inputs without the means over neighbours, which the network sees through edges."""
    return section.x[:, section.columns("several", False)]


def _features(basis: Basis | None, section: ImageSection) -> np.ndarray:
    """Return the inputs of the network, float32 ``(n_spots, n_inputs)``."""
    x = _at_spots(section)
    return np.ascontiguousarray(x if basis is None else basis.scores(x), dtype=np.float32)


def _as_target(
    section: ImageSection,
    x: np.ndarray,
    *,
    measured: bool = False,
    base: np.ndarray | None = None,
    weigh: bool = False,
) -> NetworkSection:
    y = section.measured if measured else None
    weights = spot_weights(section) if weigh else None
    return NetworkSection(section.group, x, section.centres_um, y, base, weights)


def _fold_sections(
    train: list[ImageSection], features: list[np.ndarray], fold: Fold, base: LinearFit | None, config: SpaHGCConfig
) -> list[NetworkSection] | None:
    """Return a fold's training sections, with base predictions from fits within the fold.

    Sections of a single patient are references of each other; ``None`` for a single section.
    """
    members = list(fold.train)
    groups = [train[i].group for i in members]
    if len(set(groups)) < 2:
        groups = [train[i].name for i in members]
    if len(set(groups)) < 2:
        return None
    bases = {} if base is None else base.cross_fit(members, groups)
    return [
        _as_target(
            replace(train[i], group=group), features[i], measured=True, base=bases.get(i), weigh=config.weigh_spots
        )
        for i, group in zip(members, groups, strict=True)
    ]
