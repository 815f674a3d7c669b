"""Which genes go together, measured and predicted."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from histoquilt import metrics
from histoquilt.metrics import _correlation_structure


def case(seed=0):
    rng = np.random.default_rng(seed)
    programmes = rng.normal(size=(80, 3))
    truth = programmes @ rng.normal(size=(3, 17)) + rng.normal(0, 1, (80, 17))
    return truth, truth + rng.normal(0, 1, truth.shape)


def test_agrees_with_numpy():
    truth, predicted = case()
    upper = np.triu_indices(17, k=1)
    expected = np.corrcoef(np.corrcoef(truth.T)[upper], np.corrcoef(predicted.T)[upper])[0, 1]
    assert metrics.correlation_structure(truth, predicted).correlation == pytest.approx(expected, abs=1e-12)
    assert metrics.correlation_structure(csr_matrix(truth), predicted).correlation == pytest.approx(expected, abs=1e-12)


def test_blocks_change_nothing(monkeypatch):
    truth, predicted = case()
    expected = metrics.correlation_structure(truth, predicted)
    monkeypatch.setattr(_correlation_structure, "BLOCK_GENES", 5)
    assert metrics.correlation_structure(truth, predicted).correlation == pytest.approx(expected.correlation, abs=1e-12)


def test_shuffling_the_genes_loses_the_structure():
    truth, predicted = case()
    order = np.random.default_rng(1).permutation(17)
    assert abs(metrics.correlation_structure(truth, predicted[:, order]).correlation) < 0.4
    assert metrics.correlation_structure(truth, predicted).correlation > 0.8


def test_constant_predictions_are_not_rewarded():
    truth, predicted = case()
    full = metrics.correlation_structure(truth, predicted).correlation
    guess = predicted.copy()
    guess[:, :5] = 1.0
    found = metrics.correlation_structure(truth, guess)
    assert (found.n_genes, found.n_constant, found.n_unmeasured) == (17, 5, 0)
    assert found.correlation < full
    assert metrics.correlation_structure(truth, np.ones_like(truth)).correlation == 0


def test_genes_without_measured_variation_are_left_out_and_counted():
    truth, predicted = case()
    expected = metrics.correlation_structure(truth[:, 2:], predicted[:, 2:]).correlation
    truth[:, :2] = 0.1
    found = metrics.correlation_structure(truth, predicted)
    assert (found.n_genes, found.n_unmeasured) == (15, 2)
    assert found.correlation == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"Only 0 gene\(s\) vary in truth"):
        metrics.correlation_structure(np.ones((5, 4)), np.ones((5, 4)))
    with pytest.raises(ValueError, match="the same spots and genes"):
        metrics.correlation_structure(truth, predicted[:, 1:])
