"""P-values that know space: false positives on smooth noise, power on signal."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from histoquilt import metrics
from histoquilt.metrics._significance import distance_classes


def grid(side):
    return np.array([(x, y) for x in range(side) for y in range(side)], dtype=float)


def smooth_noise(side, width, n_genes, seed):
    """Random fields, smooth over `width` spots, cut from a larger field so that borders are like the middle."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.normal(size=(side + 40, side + 40)), width)[20:-20, 20:-20] for _ in range(n_genes)]
    return np.stack([field.ravel() / field.std() for field in fields], axis=1)


def names(n):
    return [f"g{i}" for i in range(n)]


@pytest.mark.parametrize("alternative", ["greater", "two-sided"])
@pytest.mark.parametrize(
    ("side", "width", "max_pairs"), [(18, 1.5, 2_000_000), (18, 2.5, 2_000_000), (40, 2.0, 200_000)]
)
def test_false_positives_on_smooth_noise_stay_near_5_percent(side, width, max_pairs, alternative):
    a, b = smooth_noise(side, width, 400, 0), smooth_noise(side, width, 400, 1)
    found = metrics.gene_significance(
        a, b, grid(side), names(400), alternative=alternative, max_pairs=max_pairs
    )  # 400 genes: a share of 5 % has a standard error of 1.1 %
    assert 0.02 < (found["p_value"] < 0.05).mean() < 0.085
    assert (found["p_naive"] < 0.05).mean() > 0.25
    assert (found["q_value"] < 0.05).mean() < 0.02


def test_white_noise_keeps_all_its_spots():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 225, 300))
    found = metrics.gene_significance(a, b, grid(15), names(300))
    assert found["n_effective"].median() > 200
    assert 0.02 < (found["p_value"] < 0.05).mean() < 0.085


def test_a_true_signal_is_found():
    truth = smooth_noise(18, 1.5, 50, 0)
    guess = truth + smooth_noise(18, 1.5, 50, 1)
    found = metrics.gene_significance(truth, guess, grid(18), names(50))
    assert (found["q_value"] < 0.05).mean() > 0.9
    assert (metrics.gene_significance(truth, -guess, grid(18), names(50))["p_value"] > 0.5).all()


def test_the_effective_number_by_hand():
    """Trace form with explicit matrices on a small grid: B S_a B S_b."""
    points = grid(5)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 25, 1)).cumsum(axis=1)
    classes = distance_classes(points, 10**6, 0)
    masks = [np.eye(25), *(pairs.toarray() for pairs in classes.pairs)]
    assert (sum(masks) == 1).all()  # every pair stands in one class
    spread = []
    for values in (a[:, 0], b[:, 0]):
        z = (values - values.mean()) / values.std()
        spread.append(sum(mask * (np.outer(z, z)[mask > 0]).mean() for mask in masks))
    centring = np.eye(25) - 1 / 25
    first, second = (centring @ one for one in spread)
    variance = np.trace(first @ second) / (np.trace(first) * np.trace(second))
    expected = np.clip(1 + 1 / max(variance, 1 / 24), 2, 25)
    assert classes.effective_spots(a, b)[0] == pytest.approx(expected)


def test_a_sample_of_pairs_comes_near_all_of_them():
    points = grid(24)
    a, b = smooth_noise(24, 2.0, 100, 0), smooth_noise(24, 2.0, 100, 1)
    full = distance_classes(points, 10**6, 0)
    part = distance_classes(points, 60_000, 0)  # of 331,200
    assert sum(pairs.sum() for pairs in part.pairs) <= 60_000
    assert part.overlap == pytest.approx(full.overlap, abs=0.03 * full.overlap.max())
    assert part.n_pairs == pytest.approx(full.n_pairs, abs=0.03 * full.n_pairs.max())
    ratio = np.median(part.effective_spots(a, b)) / np.median(full.effective_spots(a, b))
    assert ratio == pytest.approx(1, abs=0.08)


def test_unit_order_and_rotation_of_space_do_not_matter():
    a, b = smooth_noise(12, 1.5, 5, 0), smooth_noise(12, 1.5, 5, 1)
    expected = metrics.gene_significance(a, b, grid(12), names(5))["p_value"].to_numpy()
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    order = np.random.default_rng(0).permutation(144)
    moved = (130.0 * grid(12) @ turn + 5)[order]
    found = metrics.gene_significance(a[order], b[order], moved, names(5))["p_value"].to_numpy()
    assert found == pytest.approx(expected, rel=1e-6)


def test_an_undefined_gene_is_never_significant():
    a = smooth_noise(12, 1.5, 3, 0)
    guess = a.copy()
    guess[:, 1] = 4.0
    found = metrics.gene_significance(a, guess, grid(12), names(3))
    assert found["p_value"].tolist() == pytest.approx([0, 1, 0], abs=1e-6)
    assert found.loc["g1", "pearson"] == 0


def test_what_gene_significance_refuses():
    a = smooth_noise(12, 1.5, 3, 0)
    with pytest.raises(ValueError, match="alternative must be 'greater' or 'two-sided'"):
        metrics.gene_significance(a, a, grid(12), names(3), alternative="less")
    with pytest.raises(ValueError, match=r"spatial must be \(144, 2\).*got \(100, 2\)"):
        metrics.gene_significance(a, a, grid(10), names(3))
    with pytest.raises(ValueError, match="9 spots are too few"):
        metrics.gene_significance(a[:9], a[:9], grid(3), names(3))
    with pytest.raises(ValueError, match="share their place"):
        metrics.gene_significance(a, a, np.repeat(grid(6), 4, axis=0), names(3))
    bad = grid(12)
    bad[0, 0] = np.nan
    with pytest.raises(ValueError, match="spatial holds NaN"):
        metrics.gene_significance(a, a, bad, names(3))


def test_significance_at_equal_depth_sees_the_gene_and_not_the_depth():
    rng = np.random.default_rng(0)
    log_depth = 6 + smooth_noise(18, 1.5, 1, 5)[:, 0]
    noise, guess_noise = rng.normal(0, 0.3, (2, 324, 60))
    gene = rng.normal(0, 0.5, (324, 30))
    truth, guess = log_depth[:, None] + noise, log_depth[:, None] + guess_noise
    truth[:, :30] += gene
    guess[:, :30] += gene
    raw = metrics.gene_significance(truth, guess, grid(18), names(60))
    assert (raw["q_value"] < 0.05).all()
    found = metrics.gene_significance(truth, guess, grid(18), names(60), log_depth=log_depth)
    assert (found["q_value"][:30] < 0.05).all()
    assert (found["q_value"][30:] < 0.05).sum() <= 3
    np.testing.assert_allclose(
        found["pearson"], metrics.depth_adjusted_correlation(truth, guess, log_depth), atol=1e-12
    )
    # spots without counts are left out, whatever was predicted there
    truth, guess = np.vstack([truth, np.zeros((18, 60))]), np.vstack([guess, np.full((18, 60), 99.0)])
    more = np.vstack([grid(18), [(18.0, y) for y in range(18)]])
    again = metrics.gene_significance(truth, guess, more, names(60), log_depth=np.r_[log_depth, np.full(18, -np.inf)])
    np.testing.assert_allclose(again["p_value"], found["p_value"])
    few = np.where(np.arange(324) < 5, log_depth, -np.inf)
    with pytest.raises(ValueError, match="5 spots are too few"):
        metrics.gene_significance(truth[:324], guess[:324], grid(18), names(60), log_depth=few)
