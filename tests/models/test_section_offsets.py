"""Offsets between sections, taken out group by group: cases worked out by hand, and properties."""

import numpy as np
import pytest

from histoquilt.models.domains._section_offsets import SectionOffsets, _memberships, _shared, _without_offsets
from histoquilt.study.expression import _chunks

N_FEATURES = 20  # an embedding has tens; in two, groups of 30 spots are too narrow to see a shift
LEFT, RIGHT, UP = np.zeros(N_FEATURES), 100 * np.eye(N_FEATURES)[0], np.eye(N_FEATURES)[1]


def blob(center: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Points whose mean is exactly the centre."""
    points = np.random.default_rng(seed).normal(0, 1, (n, N_FEATURES))
    return center + points - points.mean(axis=0)


@pytest.fixture
def shifted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two clusters, 200 spots each of sections a and b: b is up by 2 in the left one, down by 3 in the right one."""
    centers = LEFT, LEFT + 2 * UP, RIGHT, RIGHT - 3 * UP
    parts = [blob(center, 200, seed) for seed, center in enumerate(centers)]
    cluster = np.repeat(["left", "left", "right", "right"], 200)
    section = np.repeat(["a", "b", "a", "b"], 200)
    return np.concatenate(parts), section, cluster


def gap(values: np.ndarray, section: np.ndarray, cluster: np.ndarray, name: str) -> float:
    a, b = (values[(section == one) & (cluster == name)].mean(axis=0) for one in "ab")
    return float(np.linalg.norm(a - b))


def test_one_round_by_hand():
    """Two groups far apart. Left: a at 0, b at 2, the mean of all 1; five pseudo-spots leave 5 of 15 of the offset."""
    values = np.r_[np.zeros(10), np.full(10, 2.0), np.full(10, 100.0)][:, None]
    section = np.repeat(["a", "b", "a"], 10)
    moved = _without_offsets(values, section, np.array([[1.0], [100.0]]), np.array([[1.0], [100.0]]), width=1.0)
    np.testing.assert_allclose(moved[:10], 0 + 1 * 10 / 15)
    np.testing.assert_allclose(moved[10:20], 2 - 1 * 10 / 15)
    np.testing.assert_allclose(moved[20:], 100)  # a alone fills it: its mean is that of all


def test_memberships_by_hand():
    """At squared distances 1 and 4 from two centres and width 3: exp(-1/3) to exp(-4/3)."""
    shares = _memberships(np.array([[1.0], [0.0]]), np.array([[0.0], [3.0]]), 3.0)
    nearer = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(shares, [[nearer, 1 - nearer], [1 / (1 + np.exp(-3)), 1 - 1 / (1 + np.exp(-3))]])


def test_different_offsets_in_two_clusters_come_out_as_far_as_believed(shifted):
    values, section, cluster = shifted
    assert gap(values, section, cluster, "left") == pytest.approx(2)
    assert gap(values, section, cluster, "right") == pytest.approx(3)
    _, matched = SectionOffsets.fit(values, section)
    assert gap(matched, section, cluster, "left") < 0.3 * 2
    assert 0.5 * 3 < gap(matched, section, cluster, "right") < 0.7 * 3  # the larger shift is believed less
    for name, center in (("left", LEFT + UP), ("right", RIGHT - 1.5 * UP)):  # they meet half way
        np.testing.assert_allclose(matched[cluster == name].mean(axis=0), center, atol=0.1)


def test_sections_that_share_no_group_stay():
    """Two sections 6 apart, each group filled by one: this may be two kinds of tissue."""
    values = np.concatenate([blob(LEFT, 200, 0), blob(LEFT + 6 * UP, 200, 1)])
    section = np.repeat(["a", "b"], 200)
    offsets, matched = SectionOffsets.fit(values, section)
    assert offsets.shared.max() < 0.2
    assert gap(matched, section, np.full(400, "all"), "all") > 5.5


def test_shared_by_hand():
    """Of six spots three in each section, 9 of 15 pairs lie in two: 2 of 3 in the first group, none in the others."""
    groups, sections = np.array([0, 0, 0, 1, 1, 2]), np.array(["a", "a", "b", "b", "b", "a"])
    np.testing.assert_allclose(_shared(groups, sections, 3), [1, 0, 0])  # 2/3 over 9/15 is more than chance: 1
    groups = np.array([0, 0, 0, 0, 1, 1])
    sections = np.array(["a", "a", "a", "b", "b", "b"])
    np.testing.assert_allclose(_shared(groups, sections, 2), [3 / 6 / (9 / 15), 0])
    assert _shared(groups, np.full(6, "a"), 2).tolist() == [0, 0]


def test_alike_sections_are_believed_nearly_in_full():
    values, section = blob(LEFT, 600, 0), np.tile(["a", "b"], 300)
    offsets, _ = SectionOffsets.fit(values, section)
    assert np.average(offsets.shared) > 0.9


def test_tissue_of_one_section_alone_stays(shifted):
    values, section, _ = shifted
    alone = blob(500 * UP, 150, 4)
    _, matched = SectionOffsets.fit(np.concatenate([values, alone]), np.append(section, ["a"] * 150))
    np.testing.assert_allclose(matched[-150:], alone, atol=1e-3)


def test_a_single_section_stays(shifted):
    values, section, _ = shifted
    _, matched = SectionOffsets.fit(values, np.full(len(section), "a"))
    np.testing.assert_allclose(matched, values, atol=1e-3)


def test_training_sections_are_transformed_as_fitted(shifted):
    values, section, _ = shifted
    offsets, matched = SectionOffsets.fit(values, section, seed=3)
    assert matched.dtype == np.float32
    assert (offsets.transform(values, section) == matched).all()
    assert (SectionOffsets.fit(values, section, seed=3)[1] == matched).all()


def test_a_section_seen_later_moves_to_the_groups(shifted):
    values, section, cluster = shifted
    offsets, matched = SectionOffsets.fit(values, section)
    reference = matched[cluster == "left"].mean(axis=0)
    seen_later = values[(section == "a") & (cluster == "left")] - UP
    moved = offsets.transform(seen_later, np.full(200, "new"))
    assert np.linalg.norm(seen_later.mean(axis=0) - reference) == pytest.approx(2, abs=0.1)
    assert np.linalg.norm(moved.mean(axis=0) - reference) < 0.3 * 2


def test_chunks_change_nothing(shifted, monkeypatch):
    values, section, _ = shifted
    whole = SectionOffsets.fit(values, section)[1]
    monkeypatch.setattr(_chunks, "_CHUNK_VALUES", 100)
    np.testing.assert_allclose(SectionOffsets.fit(values, section)[1], whole, atol=1e-4)


def test_the_order_of_spots_changes_nothing(shifted):
    values, section, _ = shifted
    offsets, matched = SectionOffsets.fit(values, section)
    order = np.random.default_rng(0).permutation(len(values))
    np.testing.assert_allclose(offsets.transform(values[order], section[order]), matched[order], atol=1e-4)


def test_few_spots():
    """Fewer than one group of 30."""
    values = np.arange(8.0).reshape(4, 2)
    offsets, matched = SectionOffsets.fit(values, np.array(["a", "a", "b", "b"]))
    assert offsets.centers.shape == (5, 1, 2)
    assert np.isfinite(matched).all()
    same = SectionOffsets.fit(np.ones((4, 2)), np.array(["a", "a", "b", "b"]))[1]
    np.testing.assert_allclose(same, 1)
