"""Mixing of sections: truths by hand, agreement with definitions and scikit-learn, and what must change nothing."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq
from scipy.stats import entropy
from sklearn.metrics import silhouette_samples

from histoquilt import metrics
from histoquilt.metrics.mixing._lisi import nearest_others

LINE = np.arange(200.0)[:, None]
ALTERNATING = np.array(["a", "b"] * 100)
APART = LINE + 1e4 * (ALTERNATING == "b")[:, None]
MEASURES = [metrics.ilisi, metrics.batch_silhouette, metrics.batch_entropy]


def cloud(n=400, n_sections=3, shift=0.5, seed=0):
    rng = np.random.default_rng(seed)
    sections = rng.integers(0, n_sections, n)
    return rng.normal(size=(n, 5)) + shift * sections[:, None], sections


def test_lisi_of_equal_weights_is_the_inverse_simpson_index():
    # all others equally far: weights 1/3 each. Seen from an a: a, a... one a and two b: 1 / (1/9 + 4/9) = 9/5
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1.0]])  # a regular tetrahedron
    assert metrics.ilisi(corners, list("aabb"), perplexity=2) == pytest.approx(9 / 5)
    assert metrics.ilisi(corners, list("aabb"), perplexity=2, scaled=True) == pytest.approx(4 / 5)
    # cLISI of the same labels is the same number, scaled from its other end
    assert metrics.clisi(corners, list("aabb"), perplexity=2, scaled=True) == pytest.approx(1 / 5)


def test_perfectly_mixed_and_perfectly_apart():
    assert metrics.ilisi(LINE, ALTERNATING) == pytest.approx(2, abs=0.02)
    assert metrics.ilisi(APART, ALTERNATING) == pytest.approx(1)
    assert metrics.batch_silhouette(LINE, ALTERNATING) > 0.97
    assert metrics.batch_silhouette(APART, ALTERNATING) < 0.001
    assert metrics.batch_entropy(LINE, ALTERNATING) > 1
    assert metrics.batch_entropy(APART, ALTERNATING) == 0


@pytest.mark.parametrize("sizes", [(2000, 2000), (3200, 600, 200)])
def test_entropy_of_chance_is_one_for_sections_of_any_size(sizes):
    rng = np.random.default_rng(0)
    sections = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = rng.normal(size=(len(sections), 2))
    values = [metrics.batch_entropy(points, sections, n_neighbors=k) for k in (3, 10, 50)]
    assert values == pytest.approx([1, 1, 1], abs=0.03)


def test_entropy_by_hand():
    # Two neighbours each, four spots, two of each section. Drawn at random two of the four are one of each with
    # probability 2/3: expected entropy 2/3 log 2. Found: in every corner of the square the two at the sides, which are
    # one a and one b: log 2.
    square = [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert metrics.batch_entropy(square, list("aabb"), n_neighbors=2) == pytest.approx(3 / 2)


def lisi_by_definition(points, labels, perplexity):
    """LISI as its paper defines it, spot by spot, with a root finder for the width of the weights."""
    values = []
    for i in range(len(points)):
        distances = np.linalg.norm(points - points[i], axis=1)
        distances[i] = np.inf
        near = np.argsort(distances)[: int(3 * perplexity)]

        def excess(log_beta, d=distances[near]):
            weights = np.exp(-np.exp(log_beta) * (d - d.min()))
            return entropy(weights / weights.sum()) - np.log(perplexity)

        found = np.exp(brentq(excess, -30, 30))
        weights = np.exp(-found * (distances[near] - distances[near].min()))
        shares = np.array([weights[labels[near] == one].sum() for one in np.unique(labels)]) / weights.sum()
        values.append(1 / (shares**2).sum())
    return np.median(values)


@pytest.mark.parametrize(("n", "n_dims"), [(400, 2), (700, 30)])
def test_lisi_is_what_its_paper_defines(n, n_dims):
    rng = np.random.default_rng(3)
    sections = rng.integers(0, 4, n)
    points = rng.normal(size=(n, n_dims)) + 0.4 * sections[:, None]
    for perplexity in (10, 30):
        expected = lisi_by_definition(points, sections, perplexity)
        assert metrics.ilisi(points, sections, perplexity=perplexity) == pytest.approx(expected, abs=1e-4)
        assert metrics.clisi(points, sections, perplexity=perplexity) == pytest.approx(expected, abs=1e-4)


def test_silhouette_agrees_with_scikit_learn():
    points, sections = cloud()
    domains = np.where(points[:, 0] > 0.5, "up", "down").astype(object)
    domains[:20] = None
    expected = 1 - np.abs(silhouette_samples(points, sections, metric="sqeuclidean")).mean()
    assert metrics.batch_silhouette(points, sections) == pytest.approx(expected)
    within = [
        1 - np.abs(silhouette_samples(points[inside], sections[inside], metric="sqeuclidean")).mean()
        for inside in (domains == "up", domains == "down")
    ]
    assert metrics.batch_silhouette(points, sections, domains=domains) == pytest.approx(np.mean(within))


def test_a_domain_in_one_section_only_is_left_out():
    points = np.array([[0.0], [0], [1], [1], [500], [600]])
    sections, domains = list("ababaa"), list("xxxxyy")
    assert metrics.batch_silhouette(points, sections, domains=domains) == metrics.batch_silhouette(
        points[:4], sections[:4]
    )
    with pytest.raises(ValueError, match="No domain lies in two sections"):
        metrics.batch_silhouette(points, sections, domains=list("ababaa"))


@pytest.mark.parametrize("measure", MEASURES)
def test_moving_turning_stretching_renaming_and_reordering_change_nothing(measure):
    points, sections = cloud()
    expected = measure(points, sections)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    order = np.random.default_rng(2).permutation(len(points))
    assert measure(37 * points @ turn - 5, np.array(["z", "x", "y"])[sections]) == pytest.approx(expected, abs=1e-4)
    assert measure(points[order], pd.Categorical(sections[order])) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_farther_apart_the_lower(measure):
    values = [measure(*cloud(shift=shift)) for shift in (0, 1, 2, 5)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 0.3


@pytest.mark.parametrize("measure", [metrics.ilisi, metrics.batch_entropy])
def test_a_seeded_draw_of_spots_stands_for_all(measure):
    points, sections = cloud(3000)
    whole = measure(points, sections)
    assert measure(points, sections, max_spots=1000) == measure(points, sections, max_spots=1000)
    assert measure(points, sections, max_spots=1000) == pytest.approx(whole, rel=0.02)
    assert measure(points, sections, max_spots=1000) != measure(points, sections, max_spots=1000, seed=1)


def test_neighbours_never_hold_the_spot_itself_though_places_repeat():
    points = np.zeros((50, 3))
    found = nearest_others(points, 7)
    assert (found.indices != found.rows[:, None]).all()
    assert found.indices.shape == (50, 7)
    assert all(len(set(row)) == 7 for row in found.indices.tolist())


def test_spots_without_a_domain_do_not_count():
    points, labels = cloud(300, 2, 3.0)
    domains = np.array(["x", "y"], dtype=object)[labels]
    far = np.full((40, 5), 1e6)
    expected = metrics.clisi(points, domains)
    assert metrics.clisi(np.vstack([points, far]), [*domains, *[np.nan] * 40]) == pytest.approx(expected)


@pytest.mark.parametrize("measure", MEASURES)
def test_bad_input_is_told(measure):
    points, sections = cloud(60)
    with pytest.raises(ValueError, match=r"one row per spot, shape \(60, n_dims\), got \(59, 5\)"):
        measure(points[:59], sections)
    with pytest.raises(ValueError, match="NaN or infinite"):
        measure(np.where(np.arange(5) == 2, np.nan, points), sections)
    with pytest.raises(ValueError, match="1 of 60 spots have no section"):
        measure(points, ["", *sections[1:]])
    with pytest.raises(ValueError, match=r"sections holds 1 label\(s\)"):
        measure(points, np.zeros(60))


def test_bad_settings_are_told():
    points, sections = cloud(60)
    with pytest.raises(ValueError, match="perplexity is an effective number"):
        metrics.ilisi(points, sections, perplexity=1)
    with pytest.raises(ValueError, match="n_neighbors must be from 2 to 59"):
        metrics.batch_entropy(points, sections, n_neighbors=60)
    with pytest.raises(ValueError, match="60 spots, 59 domains"):
        metrics.batch_silhouette(points, sections, domains=sections[1:])


def test_the_table_holds_all_sections_and_each_pair():
    points, sections = cloud(600, 3, 0.8)
    names = np.array(["s1", "s2", "s3"])[sections]
    domains = pd.Categorical(np.where(points[:, 1] > 0.5, "up", "down"))
    table = metrics.mixing_table({"pca": points, "flat": points * 0 + points[:, :1]}, names, domains)
    assert table.columns.tolist() == ["embedding", "sections", "metric", "value"]
    first = pd.unique(names)
    pairs = {f"{first[0]} vs {first[1]}", f"{first[0]} vs {first[2]}", f"{first[1]} vs {first[2]}"}
    assert set(table["sections"]) == {"all", *pairs}
    assert len(table) == 2 * 4 * 7
    assert not table.duplicated(["embedding", "sections", "metric"]).any()
    value = table.set_index(["embedding", "sections", "metric"])["value"]
    assert value["pca", "all", "ilisi"] == metrics.ilisi(points, names)
    assert value["pca", "all", "batch_entropy"] == metrics.batch_entropy(points, names)
    assert value["pca", "all", "clisi_scaled"] == metrics.clisi(points, domains, scaled=True)
    two = names != first[2]
    pair = f"{first[0]} vs {first[1]}"
    assert value["pca", pair, "ilisi_scaled"] == metrics.ilisi(points[two], names[two], scaled=True)
    within = metrics.batch_silhouette(points[two], names[two], domains=domains[two])
    assert value["pca", pair, "batch_silhouette_within_domains"] == within


def test_the_table_says_nan_where_a_pair_has_nothing_to_compare():
    points, sections = cloud(300, 3)
    domains = np.array(["x", "y", "y"])[sections]  # the first section shares no domain with the others
    names = np.array(["s1", "s2", "s3"])[sections]
    value = metrics.mixing_table({"z": points}, names, domains).set_index(["sections", "metric"])["value"]
    pair = next(name for name in value.index.levels[0] if "s1" in name and "s2" in name)
    other = next(name for name in value.index.levels[0] if "s2" in name and "s3" in name)
    assert np.isnan(value[pair, "batch_silhouette_within_domains"])
    assert value[pair, "clisi"] == pytest.approx(value[pair, "ilisi"])  # there domains are the sections
    assert np.isnan(value[other, "clisi"])
    assert value[other, "batch_silhouette_within_domains"] > 0.5


def test_an_empty_table_is_an_error():
    with pytest.raises(ValueError, match="embeddings is empty"):
        metrics.mixing_table({}, ["a", "b"])
