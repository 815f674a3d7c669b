"""Posterior of a spot's domain in refits, at all levels."""

import numpy as np
import pytest

from histoquilt.cluster import NestedLabels, half_of_blocks, reappearance

OPTIONS = {"n_components": 4}


@pytest.fixture
def four_groups():
    """Return 4 x 100 spots in two pairs of near groups, and their codes."""
    codes = np.repeat(np.arange(4), 100)
    centres = np.array([[0, 0, 0, 0], [0, 9, 0, 0], [40, 0, 0, 0], [40, 0, 9, 0]])
    return centres[codes] + np.random.default_rng(0).normal(size=(400, 4)), codes


def test_clear_groups_come_back_at_every_level(four_groups):
    embedding, codes = four_groups
    labels = NestedLabels(codes // 2, [np.zeros(2, int)], codes)
    one, flat, parts = reappearance(embedding, labels, np.arange(0, 400, 2), rng=np.random.default_rng(0), **OPTIONS)
    np.testing.assert_allclose(one, 1)
    assert flat.min() > 0.99
    assert parts.min() > 0.95


def test_coarser_levels_merge_the_gaussians_of_the_refit(four_groups):
    embedding, codes = four_groups
    labels = NestedLabels(codes, [np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])])
    right, wrong, flat = reappearance(embedding, labels, np.arange(400), rng=np.random.default_rng(0), **OPTIONS)
    assert flat.min() > 0.9
    assert right.min() > 0.9
    assert wrong.mean() == pytest.approx(0.5, abs=0.05)


def test_a_spot_between_two_groups_has_about_half(four_groups):
    embedding, codes = four_groups
    embedding[0] = (embedding[codes == 0].mean(axis=0) + embedding[codes == 1].mean(axis=0)) / 2
    rows = np.arange(1, 400)
    [flat] = reappearance(embedding, NestedLabels(codes), rows, rng=np.random.default_rng(0), **OPTIONS)
    assert 0.02 < flat[0] < 0.98
    assert np.median(flat) > 0.99


def test_merging_finds_groups_of_unequal_size(four_groups):
    embedding, codes = four_groups
    [flat] = reappearance(
        embedding, NestedLabels(codes), np.arange(400), merged=True, rng=np.random.default_rng(0), **OPTIONS
    )
    assert flat.mean() > 0.9


def test_rows_that_repeat_give_no_refit():
    labels = NestedLabels(np.arange(40) % 3, [np.array([0, 1, 1])], np.arange(40) % 3)
    found = reappearance(np.ones((40, 2)), labels, np.arange(40), rng=np.random.default_rng(0), n_components=2)
    assert found.shape == (3, 40)
    assert not found.any()


def test_half_of_every_section_in_blocks():
    spatial = np.stack(np.divmod(np.arange(1600), 40), axis=1).astype(float)
    sections = (np.arange(1600) >= 800).astype(int)
    rows = half_of_blocks(spatial, sections, np.random.default_rng(0))
    assert (np.diff(rows) > 0).all()
    assert abs(np.bincount(sections[rows]) - 400).max() <= 25
    drawn = np.isin(np.arange(1600), rows).reshape(40, 40)
    assert (drawn[:, 1:] == drawn[:, :-1]).mean() > 0.75  # single spots would agree in half of the pairs


def test_without_places_and_with_few_spots_half_is_drawn():
    rows = half_of_blocks(None, np.zeros(5, int), np.random.default_rng(0))
    assert len(rows) == 3
