"""Of large tissues a mixture is fitted on a sample that covers them evenly, and all spots are given a domain."""

import numpy as np
import pytest

from histoquilt.cluster import _mixture, _spatial_sample
from histoquilt.cluster._mixture import fit_mixture
from histoquilt.cluster._spatial_sample import spatial_sample


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def few(monkeypatch):
    """Limits so small that a few thousand spots are a large tissue."""
    monkeypatch.setattr(_spatial_sample, "SAMPLE_ABOVE", 400)
    monkeypatch.setattr(_mixture, "_CHUNK", 700)


def test_up_to_the_limit_all_spots_are_fitted_on(few, rng):
    assert spatial_sample(400, rng.normal(size=(400, 2))) is None


def test_sample_is_distinct_sorted_and_the_same_for_a_seed(few, rng):
    spatial = rng.normal(size=(3000, 2))
    rows = spatial_sample(3000, spatial, seed=3)
    assert len(np.unique(rows)) == 400
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, spatial_sample(3000, spatial, seed=3))
    assert not np.array_equal(rows, spatial_sample(3000, spatial, seed=4))


def test_every_place_gives_its_share(few, rng):
    spatial = rng.uniform(size=(6400, 2))
    rows = spatial_sample(6400, spatial)
    quarter = (spatial >= 0.5) @ [1, 2]
    expected = np.bincount(quarter) * 400 / 6400
    assert np.abs(np.bincount(quarter[rows]) - expected).max() < 2  # a plain draw is off by 9 on average


def test_every_section_gives_its_share(few, rng):
    sections = np.repeat(["a", "b"], [2900, 100])[rng.permutation(3000)]
    rows = spatial_sample(3000, rng.normal(size=(3000, 2)), sections)
    assert abs((sections[rows] == "b").sum() - 100 * 400 / 3000) <= 1


def test_spots_in_one_place_and_spots_without_place_are_sampled(few):
    assert len(spatial_sample(1000, np.ones((1000, 2)))) == 400
    assert len(np.unique(spatial_sample(1000, None))) == 400


def test_fit_on_a_sample_names_all_spots_as_the_fit_on_all_does(few, rng):
    truth = np.repeat([0, 1, 2], [1500, 1200, 300])
    embedding = (rng.normal(size=(3, 6))[truth] * 4 + rng.normal(size=(3000, 6))).astype(np.float32)
    whole = fit_mixture(embedding, 3)
    part = fit_mixture(embedding, 3, sample=spatial_sample(3000, rng.normal(size=(3000, 2))))
    assert (whole.n_fitted, part.n_fitted) == (3000, 400)
    assert part.probabilities.shape == (3000, 3)
    assert np.allclose(part.probabilities.sum(axis=1), 1)
    same = np.array([[((whole.labels == i) & (part.labels == j)).sum() for j in range(3)] for i in range(3)])
    assert same.max(axis=1).sum() > 0.98 * 3000


def test_posteriors_do_not_depend_on_the_chunks(rng, monkeypatch):
    embedding = rng.normal(size=(900, 5))
    mixture = fit_mixture(embedding, 2).mixture
    at_once = mixture.probabilities(embedding)
    monkeypatch.setattr(_mixture, "_CHUNK", 128)
    assert np.allclose(mixture.probabilities(embedding), at_once, rtol=0, atol=1e-12)


def test_sample_of_rows_that_do_not_differ_gives_way_to_all(few, rng):
    embedding = np.zeros((1000, 2))
    embedding[:3] = [[5, 0], [0, 5], [5, 5]]
    fit = fit_mixture(embedding, 3, sample=np.arange(500, 900))
    assert fit.n_fitted == 1000
