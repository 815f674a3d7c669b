import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from histoquilt.gr import radius_adjacency
from histoquilt.models import ReducedRankRidge, ReducedRankRidgeConfig, _ridge_path
from histoquilt.models._ridge_path import RidgePath, spot_weights
from histoquilt.models.expression._inner_validation import gene_correlations, inner_folds
from histoquilt.models.expression._inputs import ImageSection, own_moments
from histoquilt.models.linear._reduced_rank import LinearInputs, LinearModel, Setting, fit_reduced_rank

N_SPOTS, N_INPUTS, N_GENES, RANK = 80, 12, 20, 2


def make_sections(n: int = 3, *, noise: float = 1.0, seed: int = 0) -> list[ImageSection]:
    rng = np.random.default_rng(seed)
    way = rng.normal(size=(N_INPUTS, RANK)) @ rng.normal(size=(RANK, N_GENES))
    sections = []
    for number in range(n):
        x = rng.normal(size=(N_SPOTS, N_INPUTS)).astype(np.float32)
        centres = rng.uniform(0, 1000, size=(N_SPOTS, 2))
        depth = rng.uniform(100, 2000, size=N_SPOTS)
        spread = noise * np.sqrt(1000 / depth)[:, None]
        y = (5 + x @ way + spread * rng.normal(size=(N_SPOTS, N_GENES))).astype(np.float32)
        sections.append(
            ImageSection(
                f"s{number}",
                f"s{number}",
                (x,),
                x,
                centres,
                radius_adjacency(centres, 100.0).astype(np.float32),
                y,
                depth,
            )
        )
    return sections


@pytest.fixture(scope="module")
def sections():
    return make_sections()


def test_without_a_rank_it_is_ridge_regression(sections):
    inputs = LinearInputs.of(sections)
    alpha = 0.03
    model = inputs.average([0, 1, 2], [Setting(False, False, alpha, None)])
    scores = np.concatenate(inputs.scores[False]).astype(np.float64)
    y = np.concatenate([one.measured for one in sections])
    unit = scores.var(axis=0).sum() * len(scores)
    reference = Ridge(alpha=alpha * unit).fit(scores, y)
    np.testing.assert_allclose(
        model.predict(sections[0].x), reference.predict(inputs.scores[False][0]), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("rank", [1, 3])
def test_the_rank_bounds_the_rank_of_predictions(sections, rank):
    model = LinearInputs.of(sections).average([0, 1, 2], [Setting(True, True, 0.001, rank)])
    centred = model.predict(sections[0].x).astype(np.float64)
    centred -= centred.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False)
    assert values[rank] < 1e-4 * values[0] < values[rank - 1]


def test_the_true_rank_and_weights_are_found(sections):
    fit = fit_reduced_rank(sections, inner_folds([one.group for one in sections]), ReducedRankRidgeConfig())
    assert {one.rank for one in fit.settings[:3]} <= {2, 3, 4}
    assert fit.settings[0].weighted
    test = make_sections(4, noise=0.0)[3]  # the same way in, a new section
    assert np.corrcoef(fit.model.predict(test.x).ravel(), test.measured.ravel())[0, 1] > 0.95


def test_reducing_the_rank_beats_ridge_where_the_truth_has_few_directions():
    noisy, clean = make_sections(3, noise=4.0), make_sections(3, noise=0.0)
    inputs = LinearInputs.of(noisy)
    errors = []
    for rank in (RANK, None):
        model = inputs.average([0, 1], [Setting(False, True, 0.001, rank)])
        errors.append(((model.predict(clean[2].x) - clean[2].measured) ** 2).mean())
    assert errors[0] < 0.6 * errors[1]


def test_a_spot_of_few_counts_weighs_less(sections):
    weights = spot_weights(sections[0])
    order = np.argsort(sections[0].depth)
    assert (np.diff(weights[order]) > 0).all()
    assert 0 < weights.min() < weights.max() < 1


def test_own_moments_take_out_shift_and_stretch():
    x = np.random.default_rng(0).normal(size=(4000, 5)).astype(np.float32)
    np.testing.assert_allclose(own_moments(3 * x + 2), own_moments(x), atol=0.03)


def test_a_single_spot_keeps_the_training_moments_almost():
    x = np.full((1, 3), 2.0, dtype=np.float32)
    assert own_moments(x) == pytest.approx(np.full((1, 3), 2.0), rel=0.1)


def test_more_inputs_than_spots(sections):
    rng = np.random.default_rng(1)
    wide = [dataclasses.replace(one, x=rng.normal(size=(N_SPOTS, 900)).astype(np.float32)) for one in sections]
    model = LinearInputs.of(wide).average([0, 1, 2], [Setting(False, False, 0.0001, None)])
    assert np.corrcoef(model.predict(wide[0].x).ravel(), wide[0].measured.ravel())[0, 1] > 0.9  # they can be fitted


def test_arrays_come_back(sections):
    model = LinearInputs.of(sections).average(
        [0, 1, 2], [Setting(True, True, 0.001, 2), Setting(False, True, 0.001, 2)]
    )
    restored = LinearModel.restore(model.arrays())
    np.testing.assert_array_equal(restored.predict(sections[1].x), model.predict(sections[1].x))


def test_it_learns_what_the_image_shows(study):
    held_out = study.pop("s3")
    model = ReducedRankRidge().fit(study, use_rep="X_image")
    predicted = model.predict(held_out)
    measured = predicted.layers["measured_log1p_cp10k"]
    assert gene_correlations(measured, predicted.layers["predicted_reduced_rank_ridge"])[:6].mean() > 0.6
    chosen = model.training_facts["chosen"]
    assert len(chosen["averaged"]) == 8
    assert chosen["averaged"][0].keys() == {"own_moments", "weighted", "alpha", "rank"}
    assert not model.keeps_expression


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alphas": ()}, "alphas must be one or more positive"),
        ({"ranks": (0,)}, "ranks must be one or more whole numbers of at least 1 or be empty"),
        ({"n_settings": 0}, "n_settings must be a whole number of at least 1"),
        ({"fields": "validate"}, "cannot be 'validate'"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ValueError, match=words):
        ReducedRankRidgeConfig(**settings)


@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_of_spots_give_the_same_path(weighted, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 12)), rng.normal(size=(50, 6))
    weights = rng.uniform(0.2, 1, 50) if weighted else None
    whole = RidgePath.fit(x, y, weights).coefficients(0.1, 3)
    monkeypatch.setattr(_ridge_path, "_BLOCK", 7)
    for one, other in zip(RidgePath.fit(x, y, weights).coefficients(0.1, 3), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
