import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.spatial.distance import cdist

from histoquilt.gr import grid_adjacency, knn_adjacency, radius_adjacency

# a - b -- c --- d on a line, at 0, 1, 3, 6
LINE = np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0], [6.0, 0.0]])


def pattern(graph: csr_matrix) -> np.ndarray:
    """Stored entries, including those at distance 0."""
    stored = np.zeros(graph.shape, dtype=bool)
    rows = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    stored[rows, graph.indices] = True
    return stored


def check_form(graph: csr_matrix, n_spots: int) -> None:
    assert isinstance(graph, csr_matrix)
    assert graph.shape == (n_spots, n_spots)
    assert graph.dtype == np.float64
    assert graph.indices.dtype == np.int32
    assert graph.indptr.dtype == np.int32
    stored = pattern(graph)
    assert stored.sum() == graph.nnz, "an entry is stored twice"
    assert (stored == stored.T).all()
    assert not stored.diagonal().any()
    np.testing.assert_array_equal(graph.toarray(), graph.toarray().T)


@pytest.fixture
def scattered() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 100, (200, 2))


def brute_force_knn(xy: np.ndarray, k: int) -> np.ndarray:
    distances = cdist(xy, xy)
    np.fill_diagonal(distances, np.inf)
    near = np.zeros(distances.shape, dtype=bool)
    np.put_along_axis(near, np.argsort(distances, axis=1)[:, :k], True, axis=1)
    return near | near.T


def hexagons(n_rows: int, n_columns: int) -> np.ndarray:
    rows, columns = np.divmod(np.arange(n_rows * n_columns), n_columns)
    return np.column_stack([columns + 0.5 * (rows % 2), rows * np.sqrt(3) / 2]) * 100.0


def squares(n_rows: int, n_columns: int) -> np.ndarray:
    rows, columns = np.divmod(np.arange(n_rows * n_columns), n_columns)
    return np.column_stack([columns, rows]) * 200.0


def test_one_nearest_by_hand():
    # a takes b, b takes a, c takes b (2 < 3), d takes c
    expected = [[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 3], [0, 0, 3, 0]]
    np.testing.assert_array_equal(knn_adjacency(LINE, 1).toarray(), expected)


def test_two_nearest_by_hand():
    # a: b c; b: a c; c: b a (a and d are both 3 away from c, either may be taken); d: c b
    graph = knn_adjacency(LINE, 2).toarray()
    np.testing.assert_array_equal(graph, [[0, 1, 3, 0], [1, 0, 2, 5], [3, 2, 0, 3], [0, 5, 3, 0]])


@pytest.mark.parametrize("k", [1, 6, 12, 150])
def test_knn_is_brute_force(scattered, k):
    graph = knn_adjacency(scattered, k)
    check_form(graph, 200)
    expected = brute_force_knn(scattered, k)
    np.testing.assert_array_equal(pattern(graph), expected)
    np.testing.assert_allclose(graph.toarray(), cdist(scattered, scattered) * expected)


def test_knn_in_three_dimensions():
    xyz = np.random.default_rng(1).normal(size=(80, 3))
    np.testing.assert_array_equal(pattern(knn_adjacency(xyz, 5)), brute_force_knn(xyz, 5))


@pytest.mark.parametrize("n_spots", [1, 2, 3])
def test_more_neighbours_than_spots(n_spots):
    graph = knn_adjacency(LINE[:n_spots], 12)
    check_form(graph, n_spots)
    np.testing.assert_array_equal(pattern(graph), ~np.eye(n_spots, dtype=bool))


@pytest.mark.parametrize("link", [knn_adjacency, grid_adjacency])
@pytest.mark.parametrize("k", [0, -1, 2.5])
def test_impossible_number_of_neighbours(link, k):
    with pytest.raises(ValueError, match="whole number of at least 1"):
        link(LINE, k)


def test_doubles_are_linked_at_distance_zero():
    xy = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 0.0]])
    for graph in (knn_adjacency(xy, 1), radius_adjacency(xy, 1.0)):
        check_form(graph, 3)
        assert pattern(graph)[0, 1]
        assert graph[0, 1] == 0


def test_more_doubles_than_neighbours_still_give_every_spot_its_links():
    xy = np.vstack([np.zeros((20, 2)), np.ones((1, 2))])  # each double may find 12 others before itself
    graph = knn_adjacency(xy, 3)
    check_form(graph, 21)
    assert (np.diff(graph.indptr) >= 3).all()


def test_radius_by_hand_includes_its_border():
    np.testing.assert_array_equal(
        radius_adjacency(LINE, 2.0).toarray(), [[0, 1, 0, 0], [1, 0, 2, 0], [0, 2, 0, 0], [0, 0, 0, 0]]
    )


def test_radius_is_brute_force(scattered):
    graph = radius_adjacency(scattered, 12.5)
    check_form(graph, 200)
    distances = cdist(scattered, scattered)
    np.testing.assert_allclose(graph.toarray(), np.where(distances <= 12.5, distances, 0))


def test_radius_that_reaches_nobody():
    graph = radius_adjacency(LINE, 0.5)
    check_form(graph, 4)
    assert graph.nnz == 0


@pytest.mark.parametrize("radius", [0, -1, np.nan, np.inf])
def test_impossible_radius(radius):
    with pytest.raises(ValueError, match="radius must be positive"):
        radius_adjacency(LINE, radius)


def test_grid_on_squares_by_hand():
    # 0 1 2
    # 3 4 .     the hole at the corner takes two neighbours away
    graph = grid_adjacency(squares(2, 3)[:5], 4)
    check_form(graph, 5)
    links = {(0, 1), (1, 2), (3, 4), (0, 3), (1, 4)}
    assert {(i, j) for i, j in zip(*graph.nonzero(), strict=True) if i < j} == links
    assert set(graph.data) == {200.0}


@pytest.mark.parametrize(("lattice", "k", "pitch"), [(hexagons, 6, 100), (squares, 4, 200)])
def test_grid_is_all_pairs_one_pitch_apart(lattice, k, pitch):
    xy = lattice(9, 8)
    graph = grid_adjacency(xy, k)
    check_form(graph, len(xy))
    np.testing.assert_array_equal(pattern(graph), np.isclose(cdist(xy, xy), pitch))
    assert np.diff(graph.indptr).max() == k


def test_grid_bears_jitter_and_doubles():
    xy = squares(10, 10)
    plain = pattern(grid_adjacency(xy, 4))
    jittered = xy + np.random.default_rng(0).normal(0, 8, xy.shape)
    np.testing.assert_array_equal(pattern(grid_adjacency(jittered, 4)), plain)
    doubled = grid_adjacency(np.vstack([xy, xy[:60]]), 6)  # most spots have a double, at distance 0
    assert doubled[0, 1] == 200, "doubles were taken for the pitch"


def test_grid_of_one_place():
    assert grid_adjacency(np.zeros((1, 2)), 6).nnz == 0
    assert pattern(grid_adjacency(np.zeros((3, 2)), 6)).sum() == 6


@pytest.mark.parametrize(
    "link", [lambda xy: knn_adjacency(xy, 7), lambda xy: radius_adjacency(xy, 15), lambda xy: grid_adjacency(xy, 6)]
)
def test_order_and_position_do_not_matter(scattered, link):
    graph = link(scattered)
    order = np.random.default_rng(2).permutation(len(scattered))
    np.testing.assert_allclose(link(scattered[order]).toarray(), graph[order][:, order].toarray())
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    np.testing.assert_allclose(link(scattered @ turn + [1e3, -50]).toarray(), graph.toarray(), atol=1e-9)
