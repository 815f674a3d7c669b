"""CHAOS, PAS and DIS against working by hand and against their published definition written out over all pairs."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from histoquilt import metrics

# Five spots in a row at x = 0, 1, 2, 3, 4 (y = 0); the standard deviation of x is sqrt(2), y has none.
ROW = np.array([[0, 0], [1, 0], [2, 0], [3, 0], [4, 0]], dtype=float)


def scattered(n_spots: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    points = rng.random((n_spots, 2)) * [300.0, 100.0]
    labels = (points[:, 0] // 100 + (rng.random(n_spots) < 0.2)).astype(int)
    return labels, points


def chaos_over_all_pairs(labels: np.ndarray, points: np.ndarray) -> float:
    points = (points - points.mean(axis=0)) / points.std(axis=0)
    apart = cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    apart[labels[:, None] != labels[None, :]] = np.inf
    nearest = apart.min(axis=1)
    return nearest[np.isfinite(nearest)].sum() / len(labels)


def pas_over_all_pairs(labels: np.ndarray, points: np.ndarray, k: int) -> float:
    apart = cdist(points, points)
    np.fill_diagonal(apart, np.inf)
    neighbours = np.argsort(apart, axis=1)[:, :k]
    return ((labels[neighbours] != labels[:, None]).sum(axis=1) > k / 2).mean()


def test_chaos_by_hand():
    # a at 0, 1, 4: nearest of its own at 1, 1, 3 steps; b at 2, 3: 1, 1. Sum 7 steps of 1 / sqrt(2); 5 spots.
    assert metrics.chaos(["a", "a", "b", "b", "a"], ROW) == pytest.approx(7 / np.sqrt(2) / 5)


def test_chaos_of_a_lone_spot_adds_nothing_but_counts():
    # a at 0, 1: 1, 1; b at 2 alone; c at 3, 4: 1, 1. Sum 4 steps, still 5 spots.
    assert metrics.chaos(["a", "a", "b", "c", "c"], ROW) == pytest.approx(4 / np.sqrt(2) / 5)


def test_pas_by_hand():
    # k = 2, positions 0, 1, 2.1, 3, 4 so that no two neighbours tie.
    # Neighbours (index): 0: 1,2; 1: 0,2; 2: 3,1; 3: 2,4; 4: 3,2
    # labels a a b b a -> differ: 0: a|ab 1; 1: a|ab 1; 2: b|ba 1; 3: b|ba 1; 4: a|bb 2. Only spot 4 has more than 1.
    points = ROW.copy()
    points[2, 0] = 2.1
    labels = ["a", "a", "b", "b", "a"]
    assert metrics.pas(labels, points, k=2) == pytest.approx(1 / 5)
    assert metrics.dis(labels, points, k=2) == pytest.approx((metrics.chaos(labels, points) + 1 / 5) / 2)


def test_six_of_ten_is_abnormal_and_five_is_not():
    # one spot in the middle of ten on a circle far from each other's reach; only the middle one is looked at
    angle = np.arange(10) * 2 * np.pi / 10
    points = np.vstack([[0.0, 0.0], np.c_[np.cos(angle), np.sin(angle)]])
    five = np.array([0] + [0] * 5 + [1] * 5)
    six = np.array([0] + [0] * 4 + [1] * 6)
    # with 11 spots every spot has the other ten as neighbours.
    # five: label 0 has 6 spots, so each 0 sees 5 others of another label (normal), each 1 sees 6 (abnormal): 5 / 11
    assert metrics.pas(five, points) == pytest.approx(5 / 11)
    # six: label 0 has 5 spots, each sees 6 others (abnormal); each 1 sees 5 (normal): 5 / 11, the middle now among them
    assert metrics.pas(six, points) == pytest.approx(5 / 11)


@pytest.mark.parametrize("seed", range(3))
def test_the_definition_over_all_pairs(seed):
    labels, points = scattered(200, seed)
    assert metrics.chaos(labels, points) == pytest.approx(chaos_over_all_pairs(labels, points))
    assert metrics.pas(labels, points) == pytest.approx(pas_over_all_pairs(labels, points, 10))


def test_shuffled_labels_are_worse():
    labels, points = scattered(300, 0)
    shuffled = np.random.default_rng(1).permutation(labels)
    assert metrics.chaos(shuffled, points) > 1.2 * metrics.chaos(labels, points)
    assert metrics.pas(shuffled, points) > metrics.pas(labels, points) + 0.3


@pytest.mark.parametrize("metric", [metrics.chaos, metrics.pas, metrics.dis])
def test_order_names_units_and_quarter_turns_do_not_matter(metric):
    labels, points = scattered(150, 2)
    order = np.random.default_rng(3).permutation(150)
    expected = metric(labels, points)
    assert metric(labels[order], points[order]) == pytest.approx(expected)
    assert metric(np.array(["x", "WM", "b", "c"])[labels], points) == pytest.approx(expected)
    assert metric(labels, 0.35 * points + [1e5, -3e4]) == pytest.approx(expected)
    assert metric(labels, points[:, ::-1] * [1, -1]) == pytest.approx(expected)


def test_pas_ignores_any_rotation():
    labels, points = scattered(150, 4)
    cos, sin = np.cos(0.7), np.sin(0.7)
    assert metrics.pas(labels, points @ [[cos, -sin], [sin, cos]]) == metrics.pas(labels, points)


@pytest.mark.parametrize("metric", [metrics.chaos, metrics.pas, metrics.dis, metrics.spatial_silhouette])
def test_unlabelled_spots_are_not_there(metric):
    labels, points = scattered(120, 5)
    some = np.random.default_rng(6).random(120) < 0.3
    with_gaps = np.where(some, None, labels.astype(object))
    points_with_gaps = points.copy()
    points_with_gaps[some] = np.nan  # what has no label is not even looked at
    assert metric(with_gaps, points_with_gaps) == pytest.approx(metric(labels[~some], points[~some]))


@pytest.mark.parametrize("metric", [metrics.chaos, metrics.pas, metrics.spatial_silhouette])
def test_sections_never_meet(metric):
    labels, points = scattered(100, 7)
    other_labels, other = scattered(60, 8)
    apart = metric(labels, points), metric(other_labels, other)
    together = metric(np.r_[labels, other_labels], np.vstack([points, other]), sections=["s1"] * 100 + ["s2"] * 60)
    assert together == pytest.approx((100 * apart[0] + 60 * apart[1]) / 160)


def test_one_domain():
    _, points = scattered(50, 9)
    one = np.zeros(50)
    assert metrics.pas(one, points) == 0.0
    assert metrics.chaos(one, points) == pytest.approx(chaos_over_all_pairs(one, points))


def test_many_spots_in_the_same_place():
    labels = np.array([0] * 30 + [1] * 30)
    points = np.vstack([np.zeros((30, 2)), np.ones((30, 2))])
    assert metrics.pas(labels, points) == 0.0
    assert metrics.chaos(labels, points) == 0.0


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"10 nearest neighbours.*only 5 labelled spots.*k=4"):
        metrics.pas([0, 0, 1, 1, 1], ROW)
    with pytest.raises(ValueError, match="k must be at least 1"):
        metrics.pas([0, 0, 1, 1, 1], ROW, k=0)
    with pytest.raises(ValueError, match=r"argument order is \(labels, spatial\)"):
        metrics.chaos([0, 0, 1], ROW)
    with pytest.raises(ValueError, match="None of the 5 spots is labelled"):
        metrics.chaos([None] * 5, ROW)
    with pytest.raises(ValueError, match="NaN or infinite coordinates"):
        metrics.chaos([0, 0, 1, 1, 1], np.where(ROW == 4, np.inf, ROW))
    with pytest.raises(ValueError, match="one section per spot"):
        metrics.chaos([0, 0, 1, 1, 1], ROW, sections=["a", "b"])
    with pytest.raises(ValueError, match="labelled spots have no section"):
        metrics.chaos([0, 0, 1, 1, 1], ROW, sections=["a", "a", None, "b", "b"])


@pytest.mark.real_data
def test_a_real_section(data_dir):
    """On cortex the annotated layers are far more continuous than the same labels dealt at random."""
    import anndata

    adata = anndata.read_h5ad(data_dir / "dlpfc" / "151673.h5ad")
    layers, spatial = adata.obs["layer_guess"], adata.obsm["spatial"]
    labelled = layers.notna().to_numpy()
    assert 0 < (~labelled).sum() < 100
    dealt = np.random.default_rng(0).permutation(layers.to_numpy())
    assert metrics.pas(layers, spatial) < 0.1 < 0.5 < metrics.pas(dealt, spatial)
    assert metrics.chaos(layers, spatial) == pytest.approx(
        chaos_over_all_pairs(layers[labelled].astype(str).to_numpy(), spatial[labelled]), abs=1e-9
    )
