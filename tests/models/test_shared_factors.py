"""Averaged principal components, and the directions that several models share."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.spatial.distance import pdist
from tests.models.conftest import make_section

from histoquilt.datasets import toy_section
from histoquilt.gr import knn_adjacency
from histoquilt.models import (
    AveragedPCs,
    AveragedPCsConfig,
    DomainModel,
    ModelConfig,
    SharedFactors,
    SharedFactorsConfig,
    SpaMaskConfig,
    SpatialFactors,
    SpatialFactorsConfig,
    load,
)
from histoquilt.tl import spatial_domains

TWICE = AveragedPCsConfig(n_averagings=2, n_components=5)


@pytest.fixture(scope="module")
def section():
    return make_section()


def averaged_by_hand(features: np.ndarray, spatial: np.ndarray, times: int, n_components: int) -> np.ndarray:
    """Dense: unit rows, averaged, centred, leading components."""
    links = knn_adjacency(spatial, 6).toarray() > 0
    links = links | np.eye(len(links), dtype=bool)
    averaging = links / links.sum(axis=1, keepdims=True)
    values = features / np.linalg.norm(features, axis=1, keepdims=True)
    values = np.linalg.matrix_power(averaging, times) @ values
    left, sizes, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    return left[:, :n_components] * sizes[:n_components]


@pytest.mark.parametrize("times", [0, 1, 3])
def test_averaged_components_are_those_of_averaged_unit_rows(section, times):
    config = AveragedPCsConfig(n_averagings=times, n_components=5)
    found = AveragedPCs(config).fit(section, use_rep="X_own").embed(section)
    expected = averaged_by_hand(section.obsm["X_own"], section.obsm["spatial"], times, 5)
    np.testing.assert_allclose(pdist(found), pdist(expected), rtol=1e-4, atol=1e-5)


def test_length_of_rows_does_not_matter_and_comes_back(section):
    longer = section.copy()
    times = np.linspace(1, 5, section.n_obs)[:, None]
    longer.obsm["X_own"] = longer.obsm["X_own"] * times
    models = [AveragedPCs(TWICE).fit(one, use_rep="X_own") for one in (section, longer)]
    np.testing.assert_allclose(models[0].embed(section), models[1].embed(longer), atol=1e-5)
    rebuilt = [model.to_features(model.fitted.learnt, run.reconstruction, run.row_scale)
               for model, one in zip(models, (section, longer), strict=True) if (run := model.run(one))]  # fmt: skip
    np.testing.assert_allclose(rebuilt[1], rebuilt[0] * times, rtol=1e-3, atol=1e-3)


def test_a_spot_of_zeros_is_averaged_like_others(section):
    blank = section.copy()
    blank.obsm["X_own"][7] = 0
    assert np.isfinite(AveragedPCs(TWICE).fit(blank, use_rep="X_own").embed(blank)).all()


@pytest.mark.parametrize(("n_spots", "expected"), [(900, 0), (1100, 2)])
def test_small_sections_are_not_averaged(n_spots, expected):
    adata = toy_section(n_spots=n_spots, n_genes=60, n_domains=3, seed=0)
    for model in (AveragedPCs(), SharedFactors()):
        model.fit(adata, progress=False)
        assert model.training_facts["n_averagings"] == expected


def test_size_is_that_of_one_section_of_a_study():
    adata = toy_section(n_spots=1200, n_genes=60, n_domains=3, seed=0)
    adata.obs["section"] = np.where(np.arange(adata.n_obs) % 2, "a", "b")
    model = AveragedPCs().fit(adata, section_key="section", progress=False)
    assert model.training_facts["n_averagings"] == 0


def test_members_share_the_embedding(section):
    """The embedding spans the leading variates of both members side by side, each of unit variance."""
    config = SharedFactorsConfig(n_pcs=30, n_components=6, n_averagings=2)
    shared = SharedFactors(config).fit(section, progress=False).embed(section)
    members = (
        SpatialFactors(replace(SpatialFactors().config, n_pcs=30)),
        AveragedPCs(replace(TWICE, n_pcs=30, n_components=6)),
    )
    parts = []
    for model in members:
        embedding = model.fit(section, progress=False).embed(section).astype(float)
        left, sizes, _ = np.linalg.svd(embedding - embedding.mean(axis=0), full_matrices=False)
        parts.append(left[:, : min(6, (sizes > 1e-6 * sizes[0]).sum())])
    left, sizes, _ = np.linalg.svd(np.concatenate(parts, axis=1), full_matrices=False)
    assert subspace_angles(shared.astype(float), left[:, :6]).max() < 1e-3
    np.testing.assert_allclose(np.sqrt((shared.astype(float) ** 2).mean(axis=0)), sizes[:6], rtol=1e-3)


def test_what_both_members_see_comes_first(section):
    """Canonical variates: a direction of both has a variance of two, one of a single member a variance of one."""
    shared = SharedFactors(SharedFactorsConfig(n_pcs=30)).fit(section, progress=False).embed(section)
    variances = shared.astype(float).var(axis=0)
    assert (np.diff(variances) < 1e-6).all()
    assert 1.5 < variances[0] <= 2 + 1e-6


def test_one_member_alone_is_that_member(section):
    alone = SharedFactors(SharedFactorsConfig(n_pcs=30, members=("averaged_pcs",), n_averagings=2))
    own = AveragedPCs(AveragedPCsConfig(n_pcs=30, n_averagings=2))
    first, second = (model.fit(section, progress=False).embed(section).astype(float) for model in (alone, own))
    assert subspace_angles(first, second).max() < 1e-3
    np.testing.assert_allclose(first.var(axis=0), 1, rtol=1e-3)


def test_spamask_can_be_a_member(section):
    config = SharedFactorsConfig(n_pcs=20, members=("spatial_factors", "spamask"))
    model = SharedFactors(config)
    model.members["spamask"].config = SpaMaskConfig(n_hidden=16, n_latent=8, max_epochs=3, n_neighbors=6)
    assert model.has_network
    model.fit(section, progress=False)
    assert model.embed(section).shape == (section.n_obs, 10)
    assert model.training_facts["members"] == ["spatial_factors", "spamask"]


def test_saved_and_loaded(section, tmp_path):
    adata = section.copy()
    model = SharedFactors(SharedFactorsConfig(n_pcs=30, n_averagings=1))
    spatial_domains(adata, 3, model=model, progress=False)
    model.save(tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert isinstance(loaded, SharedFactors)
    np.testing.assert_array_equal(loaded.embed(section), model.embed(section))
    np.testing.assert_array_equal(loaded.denoise(section), model.denoise(section))


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ((), "one or more names of domain models, each once"),
        (("averaged_pcs", "averaged_pcs"), "each once"),
        (("shared_factors",), "not shared_factors"),
        (("averaged_pc",), "Did you mean 'averaged_pcs'?"),
    ],
)
def test_members_that_are_none(members, says):
    with pytest.raises(ValueError, match=says.replace("?", r"\?")):
        SharedFactorsConfig(members=members)


def test_a_member_without_features_and_graph(monkeypatch):
    class Own(DomainModel):
        method, config_class = "own", ModelConfig

        def fit(self, adata, **options):
            return self

        def embed(self, adata, *, links=None):
            return np.zeros((adata.n_obs, 2))

    from histoquilt._base import DOMAIN_MODELS

    monkeypatch.setattr(DOMAIN_MODELS, "load", lambda name: Own)
    with pytest.raises(ValueError, match=r"'averaged_pcs' cannot be a member of shared_factors: Own is no"):
        SharedFactors(SharedFactorsConfig(members=("averaged_pcs",)))


@pytest.mark.parametrize("config", [TWICE, SharedFactorsConfig(n_pcs=20), SpatialFactorsConfig()])
def test_settings_choose_their_model(section, config):
    adata = section.copy()
    spatial_domains(adata, 3, config=config, progress=False)
    method = {AveragedPCsConfig: "averaged_pcs", SharedFactorsConfig: "shared_factors"}.get(type(config))
    assert (method or "spatial_factors") in adata.uns["histoquilt"]


def test_one_averaging_less(section):
    """What a Potts field starts from: members that average do so once less."""
    model = AveragedPCs(TWICE).fit(section, use_rep="X_own")
    run = model.run(section)
    axes = model.fitted.learnt.axes
    unit = section.obsm["X_own"] / np.linalg.norm(section.obsm["X_own"], axis=1, keepdims=True)
    less = run.less_smoothed()
    assert np.var(run.embedding, axis=0).sum() < np.var(less, axis=0).sum() < np.var(unit @ axes, axis=0).sum()
    shared = SharedFactors(SharedFactorsConfig(n_pcs=30, n_averagings=2)).fit(section, progress=False).run(section)
    assert shared.less_smoothed().shape == shared.embedding.shape
    assert not np.allclose(shared.less_smoothed(), shared.embedding)
