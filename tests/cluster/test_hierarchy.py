"""Merges and parts of domains: distances worked out by hand, planted parts, and nothing found where nothing is."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from histoquilt.cluster import DomainMoments, fit_merged, level_stability, merge_domains, split_domain


def gaussians(means, sizes, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    return np.asarray(means, float)[codes] + rng.normal(0, spread, (len(codes), len(means[0]))), codes


def moments_of(x, codes):
    return DomainMoments.of(x, codes, np.zeros(x.shape[1]), np.eye(x.shape[1]))


def test_distances_are_those_in_the_covariance_within_domains():
    x, codes = gaussians([[0, 0], [3, 1], [0, 5]], [40, 30, 20], spread=[1, 2])
    within = sum((x[codes == c] - x[codes == c].mean(0)).T @ (x[codes == c] - x[codes == c].mean(0)) for c in range(3))
    inverse = np.linalg.inv(within / len(x))
    apart = x[codes == 0].mean(0) - x[codes == 2].mean(0)
    distances = moments_of(x, codes).distances()
    np.testing.assert_allclose(distances[0, 2], np.sqrt(apart @ inverse @ apart), rtol=1e-5)
    np.testing.assert_allclose(distances, distances.T)


def test_moments_after_a_merge_are_those_of_the_merged_labels():
    x, codes = gaussians([[0, 0], [3, 1], [0, 5]], [40, 30, 20])
    merged, direct = moments_of(x, codes).merged(0, 2), moments_of(x, np.where(codes == 2, 0, codes))
    np.testing.assert_allclose(merged.means, direct.means)
    np.testing.assert_array_equal(merged.sizes, direct.sizes)
    np.testing.assert_allclose(merged.distances(), direct.distances())


def test_the_closest_means_are_merged_whatever_their_sizes():
    """Ward's method would first merge the two small domains, which are farther apart."""
    x, codes = gaussians([[0, 0], [4, 0], [0, 40], [5, 40]], [500, 500, 10, 10])
    merges = merge_domains(moments_of(x, codes))
    assert merges.of_level[3].tolist() == [0, 0, 1, 2]
    assert merges.of_level[2].tolist() == [0, 0, 1, 1]
    assert merges.of_level[1].tolist() == [0, 0, 0, 0]
    assert merges.distances[3] == pytest.approx(4, abs=0.3)


def test_the_covariance_is_computed_again_after_a_merge():
    """Merging along x makes x a direction within domains, so that what differs along x only comes closer."""
    x, codes = gaussians([[0, 0], [4, 0], [12, 0], [0, 6]], [200] * 4)
    merges = merge_domains(moments_of(x, codes))
    assert merges.of_level[3].tolist() == [0, 0, 1, 2]
    assert merges.of_level[2].tolist() == [0, 0, 0, 1]  # 10 apart on x, against 6.3 on y before


def test_small_domains_are_merged_first_if_a_least_share_is_given():
    x, codes = gaussians([[0, 0], [4, 0], [0, 40]], [500, 500, 10])
    assert merge_domains(moments_of(x, codes), least_share=0.03, down_to=2).of_level[2].tolist() == [0, 1, 0]
    assert merge_domains(moments_of(x, codes), down_to=2).of_level[2].tolist() == [0, 0, 1]


def test_levels_of_separated_domains_come_back_and_levels_of_arbitrary_ones_do_not():
    x, codes = gaussians(np.array([[0, 0], [8, 0], [0, 20], [8, 30]]), [100] * 4)
    stability = level_stability(x, codes, merge_domains(moments_of(x, codes)))
    assert stability[4].mean() > 0.98
    assert stability[3].mean() > 0.98
    assert len(stability[4]) == 10
    arbitrary = np.random.default_rng(0).integers(4, size=400)
    one = np.random.default_rng(1).normal(size=(400, 2))
    assert level_stability(one, arbitrary, merge_domains(moments_of(one, arbitrary)))[4].mean() < 0.2


def test_stability_of_too_few_spots_is_unknown():
    x, codes = gaussians([[0, 0], [9, 9]], [6, 6])
    assert np.isnan(level_stability(x, codes, merge_domains(moments_of(x, codes)))[2]).all()


@pytest.mark.parametrize("number", [2, 4])
def test_planted_parts_are_found(number):
    x, codes = gaussians(8 * np.eye(5)[:number], [80] * number)
    parts = split_domain(x)
    assert parts.labels.max() + 1 == number
    assert adjusted_rand_score(codes, parts.labels) > 0.98
    assert parts.stability > 0.95
    np.testing.assert_array_equal(parts.labels, split_domain(x).labels)


@pytest.mark.parametrize("seed", range(4))
def test_one_gaussian_has_no_parts(seed):
    parts = split_domain(np.random.default_rng(seed).normal(size=(400, 8)))
    assert parts.labels.max() == 0
    assert parts.stability < 0.6


def test_a_domain_of_few_spots_is_not_split():
    parts = split_domain(gaussians([[0, 0], [50, 50]], [15, 15])[0])
    assert parts.labels.max() == 0
    assert np.isnan(parts.stability)


def test_merging_joins_the_pieces_of_a_domain_that_dominates():
    """A long domain of most spots and two small ones, where the mixture may cut the long one."""
    rng = np.random.default_rng(0)
    long = np.column_stack([rng.uniform(-10, 10, 900), rng.normal(size=900), rng.normal(size=900)])
    x = np.concatenate([long, rng.normal([0, 9, 0], 1, (80, 3)), rng.normal([0, 0, 9], 1, (80, 3))])
    truth = np.repeat([0, 1, 2], [900, 80, 80])
    fit = fit_merged(x, 3)
    assert adjusted_rand_score(truth, fit.labels) > 0.9
    np.testing.assert_allclose(fit.probabilities.sum(axis=1), 1)
    assert np.bincount(fit.labels).min() >= 0.03 * len(x)
    np.testing.assert_array_equal(fit.labels, fit_merged(x, 3).labels)


def test_spots_outside_the_sample_get_the_domain_of_the_consensus():
    x, codes = gaussians([[0, 0], [9, 0], [0, 9]], [200] * 3)
    fit = fit_merged(x, 3, sample=np.arange(0, 600, 2))
    assert adjusted_rand_score(codes, fit.labels) == 1
    assert fit.n_fitted == 300
    assert adjusted_rand_score(codes, fit.mixture.probabilities(x).argmax(axis=1)) == 1


def test_merging_says_if_so_many_domains_cannot_be_distinguished():
    fit = fit_merged(np.repeat(np.eye(3), 20, axis=0), 5)
    assert len(np.unique(fit.labels)) < 5
    assert fit.mixture is None
