import numpy as np
import pytest
from scipy.stats import poisson

from histoquilt.models.expression._expected_log1p import expected_log1p, log_rate_of, relative_rates


def direct_sum(rate, depth):
    mean = rate * depth
    counts = np.arange(1, int(mean + 12 * np.sqrt(mean) + 40))
    return float(poisson.pmf(counts, mean) @ np.log1p(1e4 * counts / depth))


@pytest.mark.parametrize("depth", [1.0, 37.0, 812.0, 5_111.0, 61_234.0, 1.3e6])
def test_it_is_the_sum_over_the_poisson_distribution(depth):
    rates = np.exp(np.random.default_rng(0).uniform(-14, 0, 60))
    found = expected_log1p(np.log(rates)[None], np.log([depth]))[0]
    np.testing.assert_allclose(found, [direct_sum(rate, depth) for rate in rates], atol=1e-3)


def test_the_inverse_gives_the_rate_back():
    rng = np.random.default_rng(1)
    rates, depths = rng.uniform(-16, 0, (30, 50)), rng.uniform(3, 12, 30)
    np.testing.assert_allclose(log_rate_of(expected_log1p(rates, depths), depths), rates, atol=1e-3)


def test_limits():
    assert log_rate_of(np.array([[0.0, -1.0, 99.0]]), np.array([6.0])).tolist() == [[-np.inf, -np.inf, 0.0]]
    rare = expected_log1p(np.array([[-30.0]]), np.array([7.0]))[0, 0]  # proportional to the rate
    assert rare == pytest.approx(np.exp(7.0 - 30.0) * np.log1p(1e4 / np.exp(7.0)), rel=1e-3)


def test_relative_rates_have_mean_zero_and_know_the_depth():
    rates = np.log([[0.001, 0.002], [0.004, 0.001]])
    depths = np.log([500.0, 4000.0])
    relative = relative_rates(expected_log1p(rates, depths), depths)
    assert relative.dtype == np.float32
    np.testing.assert_allclose(relative, rates - rates.mean(axis=0), atol=1e-3)
    predicted = np.array([[0.0, 0.0, 1.0], [0.0, -1e-9, 0.0]], dtype=np.float32)
    relative = relative_rates(predicted, depths)
    assert np.isfinite(relative).all()
    assert (relative[:, :2] == 0).all()
