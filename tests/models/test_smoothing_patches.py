"""The sample of a large graph in which factors are sought: whole neighbourhoods, from all over the tissue."""

import numpy as np
import pytest
from scipy.sparse import block_diag, csr_matrix, diags
from scipy.spatial import cKDTree

from histoquilt.models.smoothing import _factors, _patches
from histoquilt.models.smoothing._factors import FactorProjection, choose_smoothing_steps
from histoquilt.models.smoothing._patches import inner_spots, scattered_patches


def graph(n_spots: int, seed: int = 0) -> tuple[np.ndarray, csr_matrix]:
    xy = np.random.default_rng(seed).uniform(0, 1, (n_spots, 2))
    near = cKDTree(xy).query(xy, k=7)[1][:, 1:]
    directed = csr_matrix((np.ones(near.size), (np.repeat(np.arange(n_spots), 6), near.ravel())), (n_spots, n_spots))
    return xy, directed.maximum(directed.T).tocsr()


def test_patches_hold_whole_neighbourhoods_all_over_the_tissue():
    xy, adjacency = graph(20_000)
    sample = scattered_patches(adjacency, 6000)
    assert 4500 < len(sample) <= 6000
    assert (np.diff(sample) > 0).all()
    inside = adjacency[sample][:, sample].nnz / adjacency[sample].nnz
    assert inside > 0.75, "6,000 random spots keep 30 % of their neighbours"
    quarters = np.histogram2d(*xy[sample].T, bins=3, range=[(0, 1), (0, 1)])[0]
    assert quarters.min() > 100
    np.testing.assert_array_equal(sample, scattered_patches(adjacency, 6000))
    assert not np.array_equal(sample, scattered_patches(adjacency, 6000, seed=1))


@pytest.mark.parametrize("adjacency", [csr_matrix((5000, 5000)), diags([1.0, 1.0], [-1, 1], (5000, 5000)).tocsr()])
def test_patches_of_graphs_that_fall_apart(adjacency):
    broken = adjacency.tolil()
    broken[::3] = 0
    broken = csr_matrix(broken.minimum(broken.T))
    sample = scattered_patches(broken, 2000)
    assert 1900 <= len(sample) <= 2000


def test_every_section_is_in_the_sample():
    _, one = graph(2000)
    sample = scattered_patches(block_diag([one] * 5, format="csr"), 4000)
    assert (np.bincount(sample // 2000, minlength=5) > 300).all()


def test_factors_of_the_sample_span_those_of_the_whole(monkeypatch):
    xy, adjacency = graph(12_000)
    rng = np.random.default_rng(0)
    waves = np.column_stack([np.sin(12 * xy[:, 0]), np.cos(15 * xy[:, 1]), np.sin(20 * xy.sum(axis=1))])
    features = np.hstack([waves, rng.normal(size=(12_000, 20))]) @ np.linalg.qr(rng.normal(size=(23, 23)))[0]
    features = (features + 0.3 * rng.normal(size=features.shape)).astype(np.float32)
    whole = FactorProjection.fit(features, adjacency)
    scores = whole.transform(features)
    monkeypatch.setattr(_factors, "SAMPLED_SPOTS", 5000)
    monkeypatch.setattr(_patches, "_PATCHES", 5)  # of a thousand spots, as where they are fifty
    sampled = FactorProjection.fit(features, adjacency)
    assert (whole.n_fitted, 4000 < sampled.n_fitted <= 5000) == (12_000, True)
    found = sampled.transform(features)
    assert found.dtype == np.float32
    left = scores[:, :3] - found @ np.linalg.lstsq(found, scores[:, :3], rcond=None)[0]
    assert (1 - left.var(axis=0) / scores[:, :3].var(axis=0) > 0.97).all()
    np.testing.assert_allclose(sampled.noise[:3], whole.noise[:3], atol=0.06)
    np.testing.assert_allclose(found.std(axis=0)[:3], 1, atol=0.1)


def test_averagings_are_counted_inside_the_patches(monkeypatch):
    """At its edge a patch averages to one side, which costs smooth signals more than they gain."""
    xy, adjacency = graph(20_000)
    rng = np.random.default_rng(0)
    signal = np.column_stack([np.sin(20 * xy[:, 0]), np.cos(16 * xy[:, 1]), np.sin(12 * xy.sum(axis=1))]) * 2**0.5
    noise = np.full(3, 0.2)
    factors = np.sqrt(0.8) * signal + np.sqrt(0.2) * rng.normal(size=signal.shape)
    monkeypatch.setattr(_patches, "_PATCHES", 5)
    sample = scattered_patches(adjacency, 8000)
    inner = inner_spots(adjacency, sample, 8)
    assert 1000 <= inner.sum() < 0.7 * len(sample)
    links = adjacency[sample][:, sample]
    whole = choose_smoothing_steps(factors, adjacency, noise)
    inside = choose_smoothing_steps(factors[sample], links, noise, inner=inner)
    anywhere = choose_smoothing_steps(factors[sample], links, noise)
    assert np.abs(inside - whole).sum() < np.abs(anywhere - whole).sum(), (whole, inside, anywhere)


def test_inner_spots_by_hand(monkeypatch):
    """A line of 30 spots, of which those from 5 to 20 are in the sample."""
    monkeypatch.setattr(_patches, "_LEAST_INNER", 4)
    line = diags([1.0, 1.0], [-1, 1], (30, 30)).tocsr()
    sample = np.arange(5, 21)
    assert sample[inner_spots(line, sample, 1)].tolist() == list(range(6, 20))
    assert sample[inner_spots(line, sample, 3)].tolist() == list(range(8, 18))
    assert sample[inner_spots(line, sample, 12)].tolist() == [11, 12, 13, 14]  # never fewer than four
