import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from histoquilt.metrics import morans_i
from histoquilt.models.smoothing._factors import FactorProjection

AS_THEY_ARE = {"outlier_sd": np.inf, "equal_length": False}


def tissue(n_spots: int, seed: int = 0) -> tuple[np.ndarray, csr_matrix]:
    """Scattered spots and their symmetric 6-NN graph."""
    xy = np.random.default_rng(seed).uniform(0, 1, (n_spots, 2))
    near = cKDTree(xy).query(xy, k=min(7, n_spots))[1]
    pairs = np.array([(i, j) for i in range(n_spots) for j in near[i] if i != j])
    directed = csr_matrix((np.ones(len(pairs)), pairs.T), shape=(n_spots, n_spots))
    return xy, directed.maximum(directed.T).tocsr()


def planted(n_spots: int = 600, n_features: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray, csr_matrix]:
    """Two smooth patterns of variance 1 in features whose noise has up to 100 times as much."""
    rng = np.random.default_rng(seed)
    xy, adjacency = tissue(n_spots, seed)
    patterns = np.column_stack([np.sin(3 * xy[:, 0]), np.cos(4 * xy[:, 1])])
    patterns = (patterns - patterns.mean(axis=0)) / patterns.std(axis=0)
    noise = rng.normal(size=(n_spots, n_features)) * np.linspace(10, 0.5, n_features)
    noise[:, -2:] *= 0.4  # the patterns lie where the variance is least
    noise[:, -2:] += patterns
    turn = np.linalg.qr(rng.normal(size=(n_features, n_features)))[0]
    return noise @ turn, patterns, adjacency


def test_patterns_are_found_among_noise_of_greater_variance():
    features, patterns, adjacency = planted()
    fitted = FactorProjection.fit(features, adjacency, **AS_THEY_ARE)
    factors = fitted.transform(features)
    plane = np.linalg.lstsq(factors[:, :2], patterns, rcond=None)[0]
    explained = 1 - ((factors[:, :2] @ plane - patterns) ** 2).mean(axis=0)
    assert (explained > 0.8).all()
    leading = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[0][:, :2] * np.sqrt(600)
    in_pcs = 1 - ((leading @ np.linalg.lstsq(leading, patterns, rcond=None)[0] - patterns) ** 2).mean(axis=0)
    assert (in_pcs < 0.1).all(), "which principal components do not see"
    assert factors.shape[1] <= 5


@pytest.mark.parametrize("settings", [AS_THEY_ARE, {}, {"outlier_sd": 3.0, "equal_length": False}])
def test_autocorrelation_is_morans_i_of_the_factors(settings):
    features, _, adjacency = planted()
    fitted = FactorProjection.fit(features, adjacency, **settings)
    np.testing.assert_allclose(fitted.autocorrelation, morans_i(fitted.transform(features), adjacency), atol=1e-5)
    assert (np.diff(fitted.autocorrelation) <= 0).all()


@pytest.mark.parametrize("settings", [AS_THEY_ARE, {}])
def test_factors_are_uncorrelated_with_mean_zero_and_unit_variance(settings):
    features, _, adjacency = planted()
    factors = FactorProjection.fit(features, adjacency, **settings).transform(features)
    np.testing.assert_allclose(factors.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.cov(factors.T, bias=True), np.eye(factors.shape[1]), atol=1e-5)


def test_no_direction_agrees_more_between_neighbours_than_the_first_factor():
    features, _, adjacency = planted()
    first = FactorProjection.fit(features, adjacency, **AS_THEY_ARE).autocorrelation[0]
    directions = np.random.default_rng(1).normal(size=(40, 500))
    assert (morans_i(features @ directions, adjacency) < first).all()


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_gives_next_to_nothing(seed):
    _, adjacency = tissue(500, seed)
    features = np.random.default_rng(seed + 100).normal(size=(500, 30))
    fitted = FactorProjection.fit(features, adjacency)
    assert fitted.projection.shape[1] <= 3  # chance itself is an estimate; two are kept whatever happens
    assert fitted.autocorrelation[0] < 0.5


def test_chance_does_not_hide_what_is_there():
    rng = np.random.default_rng(0)
    xy, adjacency = tissue(800)
    waves = np.column_stack([np.sin(k * xy[:, d] * 3) for k in (1, 2, 3) for d in (0, 1)])
    features = np.hstack([waves + 0.2 * rng.normal(size=waves.shape), rng.normal(size=(800, 20))])
    assert 6 <= FactorProjection.fit(features, adjacency, **AS_THEY_ARE).projection.shape[1] <= 8


def test_max_factors():
    features, _, adjacency = planted()
    assert FactorProjection.fit(features, adjacency, max_factors=1).projection.shape == (40, 1)


def test_outliers_are_cut():
    """A few neighbours that share one rare gene own a whole factor, unless they are cut."""
    features, _, adjacency = planted()
    few = np.append(adjacency[0].indices, 0)
    features[few, 0] += 300
    cut = FactorProjection.fit(features, adjacency, outlier_sd=3, equal_length=False)
    uncut = FactorProjection.fit(features, adjacency, **AS_THEY_ARE)

    def largest_share(fitted: FactorProjection) -> float:
        """Share of a factor's variance that the few spots hold, in the factor that is most theirs."""
        squares = fitted.transform(features) ** 2
        return (squares[few].sum(axis=0) / squares.sum(axis=0)).max()

    assert largest_share(uncut) > 0.5
    assert largest_share(cut) < 0.5 * largest_share(uncut)


def test_equal_length_makes_loud_and_quiet_spots_alike():
    features, _, adjacency = planted()
    fitted = FactorProjection.fit(features, adjacency)
    loud = fitted.center + 50 * (features - fitted.center)
    np.testing.assert_allclose(fitted.transform(loud), fitted.transform(features), atol=1e-6)
    np.testing.assert_allclose(fitted.row_scale(loud), 50 * fitted.row_scale(features))
    assert np.median(fitted.row_scale(features)) == pytest.approx(1)
    as_they_are = FactorProjection.fit(features, adjacency, **AS_THEY_ARE)
    assert (as_they_are.row_scale(loud) == 1).all()


def test_inverse_is_the_best_linear_reconstruction():
    features, _, adjacency = planted()
    features += 5  # a mean that is not the median's
    features[:, 0] = np.exp(features[:, 0] / 10)
    fitted = FactorProjection.fit(features, adjacency, **AS_THEY_ARE)
    factors = fitted.transform(features)
    back = fitted.inverse(factors, fitted.row_scale(features))
    design = np.column_stack([factors, np.ones(600)])
    best = design @ np.linalg.lstsq(design, features, rcond=None)[0]
    assert back.shape == (600, 40)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, best, atol=1e-3)


def test_all_factors_bring_the_features_back():
    _, adjacency = tissue(200)
    xy, _ = tissue(200)
    features = np.column_stack([xy, np.sin(5 * xy), np.random.default_rng(0).normal(3, 1, (200, 1))])
    fitted = FactorProjection.fit(features, adjacency, outlier_sd=np.inf)
    if fitted.projection.shape[1] < 5:  # the noise column may fall below chance
        features = features[:, :4]
        fitted = FactorProjection.fit(features, adjacency, outlier_sd=np.inf)
    back = fitted.inverse(fitted.transform(features), fitted.row_scale(features))
    np.testing.assert_allclose(back, features, atol=1e-4)


def test_turning_and_scaling_the_features_changes_nothing():
    features, _, adjacency = planted()
    turn = np.linalg.qr(np.random.default_rng(9).normal(size=(40, 40)))[0]
    plain = FactorProjection.fit(features, adjacency, **AS_THEY_ARE)
    turned = FactorProjection.fit(features @ turn * 7 + 3, adjacency, **AS_THEY_ARE)
    np.testing.assert_allclose(turned.autocorrelation[:2], plain.autocorrelation[:2], rtol=1e-5)
    a, b = plain.transform(features)[:, :2], turned.transform(features @ turn * 7 + 3)[:, :2]
    np.testing.assert_allclose(np.abs((a * b).mean(axis=0)), 1, atol=1e-5)  # up to the sign


def test_same_seed_same_result():
    features, _, adjacency = planted()
    first, second = (FactorProjection.fit(features, adjacency, seed=3) for _ in range(2))
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(second, name))


def test_order_of_spots_does_not_matter():
    features, _, adjacency = planted()
    order = np.random.default_rng(0).permutation(600)
    plain = FactorProjection.fit(features, adjacency, **AS_THEY_ARE)
    shuffled = FactorProjection.fit(features[order], adjacency[order][:, order], **AS_THEY_ARE)
    a, b = plain.transform(features)[order, 0], shuffled.transform(features[order])[:, 0]
    assert abs((a * b).mean()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("n_spots", [3, 5, 20])
@pytest.mark.parametrize("settings", [AS_THEY_ARE, {}])
def test_few_spots(n_spots, settings):
    _, adjacency = tissue(n_spots)
    features = np.random.default_rng(0).normal(size=(n_spots, 50))
    fitted = FactorProjection.fit(features, adjacency, **settings)
    factors = fitted.transform(features)
    assert np.isfinite(factors).all()
    assert np.abs(factors).max() < 10, "a direction without variance was taken for a factor"
    assert np.isfinite(fitted.inverse(factors, fitted.row_scale(features))).all()


@pytest.mark.parametrize("settings", [AS_THEY_ARE, {}])
def test_constant_and_repeated_features_and_those_of_zero_mad(settings):
    features, _, adjacency = planted()
    rare = np.zeros((600, 1))
    rare[::7] = 1  # more than half of the spots agree: MAD 0
    odd = np.hstack([np.full((600, 2), 4.0), features[:, :10], features[:, :3], rare])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = FactorProjection.fit(odd, adjacency, **settings)
        factors = fitted.transform(odd)
    assert np.isfinite(factors).all()
    np.testing.assert_allclose(factors.std(axis=0), 1, atol=1e-3)
    back = fitted.inverse(factors, fitted.row_scale(odd))
    if settings == AS_THEY_ARE:
        np.testing.assert_allclose(back[:, :2], 4.0, atol=1e-4)


def test_features_that_are_the_same_everywhere():
    _, adjacency = tissue(30)
    with pytest.raises(ValueError, match="same in all 30 spots"):
        FactorProjection.fit(np.ones((30, 4)), adjacency)


def test_graph_without_edges():
    fitted = FactorProjection.fit(np.random.default_rng(0).normal(size=(50, 5)), csr_matrix((50, 50)))
    assert (fitted.autocorrelation == 0).all()
    assert (fitted.n_smoothing_steps == 0).all()


def test_hops_follow_the_tissue():
    """Broad structure under much noise is averaged often, clear structure and thin structure hardly."""
    rng = np.random.default_rng(0)
    n_side = 40
    rows, columns = np.divmod(np.arange(n_side**2), n_side)
    near = (np.abs(rows[:, None] - rows) + np.abs(columns[:, None] - columns)) == 1
    adjacency = csr_matrix(near.astype(float))
    broad = np.sign(rows - n_side / 2 + 0.5)

    def hops(values: np.ndarray) -> int:
        fitted = FactorProjection.fit(values[:, None], adjacency, outlier_sd=np.inf, equal_length=False)
        return int(fitted.n_smoothing_steps[0])

    assert hops(broad + 0.02 * rng.normal(size=n_side**2)) <= 1
    assert hops(broad + 1.5 * rng.normal(size=n_side**2)) >= 3
    assert hops((-1.0) ** (rows // 2) + 0.02 * rng.normal(size=n_side**2)) == 0
