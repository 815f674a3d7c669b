import numpy as np
import pytest
import torch

from histoquilt.models.retrieval._bank import Bank, averaging


def test_weights_by_hand():
    numbers, squared = np.array([[2, 0]]), np.array([[1.0, 4.0]])
    np.testing.assert_allclose(averaging(numbers, squared, "uniform", 3).toarray(), [[0.5, 0, 0.5]])
    np.testing.assert_allclose(averaging(numbers, squared, "inverse_square", 3).toarray(), [[0.2, 0, 0.8]])
    of_bank = np.array([3.0, 9.0, 1.0])
    np.testing.assert_allclose(averaging(numbers, squared, "uniform", 3, of_bank).toarray(), [[0.75, 0, 0.25]])


@pytest.mark.parametrize("squared", [[[0.0, 4.0]], [[0.0, 0.0]]])
def test_a_reference_at_distance_zero_is_no_division_by_zero(squared):
    weights = averaging(np.array([[0, 1]]), np.array(squared), "inverse_square", 2).toarray()
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1)


def test_more_neighbours_than_there_are():
    bank = Bank(torch.eye(2), np.array([[1.0], [3.0]], dtype=np.float32))
    ((k, weighting, values),) = bank.averages(torch.zeros(1, 2), (50,), ("uniform",), "euclidean")
    assert (k, weighting, values.tolist()) == (50, "uniform", [[2.0]])


def test_parts_of_different_length_are_refused():
    arrays = Bank(torch.eye(2), np.ones((3, 1), dtype=np.float32)).arrays()
    with pytest.raises(ValueError, match="differ in length"):
        Bank.restore(arrays, torch.device("cpu"))
