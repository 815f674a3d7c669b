"""Fit, embed and denoise: shapes, what is left alone, seeds, and what it learns."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.datasets import toy_section
from histoquilt.gr import knn_adjacency
from histoquilt.models import SpaMask, SpaMaskConfig, SpatialFactors, SpatialFactorsConfig

FACTORS = SpatialFactorsConfig(n_pcs=30)
SMALL = SpaMaskConfig(n_hidden=32, n_latent=16, max_epochs=20, target_sum=1e4, log=True)


def log1p_cp10k(adata: AnnData) -> np.ndarray:
    counts = np.asarray(adata.X.todense(), float)
    return np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))


# what comes out


def test_embedding_is_float32_and_finite(fitted, section):
    embedding = fitted.embed(section)
    assert embedding.dtype == np.float32
    assert embedding.shape[0] == section.n_obs
    assert np.isfinite(embedding).all()
    if isinstance(fitted, SpaMask):
        assert embedding.shape[1] == fitted.config.n_latent * fitted.config.n_networks


def test_denoised_expression_is_a_table_of_the_modelled_genes(pca_model, section):
    denoised = pca_model.denoise(section)
    assert isinstance(denoised, pd.DataFrame)
    assert denoised.index.equals(section.obs_names)
    assert list(denoised.columns) == pca_model.genes
    assert (denoised.dtypes == np.float32).all()


def test_denoised_genes_can_be_chosen_in_any_order(pca_model, section):
    some = pca_model.genes[5:1:-1]
    chosen = pca_model.denoise(section, some)
    assert list(chosen.columns) == some
    pd.testing.assert_frame_equal(chosen, pca_model.denoise(section)[some], rtol=1e-5)
    assert pca_model.denoise(section, []).shape == (section.n_obs, 0)


def test_a_gene_that_was_not_modelled(pca_model, section):
    with pytest.raises(KeyError, match=r"Not among the .* modelled genes: 'GHOST'\. .*raise n_genes in the config"):
        pca_model.denoise(section, ["GHOST"])


def test_an_embedding_of_the_users_cannot_be_denoised(rep_model, section):
    assert rep_model.genes == []
    with pytest.raises(ValueError, match=r"fitted on obsm\['X_own'\], not on genes, .*use_rep=None"):
        rep_model.denoise(section)


@pytest.mark.parametrize(
    "changes",
    [{}, {"target_sum": 1e6, "log": False}, {"features": "hvg"}],
    ids=["pca", "published normalisation", "hvg"],
)
def test_denoised_scale_is_log1p_cp10k(section, changes):
    kind, config = (SpaMask, SMALL) if "features" in changes else (SpatialFactors, FACTORS)
    model = kind(replace(config, **changes)).fit(section, progress=False)
    denoised = model.denoise(section)
    raw = pd.DataFrame(log1p_cp10k(section), section.obs_names, section.var_names)[model.genes]
    assert (denoised.to_numpy() >= 0).all()
    means = denoised.mean(), raw.mean()
    if changes.get("log", True):
        assert np.corrcoef(*means)[0, 1] > 0.99
        assert abs(np.polyfit(means[1], means[0], 1)[0] - 1) < 0.1  # the same unit, not just the same order
    else:  # the mean of counts lies above the mean of their logarithms
        assert np.corrcoef(*means)[0, 1] > 0.95


def test_denoised_is_nearer_to_the_domains_truth_than_raw(section):
    """Marker genes: squared distance from the mean of the true domain, which the model never saw."""
    model = SpatialFactors(FACTORS).fit(section)
    denoised = model.denoise(section)
    raw = pd.DataFrame(log1p_cp10k(section), section.obs_names, section.var_names)[model.genes]
    markers = [gene for gene in model.genes if section.var.loc[gene, "marker_of"]]
    truth = raw[markers].groupby(section.obs["domain_true"], observed=True).transform("mean")
    error_of_raw = ((raw[markers] - truth) ** 2).to_numpy().mean()
    error = ((denoised[markers] - truth) ** 2).to_numpy().mean()
    assert error < 0.5 * error_of_raw


# what is left alone


def test_adata_is_not_changed(section, untrained):
    before = section.copy()
    model = untrained.fit(section, progress=False)
    model.embed(section)
    model.denoise(section)
    assert (section.X != before.X).nnz == 0
    pd.testing.assert_frame_equal(section.obs, before.obs)
    pd.testing.assert_frame_equal(section.var, before.var)
    assert set(section.obsm) == set(before.obsm)
    assert all((section.obsm[key] == before.obsm[key]).all() for key in before.obsm)
    assert not section.obsp
    assert section.uns.keys() == before.uns.keys()
    assert section.uns["histoquilt"] == before.uns["histoquilt"]


def test_global_random_states_are_untouched(section, untrained):
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = untrained.fit(section, progress=False)
    model.embed(section)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


# seeds


def test_same_seed_same_result_bit_for_bit(fitted, section):
    torch.rand(7)  # whatever else drew from the global state in between
    use_rep = "X_own" if not fitted.genes else None
    again = type(fitted)(fitted.config).fit(section, use_rep=use_rep, seed=3, progress=False)
    assert (again.embed(section) == fitted.embed(section)).all()
    if isinstance(fitted, SpaMask):
        ours, theirs = (model.training_facts["history"]["loss"] for model in (again, fitted))
        pd.testing.assert_series_equal(ours, theirs)


# properties


def test_shuffled_spots_give_shuffled_rows(fitted, section):
    order = np.random.default_rng(0).permutation(section.n_obs)
    np.testing.assert_allclose(fitted.embed(section[order].copy()), fitted.embed(section)[order], atol=1e-4)


def test_training_does_not_depend_on_moving_and_turning_the_tissue(section):
    model = SpatialFactors(FACTORS).fit(section)
    moved = section.copy()
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    moved.obsm["spatial"] = moved.obsm["spatial"] @ turn * 0.37 + 1000
    again = SpatialFactors(FACTORS).fit(moved, seed=3, progress=False)
    np.testing.assert_allclose(again.embed(moved), model.embed(section), atol=1e-4)


@pytest.mark.parametrize("as_matrix", [np.asarray, csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_storage_of_the_counts_changes_nothing(pca_model, section, as_matrix, dtype):
    stored = section.copy()
    stored.X = as_matrix(section.X.toarray().astype(dtype))
    np.testing.assert_allclose(pca_model.embed(stored), pca_model.embed(section), atol=1e-5)


def test_sections_never_share_an_edge(untrained):
    """Expression of the second section cannot reach the first one's embedding."""
    two = toy_section(n_spots=120, n_genes=60, n_domains=3, n_sections=2, seed=0)
    model = untrained.fit(two, section_key="section", progress=False)
    changed = two.copy()
    second = (two.obs["section"] == "s2").to_numpy()
    counts = two.X.toarray()
    counts[second] = counts[second][:, ::-1]
    changed.X = csr_matrix(counts)
    before, after = model.embed(two), model.embed(changed)
    np.testing.assert_allclose(after[~second], before[~second], atol=1e-5)
    assert np.abs(after[second] - before[second]).max() > 0.1


def test_sections_without_a_key_are_one_tissue():
    """The counterpart: where sections lie on top of each other and no key is given, they do mix."""
    two = toy_section(n_spots=120, n_genes=60, n_domains=3, n_sections=2, seed=0)
    two.obsm["spatial"] = two.obsm["spatial"] + np.random.default_rng(0).uniform(0, 1, (two.n_obs, 2))
    section = two.obs["section"].to_numpy()
    rows, columns = knn_adjacency(two.obsm["spatial"], 6).nonzero()
    assert (section[rows] != section[columns]).any()


def test_layer_and_declared_scale(section):
    logged = section.copy()
    logged.layers["raw_counts"] = section.X.copy()
    logged.layers["logged"] = csr_matrix(log1p_cp10k(section).astype(np.float32))
    logged.X = csr_matrix((section.n_obs, section.n_vars), dtype=np.float32)
    logged.uns["histoquilt"] = {"scale": {"logged": "log1p_cp10k"}}
    from_layer = SpatialFactors(FACTORS).fit(logged, layer="raw_counts", seed=3, progress=False)
    from_x = SpatialFactors(FACTORS).fit(section, seed=3, progress=False)
    assert (from_layer.embed(logged) == from_x.embed(section)).all()
    from_log = SpatialFactors(FACTORS).fit(logged, layer="logged", seed=3, progress=False)
    # all 120 genes are modelled either way and the normalisation is the same one
    assert from_log.genes == from_x.genes
    np.testing.assert_allclose(from_log.embed(logged), from_x.embed(section), atol=1e-2)


def test_an_isolated_spot_is_kept(section):
    lonely = section.copy()
    lonely.obsm["spatial"][0] += 1e5
    with pytest.warns(UserWarning, match="1 of 300 spots have no neighbour"):
        embedding = SpatialFactors(replace(FACTORS, radius=180.0)).fit(lonely, progress=False).embed(lonely)
    assert np.isfinite(embedding).all()


def test_the_smallest_section_that_can_be_fitted(untrained):
    adata = toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)[:3].copy()
    adata.X = 5 * np.ones((3, 20), np.float32) + np.eye(3, 20, dtype=np.float32)
    model = untrained.fit(adata, progress=False)
    assert np.isfinite(model.embed(adata)).all()
    with pytest.raises(ValueError, match="has 2 of the 3 spots"):
        untrained.fit(adata[:2].copy(), progress=False)


# errors


@pytest.mark.parametrize("job", ["embed", "denoise", "save"])
def test_not_trained(job, section, tmp_path, untrained):
    argument = tmp_path / "model" if job == "save" else section
    with pytest.raises(RuntimeError, match=r"not trained\. Call \.fit\(adata\), or histoquilt\.models\.load"):
        getattr(untrained, job)(argument)


def test_a_section_that_lacks_genes(pca_model, section):
    """A few are filled, and told; of the filled ones the average comes back."""
    lacking = section[:, [gene for gene in section.var_names if gene not in pca_model.genes[:2]]].copy()
    with pytest.warns(UserWarning, match=r"lacks 2, first: .*filled with the average"):
        embedding = pca_model.embed(lacking)
    whole = pca_model.embed(section)
    assert np.corrcoef(embedding.ravel(), whole.ravel())[0, 1] > 0.9
    assert (embedding != whole).any()
    with pytest.warns(UserWarning, match="lacks 2, first"):
        denoised = pca_model.denoise(lacking)
    assert list(denoised.columns) == pca_model.genes
    assert np.isfinite(denoised.to_numpy()).all()


@pytest.mark.parametrize("job", ["embed", "denoise"])
def test_a_section_that_lacks_most_genes(pca_model, section, job):
    foreign = section[:, pca_model.genes[:50]].copy()
    with pytest.raises(
        ValueError, match=r"has 50 of them and lacks 58, .*At least 50% .*the genes your sections share"
    ):
        getattr(pca_model, job)(foreign)


def test_more_genes_in_another_order_are_no_hindrance(pca_model, section):
    """The depth is that of the genes measured, so only the order differs here."""
    turned = section[:, ::-1].copy()
    np.testing.assert_allclose(pca_model.embed(turned), pca_model.embed(section), atol=1e-5)


def test_an_embedding_of_another_width(section, rep_model):
    narrow = section.copy()
    narrow.obsm["X_own"] = narrow.obsm["X_own"][:, :5]
    with pytest.raises(ValueError, match=r"fitted on 8 columns of obsm\['X_own'\], this section has 5"):
        rep_model.embed(narrow)


def test_missing_keys(section, untrained):
    for keys, words in [
        ({"use_rep": "X_no"}, r"'X_no' is not in adata\.obsm \(found: .*'X_own'.*use_rep="),
        ({"layer": "no"}, r"'no' is not in adata\.layers"),
        ({"spatial_key": "no"}, r"'no' is not in adata\.obsm .*spatial_key="),
        ({"section_key": "no"}, r"'no' is not in adata\.obs .*section_key="),
    ]:
        with pytest.raises(KeyError, match=words):
            untrained.fit(section, progress=False, **keys)


def test_an_embedding_with_nan(section, untrained):
    broken = section.copy()
    broken.obsm["X_own"][3, 2] = np.nan
    with pytest.raises(ValueError, match=r"X_own'\] must be a finite matrix .*with NaN or infinite values"):
        untrained.fit(broken, use_rep="X_own", progress=False)


def test_repr(pca_model, rep_model, untrained):
    assert repr(untrained) == f"{type(untrained).__name__}(not trained)"
    assert repr(pca_model) == f"{type(pca_model).__name__}(trained on {len(pca_model.genes)} genes)"
    assert "obsm['X_own']" in repr(rep_model)


def test_what_training_returns_is_what_run_says(untrained):
    two = toy_section(n_spots=150, n_genes=80, n_domains=3, n_sections=2, seed=0)
    trained = untrained.fit_run(two, section_key="section", progress=False)
    again = untrained.run(two)
    np.testing.assert_array_equal(again.embedding, trained.embedding)
    np.testing.assert_array_equal(again.reconstruction, trained.reconstruction)
    np.testing.assert_array_equal(again.scaling.mean, trained.scaling.mean)


def test_an_embedding_goes_to_a_file(pca_model, section, tmp_path):
    found = pca_model.embed(section, out=tmp_path / "folder" / "embedding.npy")
    assert isinstance(found, np.memmap)
    assert not found.flags.writeable
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, pca_model.embed(section))
    with pytest.raises(ValueError, match=r"out= names the \.npy file .* got '.*embedding\.h5'"):
        pca_model.embed(section, out=tmp_path / "embedding.h5")
