import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors as Reference

from histoquilt.models.retrieval import _retrieval
from histoquilt.models.retrieval._retrieval import averaging, nearest_rows


def test_agrees_with_scikit_learn_whatever_the_block(monkeypatch):
    rng = np.random.default_rng(0)
    queries, bank = rng.normal(size=(41, 7)), rng.normal(size=(90, 7))
    numbers, squared = nearest_rows(queries, bank, 9)
    distances, reference = Reference(n_neighbors=9).fit(bank).kneighbors(queries)
    np.testing.assert_array_equal(numbers, reference)
    np.testing.assert_allclose(np.sqrt(squared), distances, rtol=1e-9)
    monkeypatch.setattr(_retrieval, "_BLOCK_BYTES", 8 * 90 * 4)  # four queries at a time
    again, _ = nearest_rows(queries, bank, 9)
    np.testing.assert_array_equal(numbers, again)


def test_weights_by_hand():
    numbers, squared = np.array([[2, 0, 1]]), np.array([[1.0, 4.0, 9.0]])
    np.testing.assert_allclose(averaging(numbers, squared, 2, "uniform", 3).toarray(), [[0.5, 0, 0.5]])
    np.testing.assert_allclose(averaging(numbers, squared, 2, "inverse_square", 3).toarray(), [[0.2, 0, 0.8]])


@pytest.mark.parametrize("squared", [[[0.0, 4.0]], [[0.0, 0.0]]])
def test_a_reference_at_distance_zero_is_no_division_by_zero(squared):
    weights = averaging(np.array([[0, 1]]), np.array(squared), 2, "inverse_square", 2).toarray()
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1)


def test_more_neighbours_than_there_are():
    numbers, squared = nearest_rows(np.zeros((1, 2)), np.eye(2), 50)
    np.testing.assert_allclose(averaging(numbers, squared, 50, "uniform", 2).toarray(), [[0.5, 0.5]])
