"""The distance between neighbouring spots, on lattices and off them."""

import numpy as np
import pytest

from histoweave.models._expression_inputs import nearest_distance, pitch


def square(n=20, step=200.0):
    return np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2) * step


def hexagonal(n=20, step=100.0):
    rows, columns = np.divmod(np.arange(n * n), n)
    return np.stack([(columns + rows % 2 / 2) * step, rows * step * np.sqrt(3) / 2], axis=1)


@pytest.mark.parametrize(("places", "right"), [(square(), 200), (hexagonal(), 100), (square(12, 55.0), 55)])
@pytest.mark.parametrize("displaced", [0.0, 0.045])
def test_displaced_spots_leave_the_pitch(places, right, displaced):
    moved = places + np.random.default_rng(0).normal(0, displaced * right, places.shape)
    assert pitch(moved) == pytest.approx(right, rel=0.02)
    if displaced:
        assert nearest_distance(moved) < 0.96 * right  # the test would pass on the wrong definition otherwise


def test_scattered_cells_have_their_nearest_distance():
    cells = np.random.default_rng(0).random((500, 2)) * 1000
    assert pitch(cells) == nearest_distance(cells)
