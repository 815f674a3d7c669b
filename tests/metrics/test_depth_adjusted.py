"""Scores that separate depth: by hand, against scipy, spots of zero depth and genes without counts."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_matrix
from scipy.stats import linregress, pearsonr

from histoquilt import metrics
from histoquilt.metrics import _depth_adjusted


def case(n_spots=80, n_genes=7, seed=0):
    """Counts of few molecules, whose log1p of counts per 10,000 follows depth; a prediction of depth and of rates."""
    rng = np.random.default_rng(seed)
    depth = rng.integers(200, 4000, n_spots).astype(float)
    log_rate = rng.normal(0, 0.6, (n_spots, n_genes))
    counts = rng.poisson(depth[:, None] * 5e-4 * np.exp(log_rate)).astype(float)
    truth = np.log1p(1e4 * counts / depth[:, None])
    predicted = 0.5 * np.log(depth)[:, None] + 0.3 * log_rate + rng.normal(0, 0.2, log_rate.shape)
    return counts, depth, log_rate, truth, predicted


def deviance(counts, expected):
    logs = np.where(counts > 0, counts * np.log(np.where(counts > 0, counts, 1) / expected), 0)
    return 2 * (logs - (counts - expected)).sum()


@pytest.mark.parametrize("as_matrix", [np.asarray, csr_matrix], ids=["dense", "csr"])
def test_adjusted_correlation_is_that_of_residuals_of_scipy(as_matrix, monkeypatch):
    _, depth, _, truth, predicted = case()
    monkeypatch.setattr("histoquilt.metrics._expression.BLOCK_VALUES", 80 * 3)  # three blocks
    found = metrics.depth_adjusted_correlation(as_matrix(truth), as_matrix(predicted), np.log(depth))
    for gene, value in enumerate(found):
        residuals = []
        for values in (truth[:, gene], predicted[:, gene]):
            line = linregress(np.log(depth), values)
            residuals.append(values - line.slope * np.log(depth) - line.intercept)
        assert value == pytest.approx(pearsonr(*residuals)[0], abs=1e-10)


def test_several_sections_have_a_regression_each():
    _, depth, _, truth, predicted = case()
    section = np.repeat(["a", "b", "c"], [30, 48, 2])
    shift = np.array([{"a": 0.0, "b": 5.0, "c": -9.0}[name] for name in section])[:, None]
    found = metrics.depth_adjusted_correlation(truth + shift, predicted - shift, np.log(depth), sections=section)
    residuals = []
    for values in (truth, predicted):
        parts = []
        for name in "abc":
            design = np.stack([np.ones((section == name).sum()), np.log(depth[section == name])], axis=1)
            own = values[section == name]
            parts.append(own - design @ np.linalg.lstsq(design, own, rcond=None)[0])
        residuals.append(np.concatenate(parts))
    for gene, value in enumerate(found):
        assert value == pytest.approx(pearsonr(residuals[0][:, gene], residuals[1][:, gene])[0], abs=1e-9)
    with pytest.raises(ValueError, match="sections must be one name per spot"):
        metrics.depth_adjusted_correlation(truth, predicted, np.log(depth), sections=["a", "b"])


def test_adjusted_correlation_by_hand():
    # x = -1 0 1 centred; gene 0 0 3 has slope 1.5 and residuals .5 -1 .5, and so has 1 0 1 with slope 0: .33 -.67 .33
    found = metrics.depth_adjusted_correlation([[0.0], [0.0], [3.0]], [[1.0], [0.0], [1.0]], [4.0, 5.0, 6.0])
    assert found == pytest.approx([1.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_follows_depth_exactly_or_not_at_all_has_no_correlation(dtype):
    _, depth, _, truth, predicted = case()
    log_depth = np.log(depth)
    predicted[:, 0], predicted[:, 1], truth[:, 2] = 1.7 + 2 * log_depth, 0.4, 0.0
    found = metrics.depth_adjusted_correlation(truth.astype(dtype), predicted.astype(dtype), log_depth)
    assert found[:3].tolist() == [0, 0, 0]
    assert (found[3:] > 0.1).all()
    same = np.full(80, 7.0)  # a depth that is everywhere the same changes nothing
    raw = metrics.score_genes(truth, predicted, list("abcdefg"))["pearson"]
    np.testing.assert_allclose(metrics.depth_adjusted_correlation(truth, predicted, same), raw, atol=1e-12)


def test_spots_without_counts_are_left_out():
    counts, depth, log_rate, truth, predicted = case()
    counts[[3, 50]], depth[[3, 50]], truth[[3, 50]] = 0, 0, 0
    kept = depth > 0
    with np.errstate(divide="ignore"):
        log_depth = np.log(depth)
    np.testing.assert_allclose(
        metrics.depth_adjusted_correlation(truth, predicted, log_depth),
        metrics.depth_adjusted_correlation(truth[kept], predicted[kept], log_depth[kept]),
    )
    np.testing.assert_allclose(
        metrics.gene_deviance_explained(counts, depth, log_rate),
        metrics.gene_deviance_explained(counts[kept], depth[kept], log_rate[kept]),
    )
    nearly_empty = np.where(np.arange(80) < 2, log_depth, -np.inf)
    assert not metrics.depth_adjusted_correlation(truth, predicted, nearly_empty).any()
    nothing = np.zeros_like(counts)
    assert not metrics.gene_deviance_explained(nothing, np.zeros(80), log_rate).any()


@pytest.mark.parametrize("as_matrix", [np.asarray, csr_matrix], ids=["dense", "csr"])
def test_deviance_explained_with_factors_fitted_by_scipy(as_matrix, monkeypatch):
    counts, depth, log_rate, *_ = case()
    monkeypatch.setattr(_depth_adjusted, "BLOCK_VALUES", 80 * 3)
    found = metrics.gene_deviance_explained(as_matrix(counts), depth, log_rate + np.arange(7))  # a level is no merit
    for gene, value in enumerate(found):
        own = counts[:, gene]
        of_models = []
        for rate in (np.exp(log_rate[:, gene]), np.ones(80)):
            of_models.append(minimize_scalar(lambda a, r=rate, c=own: deviance(c, np.exp(a) * depth * r)).fun)
        assert value == pytest.approx(1 - of_models[0] / of_models[1], abs=1e-6)
    assert (found > 0).all()
    assert (metrics.gene_deviance_explained(counts, depth, -log_rate) < 0).all()


def test_deviance_explained_by_hand():
    counts = np.array([[4.0, 0.0, 2.0], [0.0, 0.0, 2.0]])
    # half of the gain: rates 3 to 1 expect 3 and 1; D = 2 * 4 log(4 / 3), against 2 * 4 log(4 / 2) of equal rates
    found = metrics.gene_deviance_explained(counts, [9.0, 9.0], np.log([[3.0, 5.0, 2.0], [1.0, 1.0, 1.0]]))
    assert found[0] == pytest.approx(1 - np.log(4 / 3) / np.log(2))
    assert found[1:].tolist() == [0, 0]  # no counts; counts that follow depth exactly
    assert metrics.gene_deviance_explained(counts, [9.0, 9.0], np.zeros((2, 3))).tolist() == [0, 0, 0]


@pytest.mark.parametrize("log_depth", [np.zeros(2), [1.0, np.nan, 2.0], [1.0, np.inf, 2.0]])
def test_depths_that_cannot_be(log_depth):
    with pytest.raises(ValueError, match="log_depth must be one number per spot"):
        metrics.depth_adjusted_correlation(np.zeros((3, 1)), np.zeros((3, 1)), log_depth)


@pytest.mark.parametrize(
    ("counts", "depth", "log_rate", "words"),
    [
        ([[1.0], [-1.0]], [5.0, 5.0], [[0.0], [0.0]], "must be raw counts"),
        ([[1.0], [1.0]], [5.0], [[0.0], [0.0]], "depth must be"),
        ([[1.0], [1.0]], [5.0, 0.0], [[0.0], [0.0]], "counts but a depth of 0"),
        ([[1.0], [1.0]], [5.0, 5.0], [[0.0], [-np.inf]], "log_rate holds NaN or infinite"),
        ([[1.0], [1.0]], [5.0, 5.0], [[0.0, 0.0]], "same spots and genes"),
    ],
)
def test_counts_that_cannot_be(counts, depth, log_rate, words):
    with pytest.raises(ValueError, match=words):
        metrics.gene_deviance_explained(np.array(counts), depth, np.array(log_rate))


def test_a_list_of_genes_is_read(tmp_path):
    file = tmp_path / "markers.txt"
    file.write_text("# epithelium\nKRT5\n\n EPCAM \nKRT5\n", encoding="utf-8")
    assert metrics.read_genes(file) == ["KRT5", "EPCAM"]
    file.write_text("KRT5,EPCAM\n")
    with pytest.raises(ValueError, match="one gene per line, found 'KRT5,EPCAM'"):
        metrics.read_genes(file)
    file.write_text("# nothing\n")
    with pytest.raises(ValueError, match="names no gene"):
        metrics.read_genes(file)
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="not a text file"):
        metrics.read_genes(file)
