"""The spatial silhouette against working by hand and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples, silhouette_score

from histoquilt import metrics


def test_by_hand():
    # Four spots at x = 0, 1 (a) and 3, 5 (b); squared distances.
    # 0: own 1, other (9 + 25) / 2 = 17 -> 16/17;  1: own 1, other (4 + 16) / 2 = 10 -> 9/10
    # 3: own 4, other (9 + 4) / 2 = 6.5 -> 2.5/6.5; 5: own 4, other (25 + 16) / 2 = 20.5 -> 16.5/20.5
    points = [[0, 0], [1, 0], [3, 0], [5, 0]]
    expected = (16 / 17 + 9 / 10 + 2.5 / 6.5 + 16.5 / 20.5) / 4
    assert metrics.spatial_silhouette(["a", "a", "b", "b"], points) == pytest.approx(expected)


@pytest.mark.parametrize("n_dims", [2, 3])
def test_agrees_with_scikit_learn(n_dims):
    rng = np.random.default_rng(0)
    points = rng.random((200, n_dims)) * 1000
    labels = rng.integers(0, 6, 200)
    labels[0] = 99  # one domain of a single spot
    assert silhouette_samples(points, labels, metric="sqeuclidean")[0] == 0
    assert metrics.spatial_silhouette(labels, points) == pytest.approx(
        silhouette_score(points, labels, metric="sqeuclidean"), abs=1e-10
    )


def test_moving_turning_stretching_and_renaming_change_nothing():
    rng = np.random.default_rng(1)
    points = rng.random((100, 2))
    labels = (points[:, 0] * 3).astype(int)
    cos, sin = np.cos(0.4), np.sin(0.4)
    moved = 250 * points @ [[cos, -sin], [sin, cos]] + 1e6
    order = rng.permutation(100)
    expected = metrics.spatial_silhouette(labels, points)
    assert expected > 0.25
    assert metrics.spatial_silhouette(np.array(list("zxy"))[labels], moved) == pytest.approx(expected, abs=1e-6)
    assert metrics.spatial_silhouette(labels[order], points[order]) == pytest.approx(expected)


def test_spots_in_one_place_are_neither_near_nor_far():
    assert metrics.spatial_silhouette([0, 0, 1, 1], np.zeros((4, 2))) == 0.0


def test_one_domain_is_an_error():
    with pytest.raises(ValueError, match="compares domains, and a section has a single one"):
        metrics.spatial_silhouette([1, 1, 1], np.arange(6).reshape(3, 2))
