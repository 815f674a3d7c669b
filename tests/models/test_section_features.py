"""Features of sections: there and back again, section by section, and through a checkpoint's parts."""

from dataclasses import replace

import numpy as np
import pytest
from anndata import AnnData

from histoquilt.datasets import toy_section
from histoquilt.models import SpatialFactors, SpatialFactorsConfig
from histoquilt.models.domains._features import SectionFeatures
from histoquilt.pp import expression

ALL = SpatialFactorsConfig(n_pcs=500, clip=1e9, min_spots=1, min_counts=0)


@pytest.fixture(scope="module")
def two() -> AnnData:
    adata = toy_section(n_spots=120, n_genes=60, n_domains=3, n_sections=2, seed=0)
    adata.obsm["X_own"] = np.random.default_rng(0).normal(size=(adata.n_obs, 5))
    return adata


@pytest.fixture(scope="module")
def sections(two: AnnData) -> np.ndarray:
    return two.obs["section"].astype(str).to_numpy()


def fit(adata, config, use_rep=None, sections=None):
    return SectionFeatures.fit(adata, config, layer=None, use_rep=use_rep, sections=sections)


def in_sections(values, sections):
    return np.stack([values[sections == name].mean(axis=0) for name in ("s1", "s2")])


@pytest.mark.parametrize("by_section", [False, True])
def test_there_and_back(two, sections, by_section):
    named = sections if by_section else None
    features, values, of_fit = fit(two, ALL, sections=named)
    again, scaling = features.transform(two, sections=named)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_array_equal(scaling.mean, of_fit.mean)
    assert len(scaling.mean) == (2 if by_section else 1)
    expected = expression(two).normalised()[:, two.var_names.get_indexer(features.genes.genes)].toarray()
    np.testing.assert_allclose(features.genes.inverse(again, scaling), expected, atol=5e-3)


def test_sections_have_one_mean_where_each_is_scaled(two, sections):
    apart = in_sections(fit(two, ALL, sections=sections)[1], sections)
    np.testing.assert_allclose(apart, 0, atol=1e-3)
    together = in_sections(fit(two, ALL)[1], sections)
    assert np.abs(together[0] - together[1]).max() > 0.5


def test_every_spot_gets_its_length_and_section_back(two, sections):
    """Outputs of one length, given back with the length of another spot, and another section's mean."""
    model = SpatialFactors(replace(ALL, match_sections=False))
    outputs = model.fit_run(two, section_key="section")
    features, _ = model.fitted.features.transform(two, sections=sections)
    learnt = model.fitted.learnt
    lengths = np.linalg.norm(features - learnt.center, axis=1) / learnt.length
    np.testing.assert_allclose(outputs.row_scale, lengths, rtol=1e-5)
    once, twice = (
        model.to_features(learnt, outputs.reconstruction, scale) - learnt.center
        for scale in (outputs.row_scale, 2 * outputs.row_scale)
    )
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-3, atol=1e-3)
    other = replace(outputs, scaling=replace(outputs.scaling, codes=1 - outputs.scaling.codes))
    effect = outputs.scaling.mean[1] - outputs.scaling.mean[0]
    difference = model.denoise_outputs(two, other) - model.denoise_outputs(two, outputs)
    moved = in_sections(difference.to_numpy(), sections)
    assert np.corrcoef(moved[0], effect)[0, 1] > 0.9
    assert np.corrcoef(moved[1], -effect)[0, 1] > 0.9


def test_an_embedding_is_taken_as_it_is(two):
    features, values, scaling = fit(two, ALL, use_rep="X_own")
    assert features.genes is scaling is None
    np.testing.assert_array_equal(features.transform(two)[0], values)
    np.testing.assert_array_equal(values, two.obsm["X_own"].astype(np.float32))


@pytest.mark.parametrize("by_section", [False, True])
@pytest.mark.parametrize(
    ("changes", "use_rep"), [({}, None), ({"features": "hvg"}, None), ({}, "X_own")], ids=["pca", "hvg", "use_rep"]
)
def test_it_comes_back_from_its_parts(two, sections, changes, use_rep, by_section):
    named = sections if by_section else None
    features, _, _ = fit(two, replace(ALL, clip=5.0, **changes), use_rep, named)
    genes = [] if features.genes is None else features.genes.genes
    restored = SectionFeatures.restore(features.settings(), features.arrays(), genes)
    (ours, scaling), (theirs, their_scaling) = (one.transform(two, sections=named) for one in (features, restored))
    np.testing.assert_array_equal(theirs, ours)
    if use_rep is None:
        assert restored.genes.by_section == features.genes.by_section
        again = restored.genes.inverse(theirs, their_scaling)
        np.testing.assert_array_equal(again, features.genes.inverse(ours, scaling))
