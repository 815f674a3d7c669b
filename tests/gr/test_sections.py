"""Links between sections: cases worked out by hand, and what must hold for any sections."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from histoquilt.gr import knn_adjacency, mutual_nearest_links, stack_links, union_links


def pairs(graph) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in zip(*graph.nonzero(), strict=True) if row < column}


def scattered(n=300, n_sections=4, n_dims=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n_dims)), np.array([f"s{i}" for i in range(n_sections)])[rng.integers(0, n_sections, n)]


def in_stack(points, section, n_links):
    return stack_links(points, section, sorted({*section}), n_links)


def check_form(graph, section):
    rows, columns = graph.nonzero()
    assert len(rows)
    assert (section[rows] != section[columns]).all()  # no link inside a section, so none to itself
    assert (graph != graph.T).nnz == 0
    assert graph.dtype == np.float32
    assert graph.indices.dtype == graph.indptr.dtype == np.int32
    assert (graph.data == 1).all()
    assert graph.has_canonical_format


def test_stack_by_hand():
    #            a0      a1      b2        b3       c4
    points = [[0, 0], [10, 0], [1, 0], [9.5, 0], [0.4, 0]]
    graph = stack_links(np.array(points, float), list("aabbc"), order=list("abc"), n_links=1)
    # a <-> b: the nearest each way; b -> c: both have no other choice; c -> b: the nearest. c4 lies nearest to a0,
    # but c is not next to a
    assert pairs(graph) == {(0, 2), (1, 3), (2, 4), (3, 4)}


def test_the_order_of_the_stack_is_honoured_not_that_of_the_spots():
    points, section = scattered()
    graph = stack_links(points, section, order=["s2", "s0", "s3", "s1"], n_links=3)
    check_form(graph, section)
    rows, columns = graph.nonzero()
    linked = {frozenset(pair) for pair in zip(section[rows].tolist(), section[columns].tolist(), strict=True)}
    assert linked == {frozenset(pair) for pair in [("s2", "s0"), ("s0", "s3"), ("s3", "s1")]}


def test_every_spot_reaches_its_nearest_in_each_adjacent_section():
    points, section = scattered()
    graph = stack_links(points, section, order=["s0", "s1", "s2", "s3"], n_links=2)
    inside = np.flatnonzero(section == "s2")
    for spot in np.flatnonzero(section == "s1"):
        nearest = inside[np.argsort(np.linalg.norm(points[inside] - points[spot], axis=1))[:2]]
        assert graph[spot, nearest].toarray().sum() == 2


def test_a_section_smaller_than_the_links_asked_for():
    graph = stack_links(np.array([[0, 0], [1, 0], [2.0, 0]]), ["a", "a", "b"], ["a", "b"], n_links=5)
    assert pairs(graph) == {(0, 2), (1, 2)}


def test_mutual_nearest_by_hand():
    #         a0     a1      b2     b3
    points = np.array([[1.0], [2.0], [2.2], [9.0]])
    euclidean = mutual_nearest_links(points, list("aabb"), 1, metric="euclidean")
    # both spots of a are nearest to b2, which prefers a1; b3's nearest is a1, which prefers b2
    assert pairs(euclidean) == {(1, 2)}
    assert pairs(mutual_nearest_links(points, list("aabb"), 2, metric="euclidean")) == {(0, 2), (0, 3), (1, 2), (1, 3)}


def test_cosine_compares_directions_only():
    points, section = scattered(n_dims=6)
    graph = mutual_nearest_links(points, section, 4)
    check_form(graph, section)
    lengths = np.random.default_rng(1).uniform(0.1, 50, (len(points), 1))
    assert (mutual_nearest_links(points * lengths, section, 4) != graph).nnz == 0
    assert (mutual_nearest_links(points * lengths, section, 4, metric="euclidean") != graph).nnz > 0


@pytest.mark.parametrize("n_dims", [3, 40])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_agrees_with_all_pairs(n_dims, metric):
    points, section = scattered(120, 3, n_dims)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True) if metric == "cosine" else points
    distances = np.linalg.norm(unit[:, None] - unit[None], axis=2)
    among = np.zeros_like(distances, dtype=bool)
    for other in np.unique(section):
        candidates = np.flatnonzero(section == other)
        nearest = candidates[np.argsort(distances[:, candidates], axis=1)[:, :5]]
        np.put_along_axis(among, nearest, True, axis=1)
    expected = among & among.T & (section[:, None] != section[None])
    assert np.array_equal(mutual_nearest_links(points, section, 5, metric=metric).toarray() > 0, expected)


def test_no_spot_has_more_links_into_a_section_than_asked_for():
    points, section = scattered(500, 3, 20)
    graph = mutual_nearest_links(points, section, 4)
    for name in np.unique(section):
        assert np.diff(graph[:, section == name].indptr).max() <= 4


def test_a_spot_without_direction_gets_no_link():
    points, section = scattered(60, 2, 3)
    points[:5] = 0
    graph = mutual_nearest_links(points, section, 50)
    assert (np.diff(graph.indptr)[:5] == 0).all()
    assert (np.diff(graph.indptr)[5:] > 0).all()


@pytest.mark.parametrize("link", [in_stack, mutual_nearest_links])
def test_reordering_spots_reorders_links(link):
    points, section = scattered(200, 3)
    order = np.random.default_rng(5).permutation(200)
    expected = link(points, section, 2)[order][:, order]
    assert (link(points[order], pd.Categorical(section[order]), 2) != expected).nnz == 0


def test_union_keeps_links_at_distance_zero():
    points = np.array([[0.0, 0], [0, 0], [5, 0], [5, 0]])
    inside = knn_adjacency(points[:2], 1)  # distance 0, stored
    assert inside.data.tolist() == [0, 0]
    grown = csr_matrix((inside.data, inside.indices, np.r_[inside.indptr, [2, 2]]), shape=(4, 4))
    graph = union_links(grown, stack_links(points, list("aabb"), ["a", "b"], 1))
    assert (0, 1) in pairs(graph)
    assert (graph.data == 1).all()
    assert graph.indices.dtype == np.int32


def test_union_of_links_that_both_graphs_hold():
    points, section = scattered()
    graph = stack_links(points, section, sorted(set(section)), 2)
    assert (union_links(graph, graph) != graph).nnz == 0


@pytest.mark.parametrize("order", [["s0", "s1"], ["s0", "s1", "s2", "s3", "s3"], ["s0", "s1", "s2", "s9"]])
def test_an_order_that_is_none(order):
    points, section = scattered()
    with pytest.raises(ValueError, match="order must name every section exactly once"):
        stack_links(points, section, order, 3)


@pytest.mark.parametrize("link", [in_stack, mutual_nearest_links])
def test_bad_input_is_told(link):
    points, section = scattered(20)
    with pytest.raises(ValueError, match="n_links must be a whole number of at least 1, got 0"):
        link(points, section, 0)
    with pytest.raises(ValueError, match="20 spots, 19 names"):
        link(points, section[1:], 2)
    with pytest.raises(ValueError, match="need at least two of them, found 's1'"):
        link(points, np.full(20, "s1"), 2)


def test_bad_embeddings_and_graphs_are_told():
    points, section = scattered(20)
    with pytest.raises(ValueError, match="1 of 20 spots have no section"):
        mutual_nearest_links(points, [None, *section[1:]], 2)
    with pytest.raises(ValueError, match="Unknown metric 'manhattan'; known are"):
        mutual_nearest_links(points, section, 2, metric="manhattan")
    with pytest.raises(ValueError, match="NaN or infinite"):
        mutual_nearest_links(points * np.nan, section, 2)
    with pytest.raises(ValueError, match="must be of one shape"):
        union_links(csr_matrix((2, 2)), csr_matrix((3, 3)))
    with pytest.raises(ValueError, match="must be of one shape"):
        union_links()
