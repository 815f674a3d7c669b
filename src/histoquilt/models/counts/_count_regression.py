"""Poisson regression of raw counts: the rate of every gene, with the depth of a spot as a known factor in training.

Log1p of counts per 10,000 mixes how deeply a spot was sequenced with how active a gene is. Here the two are apart: the
image tells the rate of a gene relative to its section, and, by a depth head, the depth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from histoquilt._base import listed
from histoquilt.models._image_components import MAX_COMPONENTS, Basis, moments_to_try
from histoquilt.models._ranges import Count, Positive, WholeNumber
from histoquilt.models.counts._poisson import Counts, fit_poisson, levels, reduced_ranks
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.expression._config import ExpressionConfig
from histoquilt.models.expression._expected_log1p import expected_log1p
from histoquilt.models.expression._inner_validation import (
    Choices,
    InnerFold,
    correlations_at_equal_depth,
    part_of_sections,
)
from histoquilt.models.expression._inputs import ImageSection
from histoquilt.models.expression._model import ExpressionModel
from histoquilt.models.expression._targets import MissingCountsError
from histoquilt.models.linear._reduced_rank import LinearModel
from histoquilt.runtime import Advance, logger

# training spots of a fold on which settings are tried; tau is a property of genes, not of the number of spots
_MAX_FITTED = 10_000


@dataclass(frozen=True)
class CountRegressionConfig(ExpressionConfig):
    """Settings of :class:`histoquilt.models.CountRegression`.

    Raises
    ------
    ValueError
        A value is outside its range.

    Examples
    --------
    >>> import histoquilt as hq
    >>> config = hq.models.CountRegressionConfig(spreads=(0.2, 0.8), ranks=(2, 4))
    >>> config.spreads, config.n_components
    ((0.2, 0.8), 128)
    """

    # prior standard deviations of a gene's log rate over spots to try, tau: the smaller, the stronger the penalty
    spreads: tuple[Positive, ...] = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
    # numbers of directions to try, besides the full rank
    ranks: tuple[Count, ...] | tuple[()] = (1, 2, 3, 4, 6, 8, 12, 16, 24)
    n_components: Count = 128  # leading principal components of the inputs, z
    n_settings: Count = 8  # leading settings whose log rates are averaged
    rbf: WholeNumber = 0  # features of an RBF kernel map of the components that are added to them; 0 for none

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_components > MAX_COMPONENTS:
            raise ValueError(f"n_components must be at most {MAX_COMPONENTS}, got {self.n_components}.")
        self.check_inputs_are_given()


@dataclass(frozen=True)
class Setting:
    """Setting of one fit."""

    own_moments: bool
    spread: float
    rank: int | None  # None: not reduced


@dataclass(frozen=True)
class _Learnt:
    """What a fit leaves: the model of log rates, the settings averaged, and the score of the best."""

    model: LinearModel
    settings: tuple[Setting, ...]
    score: float

    def predict(self, section: ImageSection) -> np.ndarray:
        """Return expected log1p of counts per 10,000 at the predicted depth, ``(n_spots, n_genes)`` float32."""
        assert section.log_counts is not None, "training without raw counts is refused"
        return expected_log1p(np.minimum(self.model.predict(section.x), 0), section.log_counts)


class CountRegression(ExpressionModel):
    """Predicts expression by Poisson regression of raw counts on image embeddings, with few directions among genes.

    ``C_sg ~ Poisson(N_s exp(b_section,g + z_s B_g))``: ``N`` is the total count of a spot, ``z`` are the leading
    principal components of its inputs, and ``b`` is a free level of every gene in every section, so that differences
    between sections teach nothing. ``B`` has a ridge penalty and few directions among the genes. Penalty, rank and,
    where training holds at least three individuals, the moments of standardisation are chosen by leaving training
    sections (or patients) out, on the correlation at equal depth. The log rates of the ``n_settings`` best are
    averaged.

    The prediction is the expected log1p of counts per 10,000 at the predicted depth, with the mean level of the
    training sections; ``layers["relative_count_regression"]`` is ``z B``, centred over the section. The model holds
    coefficients, no expression of its training sections.

    Training needs raw counts in at least two sections (of different patients, if several are known); sections without
    them are used for nothing but the inputs.

    Parameters
    ----------
    config
        Settings.

    References
    ----------
    F. W. Townes, S. C. Hicks, M. J. Aryee, R. A. Irizarry. Feature selection and dimension reduction for single-cell
    RNA-Seq based on a multinomial model. Genome Biol. 20, 295, 2019 (counts given depth).
    J. Nocedal. Updating quasi-Newton matrices with limited storage. Math. Comput. 35, 773-782, 1980 (L-BFGS).

    Examples
    --------
    >>> import histoquilt as hq
    >>> study = hq.datasets.paired_study(n_sections=3, n_spots=60, n_genes=20, seed=0)
    >>> held_out = study.pop("s3")
    >>> predicted = hq.models.CountRegression().fit(study, use_rep="X_image").predict(held_out)
    >>> list(predicted.layers)[:2]
    ['predicted_count_regression', 'relative_count_regression']
    """

    method = "count_regression"
    config_class = CountRegressionConfig
    draws = False
    config: CountRegressionConfig
    learnt: _Learnt

    def fit_arrays(
        self, train: list[ImageSection], folds: list[InnerFold], seed: int, advance: Advance
    ) -> tuple[_Learnt, list[np.ndarray]]:
        inputs = CountInputs.of(train, folds, self.config)
        choices = Choices()
        for fold in folds:
            for setting, score in inputs.judge(fold, self.config):
                choices.add(setting, score)
            advance(note="penalty and rank")
        settings = tuple(choices.leading(self.config.n_settings))
        held_out: dict[int, np.ndarray] = {}
        for fold in folds:
            learnt = _Learnt(inputs.average(fold.train, settings), settings, choices.best_score)
            held_out |= {i: learnt.predict(train[i]) for i in fold.held_out}
        learnt = _Learnt(inputs.average(range(len(train)), settings), settings, choices.best_score)
        return learnt, [held_out[i] for i in range(len(train))]

    def predict_arrays(self, section: ImageSection) -> np.ndarray:
        return self.learnt.predict(section)

    def relative_arrays(self, section: ImageSection, values: np.ndarray) -> np.ndarray:
        log_rates = self.learnt.model.predict(section.x)
        return log_rates - log_rates.mean(axis=0, dtype=np.float64).astype(np.float32)

    def state(self) -> MethodState:
        learnt = self.learnt
        averaged = [asdict(one) for one in learnt.settings]
        return MethodState(
            arrays=learnt.model.arrays(), settings={"averaged": averaged, "inner_adjusted_pcc": learnt.score}
        )

    def restore(self, state: MethodState) -> _Learnt:
        settings = tuple(Setting(**one) for one in state.settings["averaged"])
        return _Learnt(LinearModel.restore(state.arrays), settings, state.settings["inner_adjusted_pcc"])


@dataclass(frozen=True)
class CountInputs:
    """Training sections, and counts of those that have them, by each way of standardising the inputs.

    Attributes
    ----------
    train
        Training sections.
    bases
        Principal components, scaled to a total variance of 1; keys: whether by own moments.
    counts
        Number of a training section -> its counts, for each basis.
    """

    train: list[ImageSection]
    bases: dict[bool, Basis]
    counts: dict[bool, dict[int, Counts]]

    @classmethod
    def of(cls, train: list[ImageSection], folds: list[InnerFold], config: CountRegressionConfig) -> "CountInputs":
        """Find the components and take what the regression needs of the counts.

        Raises
        ------
        MissingCountsError
            Raw counts are missing where a fold needs them.
        """
        known = [i for i, one in enumerate(train) if one.has_counts]
        _check_known(train, known, folds)
        bases, counts = {}, {}
        for own in moments_to_try(train, config.own_moments):
            basis = Basis.fit(train, own).first(config.n_components).with_kernel(train, config.rbf)
            scores = {i: basis.scores(train[i].x) for i in known}
            total = np.concatenate([score - score.mean(axis=0) for score in scores.values()]).var(axis=0).sum()
            unit = float(np.sqrt(total)) or 1.0
            bases[own] = basis.divided(unit)
            counts[own] = {i: Counts.of(z / unit, train[i].measured, train[i].counted_depth) for i, z in scores.items()}
        return cls(train, bases, counts)

    def judge(self, fold: InnerFold, config: CountRegressionConfig) -> Iterator[tuple[Setting, float]]:
        """Yield every setting with its score on each of the held-out sections."""
        for own, basis in self.bases.items():
            known = self.counts[own]
            fitted = [
                known[i] if rows.step in (None, 1) else Counts.of(*self._spots(basis, i, rows))
                for i, rows in part_of_sections(self.train, [i for i in fold.train if i in known], _MAX_FITTED)
            ]
            held_out = part_of_sections(self.train, [i for i in fold.held_out if i in known])
            judged = [self._spots(basis, i, rows) for i, rows in held_out]
            coefficients = None
            for spread in sorted(config.spreads):
                coefficients = fit_poisson(fitted, spread, coefficients)
                ranks = [(None, coefficients), *reduced_ranks(fitted, coefficients, config.ranks)]
                for z, measured, depth in judged:
                    for rank, reduced in ranks:
                        found = correlations_at_equal_depth(measured, z @ reduced, depth)
                        yield Setting(own, spread, rank), float(found.mean())

    def _spots(self, basis: Basis, number: int, rows: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return scores, expression and depth of some spots of a section, standardised by all of its spots."""
        section = self.train[number]
        return basis.scores(section.x)[rows], section.measured[rows], section.counted_depth[rows]

    def average(self, members: Sequence[int], settings: Sequence[Setting]) -> LinearModel:
        """Fit every setting on some sections, and average the coefficients."""
        averaged: dict[bool, np.ndarray] = {}
        for own, counts in self.counts.items():
            known = [counts[i] for i in members if i in counts]
            coefficients = None
            for spread in sorted({one.spread for one in settings if one.own_moments == own}):
                coefficients = fit_poisson(known, spread, coefficients)
                ranks = [one.rank for one in settings if one.own_moments == own and one.spread == spread]
                fits = dict(reduced_ranks(known, coefficients, [rank for rank in ranks if rank is not None]))
                for rank in ranks:
                    fit = coefficients if rank is None else fits[rank]
                    averaged[own] = averaged.get(own, 0) + fit / len(settings)
        return self._joined(members, averaged)

    def _joined(self, members: Sequence[int], coefficients: dict[bool, np.ndarray]) -> LinearModel:
        """Return the model of log rates with coefficients for some bases and the mean level of some sections."""
        first, *_ = (self.counts[own] for own in coefficients)
        sections = [
            replace(first[i], z=np.hstack([self.counts[own][i].z for own in coefficients]))
            for i in members
            if i in first
        ]
        return LinearModel(
            tuple(self.bases[own] for own in coefficients),
            tuple(values.astype(np.float32) for values in coefficients.values()),
            levels(sections, np.vstack(list(coefficients.values()))).astype(np.float32),
        )


def _check_known(train: list[ImageSection], known: list[int], folds: list[InnerFold]) -> None:
    """Raise where a fold has no raw counts to learn from; log which sections lack them."""
    lacking = [one.name for i, one in enumerate(train) if i not in known]
    empty = [fold for fold in folds if not set(fold.train) & set(known)]
    if not known or empty:
        groups = list(dict.fromkeys(train[i].group for i in known))
        needed = f"so at least two are needed; got {len(groups)}"
        if len(groups) > 1:
            needed = (
                f"so two that are not left out together are needed; {listed(groups, 5)} are: there are more sections "
                f"(or patients) than inner folds ({len(folds)}), and a fold holds several"
            )
        raise MissingCountsError(
            "CountRegression learns from raw counts, and chooses its settings by leaving sections (or patients) with "
            f"raw counts out, {needed}. Without raw counts: {listed(lacking, 5)}. "
            "Put raw counts into layers['counts'] of these sections, or train another model, such as ReducedRankRidge."
        )
    if lacking:
        logger.info("CountRegression does not learn from sections without raw counts: %s.", listed(lacking, 5))
