"""The shared-covariance mixture against an EM of our own, scikit-learn and, where it is installed, R's mclust."""

import shutil
import subprocess

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from histoquilt.cluster import _mixture
from histoquilt.cluster._mixture import Mixture, fit_mixture, split_and_merge
from histoquilt.cluster._shared_covariance import fit_shared_covariance


def whiten(x):
    x = x - x.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(x.T, bias=True))
    return x @ axes / np.sqrt(values)


def log_densities(x, weights, means, covariance):
    inverse = np.linalg.inv(covariance)
    distance = np.stack([np.einsum("ij,jk,ik->i", x - mean, inverse, x - mean) for mean in means], axis=1)
    constant = x.shape[1] * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1]
    return np.log(weights) - 0.5 * (distance + constant)


def em(x, labels, n_iterations=3000):
    """EM of a mixture with one covariance, written out, from the true labels."""
    posterior = np.eye(labels.max() + 1)[labels]
    for _ in range(n_iterations):
        weights = posterior.mean(axis=0)
        means = posterior.T @ x / posterior.sum(axis=0)[:, None]
        covariance = (x.T @ x - (means.T * posterior.sum(axis=0)) @ means) / len(x)
        log_joint = log_densities(x, weights, means, covariance)
        posterior = np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))
    return logsumexp(log_joint, axis=1).mean(), posterior


def test_separated_gaussians_are_recovered(shared_covariance):
    x, labels = shared_covariance(apart=12.0)
    fit = fit_mixture(x, 4)
    assert adjusted_rand_score(labels, fit.labels) == 1.0
    assert fit.probabilities.shape == (len(x), 4)
    np.testing.assert_allclose(fit.probabilities.sum(axis=1), 1)
    assert (fit.probabilities.argmax(axis=1) == fit.labels).all()


def test_elongated_clusters_need_the_covariance():
    """Two long parallel stripes, which k-means would cut across."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200)
    x = np.column_stack([rng.normal(0, 10, 400), rng.normal(0, 0.5, 400) + 4 * labels])
    assert adjusted_rand_score(labels, fit_mixture(x, 2).labels) == 1.0


def test_likelihood_is_that_of_an_em_from_the_truth(shared_covariance):
    x, labels = shared_covariance(apart=5.0)
    expected, posterior = em(whiten(x), labels)
    fit = fit_mixture(x, 4)
    assert fit.log_likelihood >= expected - 1e-3
    if fit.log_likelihood < expected + 1e-3:  # the same optimum
        assert adjusted_rand_score(posterior.argmax(axis=1), fit.labels) > 0.97


def test_likelihood_is_no_worse_than_many_starts_of_scikit_learn(shared_covariance):
    x, _ = shared_covariance(apart=4.0, seed=5)
    reference = GaussianMixture(4, covariance_type="tied", n_init=30, tol=1e-6, max_iter=1000, random_state=0)
    best = reference.fit(whiten(x)).score(whiten(x))
    assert fit_mixture(x, 4, n_starts=20).log_likelihood >= best - 2e-3


def test_rotating_scaling_and_moving_changes_nothing(shared_covariance):
    x, _ = shared_covariance(apart=12.0)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for changed in (x @ rotation, 1e-3 * x, 1e5 * x, x + 500, x * [1, 100, 0.01]):
        assert adjusted_rand_score(fit_mixture(x, 4).labels, fit_mixture(changed, 4).labels) == 1.0


def test_directions_without_variance_change_nothing(shared_covariance):
    x, _ = shared_covariance(apart=12.0)
    padded = np.column_stack([x, np.full(len(x), 7.0), x[:, 0]])
    assert adjusted_rand_score(fit_mixture(x, 4).labels, fit_mixture(padded, 4).labels) == 1.0


def test_same_seed_same_labels(shared_covariance):
    x, _ = shared_covariance(apart=2.0)
    first, second = fit_mixture(x, 5, seed=3), fit_mixture(x, 5, seed=3)
    assert (first.labels == second.labels).all()
    assert (first.probabilities == second.probabilities).all()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    fit_mixture(x, 3, n_starts=2)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_a_sample_starts_what_all_spots_finish(shared_covariance):
    """More spots than Ward is given."""
    x, labels = shared_covariance(n=3000, apart=12.0)
    assert adjusted_rand_score(labels, fit_mixture(x, 4, n_starts=4).labels) > 0.999


def test_one_domain():
    fit = fit_mixture(np.random.default_rng(0).normal(size=(10, 3)), 1)
    assert (fit.labels == 0).all()
    assert (fit.probabilities == 1).all()
    assert fit_mixture(np.ones((1, 3)), 1).labels.tolist() == [0]


def test_as_many_domains_as_spots():
    fit = fit_mixture(np.random.default_rng(0).normal(size=(6, 3)), 6)
    assert sorted(fit.labels) == [0, 1, 2, 3, 4, 5]


def test_rows_that_repeat():
    rows = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    x = rows[[0] * 40 + [1] * 3 + [2] * 2]
    fit = fit_mixture(x, 3)
    assert adjusted_rand_score(np.repeat([0, 1, 2], [40, 3, 2]), fit.labels) == 1.0
    too_many = fit_mixture(x, 4)  # three can be told apart, and so three come out
    assert sorted(np.unique(too_many.labels)) == [0, 1, 2]
    for constant in (1.0, 0.1, -1e6):
        assert np.unique(fit_mixture(np.full((9, 4), constant), 2).labels).tolist() == [0]


def test_a_fit_that_keeps_all_domains_is_preferred():
    """Noise and more domains than it holds: EM starves some, yet the number asked for comes out."""
    rng = np.random.default_rng(2)
    for n_domains in (6, 8, 10):
        fit = fit_mixture(rng.normal(size=(60, 2)), n_domains)
        assert len(np.unique(fit.labels)) == n_domains


# spots that were not fitted


@pytest.mark.parametrize("as_type", [np.float32, np.float64])
def test_posteriors_of_the_fitted_spots_are_those_of_the_fit(shared_covariance, as_type):
    x, _ = shared_covariance(apart=4.0)
    x = x.astype(as_type)
    fit = fit_mixture(x, 4)
    np.testing.assert_array_equal(fit.mixture.probabilities(x), fit.probabilities)
    half = fit.mixture.probabilities(x[::2])  # each spot by itself, whatever else is asked about
    np.testing.assert_allclose(half, fit.probabilities[::2], atol=1e-12)


def test_a_kept_mixture_is_the_textbooks(shared_covariance):
    """Posteriors and likelihood from the full normal densities, written out."""
    x, _ = shared_covariance(apart=4.0)
    fit = fit_mixture(x, 4)
    mixture = fit.mixture
    scores = (x - mixture.center) @ mixture.axes
    np.testing.assert_allclose(np.cov(scores.T, bias=True), np.eye(3), atol=1e-6)
    covariance = np.linalg.inv(mixture.precision)
    joint = log_densities(scores, mixture.weights, mixture.means, covariance)
    expected = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(fit.probabilities, expected, atol=1e-8)
    assert logsumexp(joint, axis=1).mean() == pytest.approx(fit.log_likelihood, abs=1e-3)


def test_a_mixture_by_hand():
    """Two Gaussians at -1 and 1, unit variance, weights 3 to 1: log odds are log 3 - 2 x."""
    mixture = Mixture(
        center=np.array([10.0, 0.0]),
        axes=np.array([[0.5], [0.0]]),  # the second feature is not looked at
        weights=np.array([0.75, 0.25]),
        means=np.array([[-1.0], [1.0]]),
        precision=np.eye(1),
    )
    found = mixture.probabilities(np.array([[10.0, 7.0], [12.0, -7.0], [10 + np.log(3), 0.0], [1e6, 0.0]]))
    first = 1 / (1 + np.exp(-(np.log(3) - 2 * np.array([0, 1, np.log(3) / 2]))))
    np.testing.assert_allclose(found[:3, 0], first)
    assert found[2].tolist() == pytest.approx([0.5, 0.5])
    assert found[3].tolist() == [0, 1]  # nothing overflows far away


def test_nothing_is_kept_where_nothing_was_fitted():
    assert fit_mixture(np.eye(3)[[0] * 5 + [1] * 5], 3).mixture is None


def _has_mclust() -> bool:
    if shutil.which("Rscript") is None:
        return False
    found = subprocess.run(["Rscript", "-e", "library(mclust)"], capture_output=True)
    return found.returncode == 0


@pytest.mark.skipif(not _has_mclust(), reason="R with the package mclust is not installed")
def test_labels_are_those_of_mclust(shared_covariance, tmp_path):
    x, _ = shared_covariance(apart=8.0)
    np.savetxt(tmp_path / "x.csv", x, delimiter=",")
    script = (
        f"suppressMessages(library(mclust)); x <- as.matrix(read.csv('{tmp_path}/x.csv', header=FALSE)); "
        f"m <- Mclust(x, G=4, modelNames='EEE', verbose=FALSE); "
        f"write.table(m$classification, '{tmp_path}/labels.csv', row.names=FALSE, col.names=FALSE)"
    )
    subprocess.run(["Rscript", "-e", script], check=True, capture_output=True)
    assert adjusted_rand_score(np.loadtxt(tmp_path / "labels.csv"), fit_mixture(x, 4).labels) > 0.98


def twelve_clusters():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 4)) * 8
    labels = np.repeat(np.arange(12), 40)
    return centres[labels] + rng.normal(size=(480, 4)), labels, centres


def test_many_gaussians_escape_a_poor_optimum():
    """Three pairs of Gaussians each in one cluster, and three in place of two each."""
    x, labels, centres = twelve_clusters()
    start = centres.copy()
    for doubled, lost, between in ((0, 1, 2), (3, 4, 5), (6, 7, 8)):
        start[lost] = centres[doubled] + 0.5
        start[between] = (centres[lost] + centres[between]) / 2
    stuck = fit_shared_covariance(x, np.full(12, 1 / 12), start)
    right = fit_shared_covariance(x, np.full(12, 1 / 12), centres)
    assert stuck.log_likelihood < right.log_likelihood - 0.1
    moved = split_and_merge(x, stuck)
    assert moved.log_likelihood == pytest.approx(right.log_likelihood, abs=1e-3)
    assert adjusted_rand_score(labels, moved.responsibilities.argmax(axis=1)) == 1.0


def test_moves_of_many_gaussians_are_bounded(monkeypatch):
    x, _, centres = twelve_clusters()
    fit = fit_shared_covariance(x, np.full(12, 1 / 12), centres)
    short_runs = []

    def counted(*arguments, **options):
        short_runs.append("n_iterations" in options)
        return fit_shared_covariance(*arguments, **options)

    monkeypatch.setattr(_mixture, "fit_shared_covariance", counted)
    assert split_and_merge(x, fit).log_likelihood == pytest.approx(fit.log_likelihood, abs=1e-3)
    assert sum(short_runs) == 20  # of 5 pairs x 10 others
    monkeypatch.setattr(_mixture, "_ALL_MOVES", 12)
    short_runs.clear()
    split_and_merge(x, fit)
    assert sum(short_runs) == 50
