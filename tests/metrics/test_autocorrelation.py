"""Moran's I and Geary's C against working by hand, scanpy, and properties."""

import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_array, csr_matrix, diags, random_array

from histoquilt import metrics
from histoquilt.metrics import _autocorrelation

ROW = csr_matrix(diags([1.0, 1.0], [-1, 1], shape=(4, 4)))  # four spots in a row, W = 6


def random_case(n_spots: int, n_genes: int, seed: int) -> tuple[np.ndarray, csr_matrix]:
    rng = np.random.default_rng(seed)
    weights = random_array((n_spots, n_spots), density=0.05, rng=rng, format="csr")
    weights.setdiag(0)
    return rng.poisson(0.7, (n_spots, n_genes)).astype(float), csr_matrix(weights)  # directed and weighted


def test_by_hand():
    # x = 1 2 3 6: mean 3, z = -2 -1 0 3, sum z^2 = 14; n = 4, W = 6
    # sum_ij w z z = 2 (2 + 0 + 0) = 4                    -> I = 4/6 * 4/14
    # sum_ij w (x_i - x_j)^2 = 2 (1 + 1 + 9) = 22          -> C = 3 / 12 * 22 / 14
    assert metrics.morans_i([1, 2, 3, 6], ROW) == pytest.approx(4 / 6 * 4 / 14)
    assert metrics.gearys_c([1, 2, 3, 6], ROW) == pytest.approx(3 / 12 * 22 / 14)


def test_an_alternating_gene_is_negative():
    # z = 1 -1 1 -1: sum_ij w z z = -6, so I = 4/6 * -6/4 = -1; differences 6 * 4 = 24, C = 3/12 * 24/4 = 1.5
    assert metrics.morans_i([1, -1, 1, -1], ROW) == pytest.approx(-1)
    assert metrics.gearys_c([1, -1, 1, -1], ROW) == pytest.approx(1.5)


@pytest.mark.parametrize(
    "as_values", [np.asarray, csr_matrix, csc_matrix, csr_array], ids=["dense", "csr", "csc", "arr"]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_scanpy(as_values, dtype):
    import scanpy as sc

    values, weights = random_case(120, 9, 0)
    ours = as_values(values.astype(dtype))
    assert metrics.morans_i(ours, weights) == pytest.approx(sc.metrics.morans_i(weights, values.T), abs=1e-10)
    assert metrics.gearys_c(ours, weights) == pytest.approx(sc.metrics.gearys_c(weights, values.T), abs=1e-10)


@pytest.mark.parametrize("metric", [metrics.morans_i, metrics.gearys_c])
def test_blocks_of_genes_change_nothing(metric, monkeypatch):
    values, weights = random_case(60, 11, 1)
    expected = metric(values, weights)
    monkeypatch.setattr(_autocorrelation, "BLOCK_VALUES", 60 * 4)  # 4 + 4 + 3 genes
    assert metric(csr_matrix(values), weights) == pytest.approx(expected, abs=1e-12)
    assert metric(values, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [metrics.morans_i, metrics.gearys_c])
def test_order_offset_and_scale_do_not_matter(metric):
    values, weights = random_case(80, 3, 2)
    order = np.random.default_rng(3).permutation(80)
    expected = metric(values, weights)
    assert metric(values[order], weights[order][:, order]) == pytest.approx(expected)
    assert metric(1000 + 3 * values, weights) == pytest.approx(expected)
    assert metric(values, 7 * weights) == pytest.approx(expected)
    assert metric(values[:, 1], weights) == pytest.approx(expected[1])


@pytest.mark.parametrize("metric", [metrics.morans_i, metrics.gearys_c])
def test_a_gene_that_never_varies_is_nan_and_spares_the_others(metric):
    values, weights = random_case(50, 3, 4)
    values[:, 1] = 0.1  # a mean of 0.1s is not exactly 0.1: rounding must not pass for variance
    result = metric(values, weights)
    assert np.isnan(result[1])
    assert np.isfinite(result[[0, 2]]).all()
    assert np.isnan(metric(np.zeros(50), weights))
    assert np.isnan(metric(csr_matrix((50, 2)), weights)).all()


def test_errors_say_what_to_do():
    with pytest.raises(TypeError, match=r"scipy sparse.*spatial_connectivities"):
        metrics.morans_i([1, 2, 3, 6], ROW.toarray())
    with pytest.raises(ValueError, match="weights must be square"):
        metrics.morans_i([1, 2, 3, 6], ROW[:, :3])
    with pytest.raises(ValueError, match=r"with 4 spots as in weights, got \(2, 4\)"):
        metrics.gearys_c(np.ones((2, 4)), ROW)
    with pytest.raises(ValueError, match="no spot has a neighbour"):
        metrics.morans_i([1, 2, 3, 6], csr_matrix((4, 4)))
    with pytest.raises(ValueError, match="values hold NaN"):
        metrics.morans_i([1, 2, np.nan, 6], ROW)
    with pytest.raises(ValueError, match="weights hold NaN"):
        metrics.morans_i([1, 2, 3, 6], ROW * np.inf)
