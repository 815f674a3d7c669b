"""Plots of a comparison of conditions: patients, differences and what is marked as found."""

import numpy as np
import pytest

import histoquilt as hq
from histoquilt import pl


@pytest.fixture(scope="module")
def joint():
    study = hq.datasets.toy_conditions(n_patients=3, n_spots=120, n_genes=30, n_domains=3, seed=0)
    joint = hq.io.concat_sections(study)
    hq.tl.compare_conditions(joint, domain_key="domain_true")
    return joint


@pytest.fixture
def compared(joint):
    found = hq.metrics.ConditionComparison(**joint.uns["conditions"])
    proportions, neighbours = found.proportions.copy(), found.neighbours.copy()
    proportions["p_adjusted"] = [0.5, 0.01, np.nan]
    neighbours["p_adjusted"] = [0.5, 0.01, 0.5, 0.5, 0.5, 0.02]
    return hq.metrics.ConditionComparison(**{**vars(found), "proportions": proportions, "neighbours": neighbours})


def test_proportions_show_every_patient_and_the_false_discovery_rate(compared):
    ax = pl.condition_proportions(compared)
    dots = np.concatenate([collection.get_offsets() for collection in ax.collections])
    assert len(dots) == 6 * 3
    shares = vars(compared)["values"].query("measure == 'proportion'")["value"]
    np.testing.assert_allclose(sorted(dots[:, 1]), sorted(shares))
    texts = {text.get_text(): text.get_weight() for text in ax.texts}
    assert texts == {"0.5": "normal", "0.01": "bold", "–": "normal"}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["control", "treated"]


def test_the_heat_map_is_symmetric_and_marks_what_was_found(compared):
    ax = pl.condition_neighbours(compared)
    grid = ax.images[0].get_array()
    np.testing.assert_allclose(grid, grid.T)
    by_pair = compared.neighbours.set_index(["domain", "neighbour"])["difference"]
    assert grid[0, 1] == pytest.approx(by_pair["island1", "layer1"])
    assert sorted(text.get_position() for text in ax.texts) == [(0, 1), (1, 0), (2, 2)]


def test_shapes_have_one_axes_per_measure_and_an_interval_per_domain(joint):
    pytest.importorskip("shapely")
    axes = pl.condition_shape(joint)
    titles = ["area", "perimeter", "elongation", "pieces", "distance to the tissue border"]
    assert [ax.get_title() for ax in axes] == titles
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["island1", "layer1", "layer2"]
    rows = joint.uns["conditions"]["shape"].query("measure == 'area'")
    np.testing.assert_allclose(axes[0].collections[1].get_offsets()[:, 0], rows["difference"])


def test_a_comparison_that_is_not_there_is_named(joint, compared):
    with pytest.raises(KeyError, match=r"'other' is not in adata\.uns .*compare_conditions"):
        pl.condition_proportions(joint, key="other")
    with pytest.raises(KeyError, match=r"'healthy' was not compared \(found: 'treated'\)"):
        pl.condition_neighbours(joint, condition="healthy")
    with pytest.raises(TypeError, match="Expected a ConditionComparison or an AnnData, got str"):
        pl.condition_shape("results")
    empty = hq.metrics.ConditionComparison(**{**vars(compared), "shape": compared.shape.iloc[:0]})
    with pytest.raises(KeyError, match="Shapes were not compared"):
        pl.condition_shape(empty)
