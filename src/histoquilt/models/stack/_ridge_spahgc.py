"""Reduced-rank ridge regression, and a network of SpaHGC that learns what it leaves."""

from dataclasses import dataclass

import numpy as np

from histoquilt.models._ranges import NotNegative
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Fold
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.linear._reduced_rank import LinearModel, ReducedRankRidgeConfig, fit_reduced_rank
from histoquilt.models.spahgc._config import SpaHGCConfig
from histoquilt.models.spahgc._fit import TrainedNetwork, fit_network
from histoquilt.models.spahgc._graph import ReferenceBank
from histoquilt.runtime import Advance
from histoquilt.train import strip_prefix


@dataclass(frozen=True)
class RidgeSpaHGCConfig(SpaHGCConfig):
    """Settings of :class:`histoquilt.models.RidgeSpaHGC`: those of the network, and its shares.

    Raises
    ------
    ValueError
        A value is outside its range.
    """

    neighbours: bool = True  # of the linear model
    gains: tuple[NotNegative, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of the network among which to choose


@dataclass(frozen=True)
class _Learnt:
    """What a fit leaves.

    Attributes
    ----------
    linear
        Linear model.
    network
        Network that adds to it; ``None`` if inner validation gave it no share.
    gain
        Share of the network.
    scores
        Mean correlation on inner validation: of the linear model alone, and of what was chosen.
    """

    linear: LinearModel
    network: TrainedNetwork | None
    gain: float
    scores: dict[str, float | None]

    @property
    def bank(self) -> ReferenceBank | None:
        """Training spots from which the network takes references."""
        return None if self.network is None else self.network.bank


class RidgeSpaHGC(ExpressionModel):
    """Predicts expression by :class:`ReducedRankRidge` plus a :class:`SpaHGC` network trained on its residuals.

    How much of the network is added, possibly nothing, is chosen by leaving training sections (or patients) out. If the
    network has a share, the model contains image features and measured expression of its training sections.

    This is what ``histoquilt train`` fits by default.

    Parameters
    ----------
    config
        Settings.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> held_out = study.pop(list(study)[-1])
    >>> config = hq.models.RidgeSpaHGCConfig(max_epochs=5, n_hidden=16)
    >>> predicted = hq.models.RidgeSpaHGC(config).fit(study, use_rep="X_image").predict(held_out)
    >>> predicted.layers["predicted_ridge_spahgc"].shape == held_out.shape
    True
    """

    method = "ridge_spahgc"
    config_class = RidgeSpaHGCConfig
    has_network = True
    config: RidgeSpaHGCConfig
    learnt: _Learnt

    def fit_arrays(
        self, train: list[ImageSection], folds: list[Fold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray]]:
        linear = fit_reduced_rank(train, folds, ReducedRankRidgeConfig(own_moments=self.config.own_moments))
        advance(note="linear model")
        fit = fit_network(
            train,
            folds,
            self.config,
            base=linear,
            gains=self.config.gains,
            seed=seed,
            device=self.device,
            checkpoint=self._checkpoint,
            advance=advance,
        )
        held_out = list(linear.held_out)
        for i, values in fit.held_out.items():
            held_out[i] = held_out[i] + fit.gain * values
        return _Learnt(linear.model, fit.trained, fit.gain, {"linear": linear.score, "chosen": fit.score}), held_out

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        learnt = self.learnt
        values = learnt.linear.predict(section.x)
        if learnt.network is None:
            return values
        return values + learnt.gain * learnt.network.predict(section, self.config, self.device)

    def state(self) -> MethodState:
        learnt = self.learnt
        state = MethodState(settings={"n_epochs": 0}) if learnt.network is None else learnt.network.state()
        linear = {f"linear.{name}": value for name, value in learnt.linear.arrays().items()}
        chosen = {"gain": learnt.gain, "inner_pcc": learnt.scores}
        return MethodState(state.weights, state.arrays | linear, {**state.settings, **chosen})

    def restore(self, state: MethodState) -> _Learnt:
        network = TrainedNetwork.restore(state, self.config, self.device) if state.weights else None
        linear = LinearModel.restore(strip_prefix(state.arrays, "linear"))
        return _Learnt(linear, network, state.settings["gain"], state.settings["inner_pcc"])
