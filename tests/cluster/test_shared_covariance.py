"""EM with one covariance is scikit-learn's, iteration by iteration."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from histoquilt.cluster._shared_covariance import fit_shared_covariance


@pytest.mark.parametrize("shift", [0.0, 3.0], ids=["centred", "shifted"])
@pytest.mark.parametrize("n_iterations", [1, 7, 500])
@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_agrees_with_scikit_learn(shared_covariance, n_iterations, shift):
    points, _ = shared_covariance(apart=4.0)
    points = points - points.mean(axis=0) + shift
    start = np.random.default_rng(0).choice(len(points), 4, replace=False)
    weights, covariance = np.full(4, 0.25), np.cov(points.T)
    reference = GaussianMixture(
        4, covariance_type="tied", weights_init=weights, means_init=points[start],
        precisions_init=np.linalg.inv(covariance), max_iter=n_iterations, tol=1e-4,
    ).fit(points)  # fmt: skip
    fit = fit_shared_covariance(points, weights, points[start], covariance=covariance, n_iterations=n_iterations)
    assert fit.log_likelihood == pytest.approx(reference.lower_bound_, abs=1e-8)
    np.testing.assert_allclose(fit.weights, reference.weights_, atol=1e-6)
    np.testing.assert_allclose(fit.means, reference.means_, atol=1e-5)
    assert fit.responsibilities.shape == (len(points), 4)
    np.testing.assert_allclose(fit.responsibilities.sum(axis=1), 1)


def test_goes_on_where_it_stopped(shared_covariance):
    points, _ = shared_covariance()
    start = points[[0, 10, 20, 30]]
    whole = fit_shared_covariance(points, np.full(4, 0.25), start, n_iterations=12)
    part = fit_shared_covariance(points, np.full(4, 0.25), start, n_iterations=5)
    rest = fit_shared_covariance(points, part.weights, part.means, n_iterations=7)
    np.testing.assert_allclose(rest.means, whole.means, rtol=1e-9)


def test_a_flat_direction_is_no_obstacle():
    rng = np.random.default_rng(0)
    points = np.column_stack([np.repeat([-1.0, 1.0], 20) + rng.normal(0, 0.1, 40), np.zeros(40)])
    fit = fit_shared_covariance(points, np.array([0.5, 0.5]), np.array([[-1.0, 0.0], [1.0, 0.0]]))
    assert (fit.responsibilities.argmax(axis=1) == np.repeat([0, 1], 20)).all()
