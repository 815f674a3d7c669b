"""Stacking: a weighted mean of several expression models, weighed by how they predict tissue left out of training.

Models that score alike err differently, and their mean errs less than each (Wolpert 1992, Neural Networks 5: 241;
Breiman 1996, Machine Learning 24: 49). Each member is a model of its own, chosen and judged on the same inner folds;
the weights are tenths, chosen on the members' predictions of held-out training sections by the correlation that is left
once the measured log depth is regressed out, or equal where no weights are shown to be better.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from histoquilt._base import EXPRESSION_MODELS
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._config import ExpressionConfig
from histoquilt.models.expression._inner_validation import InnerFold
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.expression._prediction import weights_in_words
from histoquilt.models.expression._targets import MissingCountsError
from histoquilt.models.stack._weights import Moments, choose_weights
from histoquilt.runtime import Advance, logger


@dataclass(frozen=True)
class StackConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.Stack`.

    Raises
    ------
    ValueError
        A value is outside its range, or a member is not an expression model.

    Examples
    --------
    >>> import histoquilt as hq
    >>> hq.models.StackConfig(members=("reduced_rank_ridge", "knn")).members
    ('reduced_rank_ridge', 'knn')
    """

    # names of expression models, as for --method
    members: tuple[str, ...] = ("reduced_rank_ridge", "count_regression", "knn")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.members or len(set(self.members)) < len(self.members) or "stack" in self.members:
            raise ValueError(
                f"members must be one or more names of models, each once and not a stack, got {self.members!r}."
            )
        for name in self.members:
            if name not in EXPRESSION_MODELS:
                raise ValueError(EXPRESSION_MODELS.unknown(name))
            if "." in name:
                raise ValueError(f"The name of a member must hold no dot, got {name!r}.")
        if (self.fields, self.neighbours) != ("several", True):
            raise ValueError("Members of a stack share all inputs: it needs fields='several' and neighbours=True.")


@dataclass(frozen=True)
class _Member:
    """A model, what it learnt, its weight, and its own score on inner validation, ``None`` if that is not known."""

    name: str
    learnt: Any
    weight: float
    score: float | None


@dataclass(frozen=True)
class _Learnt:
    """What a fit leaves: the members, whether the weights were validated, and the score of the weighted mean.

    ``at_equal_depth`` says whether scores are correlations at equal depth, or raw ones.
    """

    members: tuple[_Member, ...]
    validated: bool
    score: float | None
    at_equal_depth: bool

    @property
    def bank(self) -> Any:
        """Training spots that a member keeps; ``None`` if none does."""
        return next((bank for one in self.members if (bank := getattr(one.learnt, "bank", None)) is not None), None)


class Stack(ExpressionModel):
    """Predicts expression by a weighted mean of several models.

    The weights come from inner folds: by patient where training has several, else by section. A member of no weight is
    not kept, and one that needs more raw counts than training has is left out. If a retrieval model has a weight, the
    stack contains the measured expression of its training sections.

    This is what ``histoquilt train`` fits by default.

    Parameters
    ----------
    config
        Settings; members have their own defaults.

    References
    ----------
    D. H. Wolpert. Stacked generalization. Neural Networks 5, 241-259, 1992.
    L. Breiman. Stacked regressions. Machine Learning 24, 49-64, 1996.

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, kind="both", seed=0)
    >>> held_out = study.pop("s3")
    >>> model = hq.models.Stack().fit(study, use_rep="X_image")
    >>> model.predict(held_out).layers["predicted_stack"].shape == held_out.shape
    True
    >>> sorted(model.training_facts["chosen"]["weights"])
    ['count_regression', 'knn', 'reduced_rank_ridge']
    """

    method = "stack"
    config_class = StackConfig
    has_network = True  # where a member has one
    config: StackConfig
    learnt: _Learnt

    def __init__(self, config: StackConfig | None = None) -> None:
        super().__init__(config)
        members = [EXPRESSION_MODELS.load(name)() for name in self.config.members]
        self.has_network = any(one.has_network for one in members)  # type: ignore[misc]
        self.draws = any(one.draws for one in members)  # type: ignore[misc]

    @property
    def n_models(self) -> int:
        return len(self.config.members)

    @property
    def uses_views(self) -> bool:
        """Whether a member trains on views."""
        return any(self._member(name).uses_views for name in self.config.members)

    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray] | None]:
        learnt, held_out = {}, {}
        lacking: MissingCountsError | None = None
        for name in self.config.members:
            try:
                learnt[name], predicted = self._member(name).fit_arrays(train, folds, seed, advance)
            except MissingCountsError as error:
                logger.info("Stack: %s is left out, too few training sections have raw counts.", name)
                lacking = error
                continue
            if predicted is not None:
                held_out[name] = predicted
            advance(note=name)
        if lacking is not None and not learnt:
            raise lacking
        if len(held_out) < len(learnt):
            logger.info("Stack: a member keeps no predictions of left-out training sections, so weights are equal.")
            members = tuple(_Member(name, one, 1 / len(learnt), None) for name, one in learnt.items())
            return _Learnt(members, False, None, False), None
        # sections without raw counts have no score at equal depth; only if none has one, all are judged as they are
        counted = [i for i, one in enumerate(train) if one.depth is not None]
        judged = counted or list(range(len(train)))
        moments = {
            i: Moments.of(train[i].measured, [of[i] for of in held_out.values()], train[i].depth) for i in judged
        }
        found = choose_weights(moments, folds)
        members = tuple(
            _Member(name, learnt[name] if weight else None, float(weight), float(score))
            for name, weight, score in zip(learnt, found.weights, found.of_members, strict=True)
        )
        logger.info(
            "Stack: %s (weights %s).",
            weights_in_words({one.name: one.weight for one in members}),
            "chosen on inner folds" if found.validated else "equal: on inner folds none is shown to be better",
        )
        # a section's predictions are freed once they are averaged
        weighed = [
            np.einsum("m,msg->sg", found.weights.astype(np.float32), np.stack([of.pop(0) for of in held_out.values()]))
            for _ in train
        ]
        return _Learnt(members, found.validated, found.score, bool(counted)), weighed

    @property
    def members(self) -> dict[str, float]:
        return {one.name: one.weight for one in self.learnt.members}

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        total = np.zeros((len(section.x), self.n_genes), dtype=np.float32)
        for one in self.learnt.members:
            if one.weight:
                total += one.weight * self._member(one.name, one.learnt).predict_arrays(section)
        return total

    def state(self) -> MethodState:
        learnt = self.learnt
        members = MethodState.join(
            {one.name: self._member(one.name, one.learnt).state() for one in learnt.members if one.weight}
        )
        return MethodState(
            members.weights,
            members.arrays,
            {
                "weights": self.members,
                "validated": learnt.validated,
                "inner_scores": {**{one.name: one.score for one in learnt.members}, "stack": learnt.score},
                "at_equal_depth": learnt.at_equal_depth,
                "members": members.settings,
            },
        )

    def restore(self, state: MethodState) -> _Learnt:
        kept, members = state.settings, []
        of_members = replace(state, settings=kept["members"])
        for name, weight in kept["weights"].items():
            learnt = self._member(name).restore(of_members.member(name)) if weight else None
            members.append(_Member(name, learnt, weight, kept["inner_scores"][name]))
        return _Learnt(tuple(members), kept["validated"], kept["inner_scores"]["stack"], kept["at_equal_depth"])

    def _member(self, name: str, learnt: Any = None) -> ExpressionModel:
        """Return a member, trained if what it learnt is given."""
        member: ExpressionModel = EXPRESSION_MODELS.load(name)()
        if self.config.own_moments != "auto":
            member.config = replace(member.config, own_moments=self.config.own_moments)
        return member.as_part_of(self, name, learnt)
