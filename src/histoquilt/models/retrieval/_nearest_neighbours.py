"""Retrieval: the mean expression of the training spots whose images are most similar."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch

from histoquilt.models._baseline_config import Inputs
from histoquilt.models._ridge_path import spot_weights
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._inner_validation import Choices, InnerFold, criterion, part_of_sections, smooth
from histoquilt.models.expression._inputs import ImageSection, side_by_side
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.linear._reduced_rank import LinearInputs
from histoquilt.models.retrieval._bank import Bank
from histoquilt.models.retrieval._config import Metric, NearestNeighboursConfig, Weighting
from histoquilt.models.retrieval._learned_metric import LearnedMetric, MetricSetting, learn_directions
from histoquilt.runtime import Advance
from histoquilt.train import strip_prefix


@dataclass(frozen=True)
class _PlainSpace:
    """Spots compared by the inputs themselves."""

    inputs: Inputs
    standardised: bool
    metric: Metric

    def points(self, section: ImageSection) -> torch.Tensor:
        """Return what is compared, (n_spots, n_columns); float64 where squared lengths are subtracted."""
        if self.standardised:
            points = section.x[:, section.columns(*self.inputs)]
        else:
            reps = section.reps[:1] if self.inputs.fields == "one" else section.reps
            points = side_by_side(reps, section.adjacency, self.inputs.neighbours)
        return torch.from_numpy(points.astype(np.float64 if self.metric == "euclidean" else np.float32))


class _Setting(NamedTuple):
    space: _PlainSpace | MetricSetting
    k: int
    weighting: Weighting
    smoothing: int


@dataclass(frozen=True)
class _Learnt:
    """What a fit leaves: the chosen setting, how spots are compared, the bank, and the setting's inner score."""

    setting: _Setting
    space: _PlainSpace | LearnedMetric
    bank: Bank
    score: float

    def predict(self, section: ImageSection) -> np.ndarray:
        """Return ``(n_spots, n_genes)`` float32."""
        _, k, weighting, smoothing = self.setting
        ((_, _, values),) = self.bank.averages(self.space.points(section), (k,), (weighting,), _metric(self.space))
        return smooth(values, section.adjacency, smoothing)


class NearestNeighbours(ExpressionModel):
    """Predicts the mean measured expression of the training spots with the most similar images.

    By default similarity is learned: spots are compared in the leading directions of a reduced-rank ridge regression of
    expression on the embeddings. ``NearestNeighboursConfig.cosine()`` compares the embeddings themselves.

    How many spots, how they are weighted, and the metric's penalty and number of directions are chosen together by
    leaving training sections (or patients) out.

    The model contains the measured expression of its training sections.

    Parameters
    ----------
    config
        Settings.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> held_out = study.pop("s3")
    >>> model = hq.models.NearestNeighbours().fit(study, use_rep="X_image")
    >>> model.predict(held_out).layers["predicted_knn"].shape
    (60, 20)
    """

    method = "knn"
    config_class = NearestNeighboursConfig
    draws = False
    config: NearestNeighboursConfig
    learnt: _Learnt

    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray]]:
        config, choices = self.config, Choices()
        spaces = _Spaces(train, config)
        for fold in folds:
            measured = spaces.measured(fold.train)
            judged = part_of_sections(train, fold.held_out, whole=any(config.smoothing_to_try))
            for space, points in spaces.to_try(fold.train):
                bank = Bank(spaces.counted(points, fold.train), *measured)
                for i, rows in judged:
                    averages = bank.averages(points[i][rows], config.k, config.weightings_to_try, _metric(space))
                    for k, weighting, values in averages:
                        for steps in config.smoothing_to_try:
                            smoothed = smooth(values, train[i].adjacency, steps)
                            choices.add(
                                _Setting(space, k, weighting, steps), criterion(train[i].measured[rows], smoothed)
                            )
            advance(note="inner validation")
        best, score = choices.best, choices.best_score
        held_out: dict[int, np.ndarray] = {}
        for fold in folds:
            fitted = _Learnt(best, *spaces.fit(best.space, fold.train), score)
            held_out |= {i: fitted.predict(train[i]) for i in fold.held_out}
        learnt = _Learnt(best, *spaces.fit(best.space, range(len(train))), score)
        return learnt, [held_out[i] for i in range(len(train))]

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        return self.learnt.predict(section)

    def state(self) -> MethodState:
        learnt = self.learnt
        space, k, weighting, smoothing = learnt.setting
        arrays = learnt.bank.arrays()
        if isinstance(learnt.space, LearnedMetric):
            arrays |= {f"metric.{name}": value for name, value in learnt.space.arrays().items()}
        if isinstance(space, MetricSetting):
            compared = {"metric": "learned", **asdict(space)}
        else:
            fields, neighbours = space.inputs
            compared = {"metric": space.metric, "fields": fields, "neighbours": neighbours}
            compared["standardised"] = space.standardised
        chosen = {"k": k, "weighting": weighting, "smoothing": smoothing, "inner_pcc": learnt.score}
        return MethodState(arrays=arrays, settings=compared | chosen)

    def restore(self, state: MethodState) -> _Learnt:
        kept = state.settings
        bank = Bank.restore(
            {n: values for n, values in state.arrays.items() if not n.startswith("metric.")}, self.device
        )
        setting: _PlainSpace | MetricSetting
        space: _PlainSpace | LearnedMetric
        if kept["metric"] == "learned":
            setting = MetricSetting(kept["own_moments"], kept["alpha"], kept["n_directions"])
            space = LearnedMetric.restore(strip_prefix(state.arrays, "metric"))
            fits = (space.n_inputs, space.directions.shape[1]) == (self.fitted.inputs.n_inputs, bank.points.shape[1])
        else:
            inputs = Inputs(kept["fields"], kept["neighbours"])
            setting = space = _PlainSpace(inputs, kept["standardised"], kept["metric"])
            fits = bank.points.shape[1] == len(self.fitted.inputs.columns(*inputs))
        if not fits:
            raise ValueError("the reference bank does not fit the inputs")
        return _Learnt(
            _Setting(setting, kept["k"], kept["weighting"], kept["smoothing"]), space, bank, kept["inner_pcc"]
        )


def _metric(space: "_PlainSpace | MetricSetting | LearnedMetric") -> Metric:
    return space.metric if isinstance(space, _PlainSpace) else "euclidean"


class _Spaces:
    """The ways to compare the spots of some training sections."""

    def __init__(self, train: list[ImageSection], config: NearestNeighboursConfig) -> None:
        self._train, self._config = train, config
        self._counted = [np.full(len(one.x), True) if one.depth is None else one.depth > 0 for one in train]
        self._plain = {space: [space.points(one) for one in train] for space in self._plain_spaces()}
        self._linear = LinearInputs.of(train, config.own_moments) if config.metric == "learned" else None

    def to_try(self, members: Sequence[int]) -> Iterator[tuple[_PlainSpace | MetricSetting, list[torch.Tensor]]]:
        """Yield every space, learned on ``members``, with the points of all training sections in it."""
        yield from self._plain.items()
        if self._linear is not None:
            settings = (self._config.alphas, self._config.n_directions)
            for setting, directions in learn_directions(self._linear, members, *settings):
                scores = self._linear.scores[setting.own_moments]
                yield setting, [torch.from_numpy(one @ directions) for one in scores]

    def fit(
        self, space: _PlainSpace | MetricSetting, members: Sequence[int]
    ) -> tuple[_PlainSpace | LearnedMetric, Bank]:
        """Return the space learned on ``members``, and the bank of their spots."""
        if isinstance(space, _PlainSpace):
            return space, self.bank(self._plain[space], members)
        assert self._linear is not None
        found = learn_directions(self._linear, members, (space.alpha,), (space.n_directions,))
        directions = dict(found)[space]
        scores = self._linear.scores[space.own_moments]
        metric = LearnedMetric(self._linear.bases[space.own_moments], directions)
        return metric, self.bank([torch.from_numpy(one @ directions) for one in scores], members)

    def bank(self, points: list[torch.Tensor], members: Sequence[int]) -> Bank:
        """Return the bank of the spots of ``members`` that have counts."""
        return Bank(self.counted(points, members), *self.measured(members))

    def counted(self, points: list[torch.Tensor], members: Sequence[int]) -> torch.Tensor:
        """Return the points of the spots of ``members`` that have counts."""
        return torch.cat([points[i][self._counted[i]] for i in members])

    def measured(self, members: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return expression and weights of the spots of ``members``; few counts weigh less in a learned space."""
        weights = None
        if self._linear is not None and any(self._train[i].depth is not None for i in members):
            weights = np.concatenate([spot_weights(self._train[i])[self._counted[i]] for i in members])
        return np.concatenate([self._train[i].measured[self._counted[i]] for i in members]), weights

    def _plain_spaces(self) -> Iterator[_PlainSpace]:
        config = self._config
        if config.metric == "learned":
            return
        # with sections standardised by their own moments the embedding as it is is left out
        both: Sequence[bool] = (True,) if self._train[0].own_moments else (False, True)
        for inputs in config.inputs_to_try(len(self._train[0].reps)):
            for standardised in both if config.standardised == "validate" else (config.standardised,):
                yield _PlainSpace(inputs, standardised, config.metric)


def cosine_neighbours() -> NearestNeighbours:
    """Return retrieval as commonly done: by the cosine between embeddings.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.cosine_neighbours().config.metric
    'cosine'
    """
    return NearestNeighbours(NearestNeighboursConfig.cosine())
