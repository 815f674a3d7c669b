"""Tiles are compact, of nearly equal size and in one section; halos hold what lies within so many hops."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from histoquilt.gr import grid_adjacency
from histoquilt.gr._tiles import among, halo, spatial_tiles


def lattice(width: int, height: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).reshape(-1, 2).astype(float)


def test_a_strip_is_halved_along_its_longer_side():
    tile = spatial_tiles(lattice(8, 2), tile_spots=4)
    assert tile.reshape(2, 8).tolist() == 2 * [[0, 0, 1, 1, 2, 2, 3, 3]]


@pytest.mark.parametrize("tile_spots", [1, 7, 64, 1000, 5000])
def test_tiles_are_of_nearly_equal_size(tile_spots):
    tile = spatial_tiles(np.random.default_rng(0).normal(size=(1000, 3)), tile_spots)
    sizes = np.bincount(tile)
    assert len(sizes) == -(-1000 // tile_spots)
    assert sizes.max() <= tile_spots
    assert np.ptp(sizes) <= 1 + 0.2 * sizes.mean()


def test_spots_of_one_place_are_divided_too():
    assert np.bincount(spatial_tiles(np.zeros((10, 2)), 5)).tolist() == [5, 5]


def test_a_tile_never_spans_two_sections():
    sections = np.array(["b", "a"])[np.arange(200) % 2]
    tile = spatial_tiles(lattice(20, 10), 30, sections=sections)
    assert all(len(set(sections[tile == number])) == 1 for number in range(tile.max() + 1))
    assert np.bincount(tile).max() <= 30


def test_what_makes_no_tiles():
    with pytest.raises(ValueError, match="tile_spots must be at least 1, got 0"):
        spatial_tiles(lattice(2, 2), 0)
    with pytest.raises(ValueError, match="sections names 3 spots, centres has 4"):
        spatial_tiles(lattice(2, 2), 2, sections=np.array(["a", "a", "b"]))


def test_rings_of_a_path():
    path = csr_matrix(np.eye(7, k=1) + np.eye(7, k=-1))
    rows, ends = halo(path, np.array([3, 2]), 2)
    assert (rows.tolist(), ends.tolist()) == ([3, 2, 1, 4, 0, 5], [2, 4, 6])


def test_a_halo_ends_where_the_tissue_does():
    rows, ends = halo(csr_matrix((3, 3)), np.array([1]), 2)
    assert (rows.tolist(), ends.tolist()) == ([1], [1, 1, 1])


def test_the_graph_among_rows_is_that_of_scipy():
    adjacency = grid_adjacency(lattice(12, 9), 4)
    rows, ends = halo(adjacency, np.array([50, 20, 21]), 3)
    local = among(adjacency, rows, int(ends[2]))
    expected = (adjacency != 0)[rows[: ends[2]]][:, rows]
    assert (local.toarray() == expected.toarray()).all()
