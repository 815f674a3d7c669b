"""Domain names follow position, not cluster numbers."""

import numpy as np
import pytest

from histoquilt.cluster import name_by_position
from histoquilt.tl._cluster import write_domains

SPATIAL = np.array([[0, 0], [1, 0], [0, 5], [1, 5], [8, 5], [9, 5]], float)


def test_names_run_from_top_to_bottom_then_left_to_right():
    named = name_by_position(np.array([7, 7, 0, 0, 3, 3]), SPATIAL)
    assert list(named) == ["1", "1", "2", "2", "3", "3"]
    assert list(named.categories) == ["1", "2", "3"]


def test_names_do_not_depend_on_the_cluster_numbers():
    labels = np.array([0, 0, 1, 1, 2, 2])
    expected = list(name_by_position(labels, SPATIAL))
    for renumbered in ([2, 0, 1], [1, 2, 0], [5, 9, 7]):
        assert list(name_by_position(np.array(renumbered)[labels], SPATIAL)) == expected


def test_ten_domains_are_in_the_order_of_numbers():
    named = name_by_position(np.arange(12), np.column_stack([np.zeros(12), np.arange(12)]))
    assert list(named.categories) == [str(i) for i in range(1, 13)]


def test_without_coordinates_the_larger_comes_first():
    assert list(name_by_position(np.array([4, 9, 9, 9, 4, 1]), None)) == ["2", "1", "1", "1", "2", "3"]


def test_another_number_than_asked_for(embedded):
    adata = embedded(np.zeros((6, 2)), SPATIAL)
    with pytest.raises(ValueError, match="3 domains were asked for, but only 2 could be distinguished"):
        write_domains(adata, np.array([0, 0, 0, 1, 1, 1]), "domain", 3)
    assert "domain" not in adata.obs
