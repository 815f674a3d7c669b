from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import PoissonRegressor

import histoquilt as hq
from histoquilt.gr import radius_adjacency
from histoquilt.metrics import gene_deviance_explained
from histoquilt.models import CountRegression, CountRegressionConfig, MissingCountsError, ReducedRankRidge, load
from histoquilt.models.counts import _count_regression, _poisson
from histoquilt.models.counts._count_regression import CountInputs, Setting
from histoquilt.models.counts._poisson import Counts, counts_of, fit_poisson, levels, reduced_ranks
from histoquilt.models.expression import _inner_validation
from histoquilt.models.expression._inner_validation import inner_folds
from histoquilt.models.expression._inputs import ImageSection

N_INPUTS, N_GENES, RANK = 10, 30, 2


def make_sections(n=4, n_spots=150, seed=0, shift=0.0):
    """Sections with counts of planted log rates of rank 2, and these, ``(n_spots, n_genes)`` each."""
    rng = np.random.default_rng(seed)
    way = 0.25 * rng.normal(size=(N_INPUTS, RANK)) @ rng.normal(size=(RANK, N_GENES))
    rate = 10 ** rng.uniform(-3.5, -1.5, N_GENES)
    sections, truth = [], []
    for number in range(n):
        x = rng.normal(size=(n_spots, N_INPUTS)).astype(np.float32)
        depth = np.rint(np.exp(6 + 0.6 * x[:, 0] + rng.normal(0, 0.3, n_spots)))
        counts = rng.poisson(depth[:, None] * rate * np.exp(x @ way + shift * rng.normal(size=N_GENES)))
        y = np.log1p(1e4 * counts / depth[:, None]).astype(np.float32)
        near = radius_adjacency(rng.uniform(0, 1000, (n_spots, 2)), 100.0).astype(np.float32)
        sections.append(ImageSection(f"s{number}", f"s{number}", (x,), x, x[:, :2], near, y, depth))
        truth.append(x @ way)
    return sections, truth


def as_counts(sections):
    return [Counts.of(one.x, one.measured, one.depth) for one in sections]


def test_counts_are_those_that_were_normalised():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, [3, 300, 30_000], (500, 3))
    depth = counts.sum(axis=1)
    y = np.log1p(counts * (1e4 / depth[:, None]).astype(np.float32)).astype(np.float32)
    np.testing.assert_array_equal(np.rint(counts_of(y, depth)), counts)
    np.testing.assert_allclose(counts_of(y, depth), counts, rtol=3e-6)


def test_the_gradient_is_that_of_the_value():
    sections, _ = make_sections(2)
    objective = _poisson._Objective(as_counts(sections), slice(3, 8), 0.7)
    genes = np.array([0, 2, 4])
    position = np.random.default_rng(0).normal(size=(N_INPUTS, 3))
    _, gradient = objective(position, genes)
    for row, column in [(0, 0), (4, 1), (9, 2)]:
        step = np.zeros_like(position)
        step[row, column] = 1e-5
        difference = (objective(position + step, genes)[0] - objective(position - step, genes)[0]) / 2e-5
        assert difference[column] == pytest.approx(gradient[row, column], rel=1e-5)
        assert np.delete(difference, column) == pytest.approx(0)


def test_it_is_the_poisson_regression_of_scikit_learn():
    (section,), _ = make_sections(1)
    counts = counts_of(section.measured, section.depth)
    found = fit_poisson(as_counts([section]), 0.5, tolerance=1e-9)
    level = levels(as_counts([section]), found)
    for gene in (0, 7, 20):
        reference = PoissonRegressor(alpha=0.5**-2 / section.depth.sum(), tol=1e-8, max_iter=1000)
        reference.fit(section.x, counts[:, gene] / section.depth, sample_weight=section.depth)
        np.testing.assert_allclose(found[:, gene], reference.coef_, atol=1e-4)
        assert level[gene] == pytest.approx(reference.intercept_, abs=1e-4)


def test_levels_of_sections_are_free():
    sections, _ = make_sections(2)
    base = fit_poisson(as_counts(sections), 1.0, tolerance=1e-9)
    first, second = as_counts(sections)
    # a section that was sequenced five times as deep by another count of all: its level moves, nothing else
    deeper = replace(second, depth=5 * second.depth)
    np.testing.assert_allclose(fit_poisson([first, deeper], 1.0, tolerance=1e-9), base, atol=1e-6)
    moved = levels([first, deeper], base) - levels([first, second], base)
    np.testing.assert_allclose(moved, -np.log(5) / 2)


def test_every_step_lowers_the_penalised_deviance(monkeypatch):
    sections, _ = make_sections(2)
    values = []
    search = _poisson._search

    def watched(objective, position, going, value, direction, slope):
        step, new_value, gradient = search(objective, position, going, value, direction, slope)
        values.append((value.copy(), new_value.copy()))
        return step, new_value, gradient

    monkeypatch.setattr(_poisson, "_search", watched)
    fit_poisson(as_counts(sections), 3.0)
    assert len(values) > 2
    assert all((after <= before).all() for before, after in values)


def test_blocks_of_genes_give_the_same(monkeypatch):
    sections, _ = make_sections(2)
    counts = as_counts(sections)
    whole = fit_poisson(counts, 1.0, tolerance=1e-9)
    level = levels(counts, whole)
    monkeypatch.setattr(_poisson, "_BLOCK_VALUES", 7 * 300)
    np.testing.assert_allclose(fit_poisson(counts, 1.0, tolerance=1e-9), whole, atol=1e-6)
    np.testing.assert_allclose(as_counts(sections)[0].products, counts[0].products)
    np.testing.assert_allclose(levels(counts, whole), level)


def test_the_rank_bounds_the_directions_of_log_rates():
    sections, _ = make_sections(2)
    counts = as_counts(sections)
    fits = dict(reduced_ranks(counts, fit_poisson(counts, 1.0), (1, 3, 99)))
    assert {rank: np.linalg.matrix_rank(fit, tol=1e-8) for rank, fit in fits.items()} == {1: 1, 3: 3}


def test_genes_and_spots_without_counts_say_nothing():
    sections, _ = make_sections(2)
    y, depth = sections[0].measured.copy(), sections[0].depth.copy()
    y[:, 4] = 0
    before = Counts.of(sections[0].x, y, depth)
    empty = np.vstack([y, np.zeros((5, N_GENES), np.float32)])
    x = np.vstack([sections[0].x, 99 * np.ones((5, N_INPUTS), np.float32)])
    after = Counts.of(x, empty, np.append(depth, np.zeros(5)))
    found = fit_poisson([before], 1.0)
    np.testing.assert_array_equal(found, fit_poisson([after], 1.0))
    assert (found[:, 4] == 0).all()
    assert np.isfinite(levels([before], found)).all()


def test_planted_log_rates_are_found_better_than_by_ridge_on_log1p():
    sections, truth = make_sections(4, shift=0.3)
    *train, test = [replace(one, log_counts=np.log(one.depth)) for one in sections]
    folds = inner_folds([one.group for one in train])
    scores = {}
    for model in (CountRegression(), ReducedRankRidge()):
        learnt, held_out = model.fit_arrays(train, folds, 0, lambda note="": None)
        assert [one.shape for one in held_out] == [(150, N_GENES)] * 3
        log_rates = learnt.model.predict(test.x)
        log_rates = np.log(np.maximum(log_rates, 1e-3)) if isinstance(model, ReducedRankRidge) else log_rates
        centred = log_rates - log_rates.mean(axis=0), truth[3] - truth[3].mean(axis=0)
        scores[model.method] = np.median(
            [np.corrcoef(centred[0][:, g], centred[1][:, g])[0, 1] for g in range(N_GENES)]
        )
    assert scores["count_regression"] > 0.9
    assert scores["count_regression"] > scores["reduced_rank_ridge"] + 0.05


def test_the_planted_rank_is_among_the_first():
    sections, _ = make_sections(4)
    train = [replace(one, log_counts=np.log(one.depth)) for one in sections]
    learnt, _ = CountRegression().fit_arrays(train, inner_folds([one.group for one in train]), 0, lambda note="": None)
    assert learnt.settings[0].rank in (2, 3)
    assert len(learnt.settings) == 8


def test_settings_of_a_large_study_are_chosen_on_a_part_of_it(monkeypatch):
    sections, _ = make_sections(4)
    folds, config = inner_folds([one.group for one in sections]), CountRegressionConfig(spreads=(0.4,), ranks=(2,))
    inputs = CountInputs.of(sections, folds, config)
    whole = list(inputs.judge(folds[0], config))
    monkeypatch.setattr(_count_regression, "_MAX_FITTED", 200)
    monkeypatch.setattr(_inner_validation, "MAX_JUDGED", 100)
    monkeypatch.setattr(_inner_validation, "_LEAST_SPOTS", 100)
    parts = _inner_validation.part_of_sections(sections, [1, 2, 3], 200)
    assert [(i, rows.step) for i, rows in parts] == [(1, 2), (3, 2)]
    # the scores of the spots that are kept are those that they have among all spots of the section
    for basis in inputs.bases.values():
        z, measured, depth = inputs._spots(basis, 1, slice(None, None, 2))
        np.testing.assert_array_equal(z, basis.scores(sections[1].x)[::2])
        assert len(z) == len(measured) == len(depth) == 75
    assert any(basis.own_moments for basis in inputs.bases.values())
    part = list(inputs.judge(folds[0], config))
    assert [setting for setting, _ in part] == [setting for setting, _ in whole]
    assert all(abs(a - b) < 0.2 and a != b for (_, a), (_, b) in zip(whole, part, strict=True))


def test_what_is_held_out_has_not_been_seen():
    sections, _ = make_sections(3)
    folds = inner_folds([one.group for one in sections])
    settings = (Setting(False, 0.4, 2), Setting(True, 0.4, None))
    config = CountRegressionConfig()
    before = CountInputs.of(sections, folds, config).average([0, 1], settings)
    planted = [*sections[:2], replace(sections[2], y=sections[2].measured[::-1].copy())]
    after = CountInputs.of(planted, folds, config).average([0, 1], settings)
    np.testing.assert_array_equal(before.predict(sections[2].x), after.predict(sections[2].x))


def test_it_learns_what_the_image_shows_and_writes_its_log_rates(study, tmp_path):
    held_out = study.pop("s3")
    counts = held_out.X.toarray()
    model = CountRegression().fit(study, use_rep="X_image")
    predicted = model.predict(held_out)
    relative = predicted.layers["relative_count_regression"]
    explained = gene_deviance_explained(counts, counts.sum(axis=1), relative)
    assert np.median(explained[:6]) > 0.3
    np.testing.assert_allclose(relative.mean(axis=0), 0, atol=1e-5)
    assert np.median(predicted.var["reliability"][:6]) > 0.6
    chosen = model.training_facts["chosen"]
    assert chosen["averaged"][0].keys() == {"own_moments", "spread", "rank"}
    assert chosen["inner_adjusted_pcc"] > 0.3
    assert not model.keeps_expression
    model.save(tmp_path / "model")
    again = load(tmp_path / "model").predict(held_out)
    for layer in ("predicted_count_regression", "relative_count_regression"):
        np.testing.assert_array_equal(again.layers[layer], predicted.layers[layer])


def declare_normalised(adata):
    counts = adata.X.toarray()
    adata.X = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    adata.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}


def test_sections_without_raw_counts_are_not_learnt_from(study, caplog):
    held_out = study.pop("s3")
    declare_normalised(study["s1"])
    with caplog.at_level("INFO", logger="histoquilt"):
        model = CountRegression().fit(study, use_rep="X_image")
    assert "does not learn from sections without raw counts: 's1'" in caplog.text
    assert np.isfinite(model.predict(held_out).layers["predicted_count_regression"]).all()
    declare_normalised(study["s0"])
    with pytest.raises(ValueError, match=r"at least two are needed; got 1\. Without raw counts: 's0', 's1'.*layers"):
        CountRegression().fit(study, use_rep="X_image")
    declare_normalised(study["s2"])
    with pytest.raises(ValueError, match="got 0"):
        CountRegression().fit(study, use_rep="X_image")
    ReducedRankRidge().fit(study, use_rep="X_image")  # others go on


def test_sections_with_raw_counts_in_one_fold_are_named():
    sections, _ = make_sections(7)
    folds = inner_folds([one.group for one in sections])
    merged = next(fold.held_out for fold in folds if len(fold.held_out) > 1)
    train = [one if i in merged else replace(one, depth=None) for i, one in enumerate(sections)]
    names = ", ".join(repr(train[i].group) for i in merged)
    with pytest.raises(MissingCountsError, match=f"not left out together are needed; {names} are: .* inner folds .5."):
        CountInputs.of(train, folds, CountRegressionConfig())


def test_spots_without_a_count_are_predicted(study):
    held_out = study.pop("s3")
    for adata in (*study.values(), held_out):
        counts = adata.X.tolil()
        counts[:3] = 0
        adata.X = counts.tocsr()
    predicted = CountRegression().fit(study, use_rep="X_image").predict(held_out)
    assert np.isfinite(predicted.layers["predicted_count_regression"]).all()
    assert np.isfinite(predicted.layers["relative_count_regression"]).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"spreads": ()}, "spreads must be one or more positive"),
        ({"spreads": (0.0, 1.0)}, "spreads must be one or more positive"),
        ({"ranks": (0,)}, "ranks must be one or more whole numbers of at least 1"),
        ({"n_components": 0}, "n_components must be a whole number of at least 1"),
        ({"n_components": 513}, "at most 512"),
        ({"n_settings": True}, "n_settings must be a whole number, got True"),
        ({"neighbours": "validate"}, "cannot be 'validate'"),
    ],
)
def test_settings_are_checked(settings, words):
    with pytest.raises(ValueError, match=words):
        CountRegressionConfig(**settings)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_on_real_tissue_it_is_not_behind_ridge_between_spots_of_equal_depth(her2st_half):
    """Held-out training sections of one tumour; no other section is looked at."""
    study = {}
    for name in ("C2", "C3"):
        study[name], image = her2st_half(name)
        mpp = hq.io.estimate_mpp(study[name], pitch_um=200.0)
        hq.im.embed_patches(study[name], image, mpp=mpp, field_um=200.0, key_added="X_image", progress=False)
    scores = {
        type(model).__name__: np.median(
            model.fit(study, use_rep="X_image").predict(study["C2"]).var["reliability_adjusted"]
        )
        for model in (CountRegression(), ReducedRankRidge())
    }
    assert scores["CountRegression"] > max(0.12, scores["ReducedRankRidge"] - 0.02)
