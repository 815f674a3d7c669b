"""SpaHGC: gene expression from H&E by transfer from other sections on a heterogeneous graph.

arXiv 2603.22821 (2026).

Spots of a section (targets) and the most similar spots of other sections (references) are the nodes of one graph.
Messages pass among targets (GraphSAGE over spatial neighbours), among references (GraphSAGE over similar ones) and
between them (CNDA, attention both ways); every target then attends to its references once more (CNAP) and is read out.
``L = MSE + 0.5 (1 - PCC) + 0.2 L_target + 0.1 L_reference``, where the last two compare an encoder that sees a random
part of the features with a momentum encoder that sees the rest.

Where we differ from the published code, and why
------------------------------------------------
- References come from other sections only (other patients, where training holds several), in training as in
  prediction; the released bank holds sections of the patient that is tested.
- The number of epochs is chosen on training sections that are left out in turn; the released code picks the best epoch
  on the test section. Genes and scaling come from training sections, and expression is normalised for depth.
- Prediction is deterministic and unmasked; the released code scores its random masked branch.
- The momentum encoder follows the online one after every step; the released one keeps its first weights.
- All three kinds of edges are arguments of one graph class, so that none can be skipped by a wrong name.
- Expression is regressed on an unmasked pass; the released code trains on 10 % of the reference features, and predicts
  on all. With ``regress_on="masked"`` what is kept is scaled up.
- References are found by what is seen at the spot itself, standardised within its section; neighbours reach the
  network along the spatial edges.
- By default the network learns what a linear model leaves (:mod:`histoquilt.models.linear._reduced_rank`), and how much
  of the network is added, possibly none of it, is chosen on inner validation. ``published()`` turns this off.
"""

from dataclasses import dataclass, replace

import numpy as np

from histoquilt.models._image_components import Basis
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, Fold, criterion
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.linear._reduced_rank import LinearFit, ReducedRankRidge, fit_reduced_rank
from histoquilt.models.linear._ridge_path import spot_weights
from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.models.spahgc._graph import NetworkSection, ReferenceBank, build_graph
from histoquilt.models.spahgc._network import SpaHGCNetwork
from histoquilt.models.spahgc._training import build_network, network_says, train_epochs
from histoquilt.runtime import Advance, logger
from histoquilt.train import under


@dataclass(frozen=True)
class _Trained:
    """What a fit leaves.

    Attributes
    ----------
    linear
        The linear part, or ``None``.
    basis
        Principal components that the network sees, or ``None`` for the inputs themselves.
    network, bank
        ``None`` where inner validation gave the network no share.
    n_epochs, gain
        Chosen on inner validation.
    scores
        Mean correlation on inner validation: of the linear part alone, and of what was chosen.
    """

    linear: ReducedRankRidge | None
    basis: Basis | None
    network: SpaHGCNetwork | None
    bank: ReferenceBank | None
    n_epochs: int
    gain: float
    scores: dict[str, float | None]


class SpaHGC(ExpressionModel):
    """Predicts gene expression from H&E by a linear model and a graph that reaches into the training sections.

    Where the network has a share, the model contains image features and measured expression of its training sections.

    Parameters
    ----------
    config
        Settings.

    References
    ----------
    SpaHGC. arXiv 2603.22821, 2026.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> held_out = study.pop(list(study)[-1])
    >>> config = hq.models.SpaHGCConfig(max_epochs=5, n_hidden=16)
    >>> predicted = hq.models.SpaHGC(config).fit(study, use_rep="X_image").predict(held_out)
    >>> predicted.layers["predicted_spahgc"].shape == held_out.shape
    True
    """

    method = "spahgc"
    config_class = SpaHGCConfig
    has_network = True
    config: SpaHGCConfig

    @property
    def keeps_expression(self) -> bool:
        """Only where the network has a share: it looks at references, the linear part holds coefficients."""
        return self.fitted is not None and self._trained_parts.bank is not None

    def fit_arrays(self, train: list[ImageSection], folds: list[Fold], seed: int, advance: Advance) -> list[np.ndarray]:
        config, device = self.config, self.device
        linear = fit_reduced_rank(train, folds) if config.linear else None
        advance(note="linear part")
        basis = None
        if config.n_inputs:
            basis = Basis.fit([replace(one, x=self._at_spots(one)) for one in train], own=True).first(config.n_inputs)
        features = [_features(basis, self._at_spots(one)) for one in train]

        choices = Choices()
        held_out: dict[tuple[int, int], np.ndarray] = {}  # by epochs and section
        looks = {*range(config.check_every, config.max_epochs, config.check_every), config.max_epochs}
        judged = folds if max(config.gains) > 0 else []  # a gain of 0 alone is the linear part alone
        for number, fold in enumerate(judged):
            inside = _fold_sections(train, features, fold, linear, config)
            if inside is None:
                continue
            bank = ReferenceBank.of(inside)
            asked = {i: _as_target(train[i], features[i], _base(linear, i, train)) for i in fold.held_out}
            graphs = {i: build_graph(one, bank, config, device) for i, one in asked.items()}
            kept = self._checkpoint(f"fold-{number}")
            epochs = train_epochs(
                inside, config, config.max_epochs, seed=seed, device=device, looks=looks, checkpoint=kept
            )
            for epoch, (network, losses) in enumerate(epochs, start=1):
                advance(note=f"inner validation, loss {losses['total']:.3f}")
                if epoch not in looks:
                    continue
                for i, target in asked.items():
                    said = network_says(network, graphs[i])
                    held_out[epoch, i] = said
                    for gain in config.gains:
                        choices.add((gain, epoch), criterion(train[i].measured, target.base + gain * said))
        gain, n_epochs = choices.best if held_out else (0.0 if linear else 1.0, config.max_epochs)
        if not held_out:
            logger.info("SpaHGC: too few training sections to judge the network; %s.",
                        "the linear part stands alone" if linear else f"trained for {n_epochs} epochs")  # fmt: skip

        sections = [
            _as_target(one, x, _base(linear, i, train), measured=True, weigh=config.weigh_spots)
            for i, (one, x) in enumerate(zip(train, features, strict=True))
        ]
        final: SpaHGCNetwork | None = None
        if gain > 0:
            last = self._checkpoint("all", n_epochs=n_epochs)
            epochs = train_epochs(sections, config, n_epochs, seed=seed, device=device, checkpoint=last)
            for trained, losses in epochs:
                final = trained
                advance(note=f"all sections, loss {losses['total']:.3f}")
        self._trained_parts = _Trained(
            linear=None if linear is None else linear.model,
            basis=basis,
            network=final,
            bank=None if final is None else ReferenceBank.of(sections),
            n_epochs=0 if final is None else n_epochs,
            gain=gain,
            scores={
                "linear": None if linear is None else linear.score,
                "chosen": choices.best_score if held_out else None,
            },
        )
        return [
            _base(linear, i, train) + (gain * held_out[n_epochs, i] if (n_epochs, i) in held_out else 0)
            for i in range(len(train))
        ]

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        parts = self._trained_parts
        linear = np.zeros((len(section.x), self.n_genes), np.float32)
        if parts.linear is not None:
            linear = parts.linear.predict(section.x)
        if parts.network is None or parts.bank is None:
            return linear
        target = _as_target(section, _features(parts.basis, self._at_spots(section)), linear)
        graph = build_graph(target, parts.bank, self.config, self.device)
        return linear + parts.gain * network_says(parts.network, graph)

    def _at_spots(self, section: ImageSection) -> np.ndarray:
        """Return the inputs without the neighbours' means: neighbours reach the network along its edges."""
        return section.x[:, self.columns("one" if self.config.fields == "one" else "several", False)]

    def state(self) -> MethodState:
        parts = self._trained_parts
        arrays: dict[str, np.ndarray] = {}
        if parts.linear is not None:
            arrays |= {f"linear.{name}": value for name, value in parts.linear.arrays().items()}
        if parts.basis is not None:
            arrays |= {f"basis.{name}": value for name, value in parts.basis.arrays().items()}
        if parts.bank is not None:
            arrays |= {f"bank.{name}": getattr(parts.bank, name) for name in ("x", "expression", "group")}
        return MethodState(
            weights={} if parts.network is None else parts.network.state_dict(),
            arrays=arrays,
            settings={
                "n_epochs": parts.n_epochs,
                "gain": parts.gain,
                "inner_pcc": parts.scores,
                "groups": [] if parts.bank is None else list(parts.bank.groups),
            },
        )

    def restore(self, state: MethodState) -> None:
        linear, basis, bank = (under(state.arrays, name) for name in ("linear", "basis", "bank"))
        network, restored_bank = None, None
        if bank:
            restored_bank = ReferenceBank(**bank, groups=tuple(state.settings["groups"]))
            network = build_network(bank["x"].shape[1], bank["expression"].shape[1], self.config, seed=0)
            network.load_state_dict(state.weights)
            network.to(self.device).eval()
        self._trained_parts = _Trained(
            linear=ReducedRankRidge.restore(linear) if linear else None,
            basis=Basis.restore(True, basis) if basis else None,
            network=network,
            bank=restored_bank,
            n_epochs=state.settings["n_epochs"],
            gain=state.settings["gain"],
            scores=state.settings["inner_pcc"],
        )


def _features(basis: Basis | None, x: np.ndarray) -> np.ndarray:
    """Return what the network sees of the inputs, float32 ``(n_spots, n_inputs)``."""
    return np.ascontiguousarray(x if basis is None else basis.scores(x), dtype=np.float32)


def _base(linear: LinearFit | None, i: int, train: list[ImageSection]) -> np.ndarray:
    """Return what the linear part says of a training section that it has not seen."""
    return np.zeros_like(train[i].measured) if linear is None else linear.held_out[i]


def _as_target(
    section: ImageSection, x: np.ndarray, base: np.ndarray, *, measured: bool = False, weigh: bool = False
) -> NetworkSection:
    """Join the parts; expression only where asked for."""
    return NetworkSection(
        group=section.group,
        x=x,
        centres_um=section.centres_um,
        base=base,
        y=section.measured if measured else None,
        weights=spot_weights(section) if weigh else None,
    )


def _fold_sections(
    train: list[ImageSection], features: list[np.ndarray], fold: Fold, linear: LinearFit | None, config: SpaHGCConfig
) -> list[NetworkSection] | None:
    """Return a fold's training sections as they would be, had the held-out ones not been there.

    What the linear part says of them comes from fits within the fold. Where the fold's training side is a single
    patient its sections serve each other; ``None`` where it is a single section.
    """
    members = list(fold.train)
    groups = [train[i].group for i in members]
    if len(set(groups)) < 2:
        groups = [train[i].name for i in members]
    if len(set(groups)) < 2:
        return None
    bases = {i: np.zeros_like(train[i].measured) for i in members}
    if linear is not None:
        bases = linear.cross_fit(members, groups)
    return [
        _as_target(replace(train[i], group=group), features[i], bases[i], measured=True, weigh=config.weigh_spots)
        for i, group in zip(members, groups, strict=True)
    ]
