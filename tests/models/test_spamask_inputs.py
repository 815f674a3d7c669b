"""What lies before the network: there and back again, section by section, and through a checkpoint's parts."""

from dataclasses import replace

import numpy as np
import pytest
from anndata import AnnData
from histoquilt.models.spamask._inputs import SpaMaskInputs, WayBack

from histoquilt.datasets import toy_section
from histoquilt.gr import knn_adjacency
from histoquilt.models import SpaMaskConfig
from histoquilt.pp import expression

ALL = SpaMaskConfig(n_pcs=500, clip=1e9, min_spots=1, min_counts=0, spatial_factors=False)


@pytest.fixture(scope="module")
def two() -> AnnData:
    adata = toy_section(n_spots=120, n_genes=60, n_domains=3, n_sections=2, seed=0)
    adata.obsm["X_own"] = np.random.default_rng(0).normal(size=(adata.n_obs, 5))
    return adata


@pytest.fixture(scope="module")
def sections(two: AnnData) -> np.ndarray:
    return two.obs["section"].astype(str).to_numpy()


def fit(adata, config, use_rep=None, sections=None):
    graph = knn_adjacency(adata.obsm["spatial"], 6)
    return SpaMaskInputs.fit(adata, graph, config, layer=None, use_rep=use_rep, sections=sections)


def in_sections(values, sections):
    return np.stack([values[sections == name].mean(axis=0) for name in ("s1", "s2")])


@pytest.mark.parametrize("by_section", [False, True])
def test_there_and_back(two, sections, by_section):
    named = sections if by_section else None
    inputs, values = fit(two, ALL, sections=named)
    again, way_back = inputs.transform(two, sections=named)
    np.testing.assert_allclose(again, values, atol=1e-4)
    assert len(way_back.scaling.mean) == (2 if by_section else 1)
    assert (way_back.row_scale == 1).all()
    expected = expression(two).normalised()[:, two.var_names.get_indexer(inputs.genes.genes)].toarray()
    np.testing.assert_allclose(inputs.inverse(again, way_back), expected, atol=5e-3)


def test_sections_have_one_mean_where_each_is_scaled(two, sections):
    apart = in_sections(fit(two, ALL, sections=sections)[1], sections)
    np.testing.assert_allclose(apart, 0, atol=1e-3)
    together = in_sections(fit(two, ALL)[1], sections)
    assert np.abs(together[0] - together[1]).max() > 0.5


def test_every_spot_gets_its_length_and_section_back(two, sections):
    """Inputs of one length, given back with the way of another spot: its length, and its section's mean."""
    config = replace(ALL, spatial_factors=True)
    inputs, values = fit(two, config, sections=sections)
    again, way_back = inputs.transform(two, sections=sections)
    np.testing.assert_allclose(again, values, atol=1e-4)
    features, _ = inputs.genes.transform(expression(two), sections)
    lengths = np.linalg.norm(features - inputs.factors.center, axis=1) / inputs.factors.length
    np.testing.assert_allclose(way_back.row_scale, lengths, rtol=1e-5)
    doubled = WayBack(2 * way_back.row_scale, way_back.scaling)
    once, twice = (inputs.factors.inverse(again, way.row_scale) - inputs.factors.center for way in (way_back, doubled))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-3, atol=1e-3)
    other = WayBack(way_back.row_scale, replace(way_back.scaling, codes=1 - way_back.scaling.codes))
    effect = way_back.scaling.mean[1] - way_back.scaling.mean[0]
    moved = in_sections(inputs.inverse(again, other) - inputs.inverse(again, way_back), sections)
    assert np.corrcoef(moved[0], effect)[0, 1] > 0.9
    assert np.corrcoef(moved[1], -effect)[0, 1] > 0.9


def test_an_embedding_has_no_way_back(two):
    inputs, values = fit(two, ALL, use_rep="X_own")
    again, way_back = inputs.transform(two)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_array_equal(again, two.obsm["X_own"].astype(np.float32))
    assert way_back.scaling is None
    with pytest.raises(ValueError, match=r"fitted on obsm\['X_own'\], not on genes"):
        inputs.inverse(again, way_back)


@pytest.mark.parametrize("by_section", [False, True])
@pytest.mark.parametrize(
    ("changes", "use_rep"),
    [({}, None), ({"spatial_factors": True}, None), ({"features": "hvg"}, None), ({"spatial_factors": True}, "X_own")],
    ids=["pca", "factors", "hvg", "use_rep"],
)
def test_it_comes_back_from_its_parts(two, sections, changes, use_rep, by_section):
    named = sections if by_section else None
    inputs, values = fit(two, replace(ALL, clip=5.0, **changes), use_rep, named)
    genes = [] if inputs.genes is None else inputs.genes.genes
    restored = SpaMaskInputs.restore(inputs.settings(), inputs.arrays(), genes)
    assert restored.n_inputs == inputs.n_inputs == values.shape[1]
    (ours, way), (theirs, their_way) = inputs.transform(two, sections=named), restored.transform(two, sections=named)
    np.testing.assert_array_equal(theirs, ours)
    if use_rep is None:
        assert restored.genes.by_section == inputs.genes.by_section
        np.testing.assert_array_equal(restored.inverse(theirs, their_way), inputs.inverse(ours, way))
    if changes.get("spatial_factors"):
        np.testing.assert_array_equal(restored.hops, inputs.hops)
    else:
        assert restored.hops is inputs.hops is None
