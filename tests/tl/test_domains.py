"""Domains in one call: what is written, that it finds the toy tissue's domains, and that others can work with it."""

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy.sparse import csr_matrix
from sklearn.metrics import adjusted_rand_score

from histoquilt.datasets import toy_section
from histoquilt.io import read_h5ad, write_h5ad
from histoquilt.models import SharedFactors, SpaMask, SpaMaskConfig, SpatialFactors, SpatialFactorsConfig
from histoquilt.tl import align_labels, choose_n_domains, cluster_kmeans, cluster_mixture, spatial_domains


@pytest.fixture
def small():
    return toy_section(n_spots=200, n_genes=80, n_domains=3, seed=2)


def log1p_cp10k(adata):
    counts = adata.X.toarray().astype(float)
    return csr_matrix(np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)).astype(np.float32))


# what is found


def test_domains_of_the_toy_tissue_are_found(result):
    """Well above what expression alone gives: principal components and k-means."""
    alone = result.copy()
    sc.pp.normalize_total(alone)
    sc.pp.log1p(alone)
    sc.pp.pca(alone, n_comps=30)
    cluster_kmeans(alone, 5, use_rep="X_pca")
    truth = result.obs["domain_true"]
    found, baseline = (adjusted_rand_score(truth, adata.obs["domain"]) for adata in (result, alone))
    assert found > 0.6
    assert found > baseline + 0.12


def test_denoised_expression_tells_domains_apart_better(result):
    """Marker genes: share of the variance that lies between the true domains."""
    raw = pd.DataFrame(log1p_cp10k(result).toarray(), result.obs_names, result.var_names)
    denoised = result.obsm["denoised"]
    truth = result.obs["domain_true"]
    markers = [gene for gene in denoised.columns if result.var.loc[gene, "marker_of"]]

    def between(table):
        means = table[markers].groupby(truth, observed=True).transform("mean")
        return (means.var() / table[markers].var()).median()

    assert between(denoised) > 2 * between(raw)


# what is written


def test_what_is_written(result, small_config):
    domains = result.obs["domain"]
    assert list(domains.cat.categories) == ["1", "2", "3", "4", "5"]
    assert domains.notna().all()
    assert domains.nunique() == 5
    assert result.obs["domain_confidence"].between(0, 1).all()
    assert result.obsm["X_domains"].dtype == np.float32
    denoised = result.obsm["denoised"]
    assert denoised.index.equals(result.obs_names)
    assert set(denoised.columns) <= set(result.var_names)
    for key in ("spatial_connectivities", "spatial_distances"):
        assert (result.obsp[key] != result.obsp[key].T).nnz == 0
        assert result.obsp[key].diagonal().sum() == 0
    ours = result.uns["histoquilt"]
    assert ours["scale"] == {"X": "counts", "denoised": "log1p_cp10k"}
    assert ours["domain"]["n_domains"] == 5
    assert ours["domain"]["refined"] is True
    assert ours["domain"]["model"] == "shared_factors"
    facts = ours["shared_factors"]
    assert facts["seed"] == 0
    assert facts["config"]["n_pcs"] == small_config.n_pcs
    assert list(facts["members"]) == ["spatial_factors", "averaged_pcs"]
    assert result.obsm["X_domains"].shape[1] == facts["config"]["n_components"]
    assert facts["n_factor_spots"] == result.n_obs


def test_domains_are_named_from_top_to_bottom(result):
    height = pd.Series(result.obsm["spatial"][:, 1]).groupby(result.obs["domain"].to_numpy()).mean()
    assert height.sort_values().index.tolist() == ["1", "2", "3", "4", "5"]


def test_names_follow_the_spatial_key(small, small_config):
    small.obsm["xy"] = small.obsm.pop("spatial")[:, ::-1].copy()
    spatial_domains(small, 3, spatial_key="xy", config=small_config, denoise=False, progress=False)
    height = pd.Series(small.obsm["xy"][:, 1]).groupby(small.obs["domain"].to_numpy()).mean()
    assert height.is_monotonic_increasing
    assert small.uns["spatial_neighbors"]["params"]["spatial_key"] == "xy"


def test_input_stays_as_it_was(small, small_config):
    before = small.copy()
    spatial_domains(small, 3, config=small_config, progress=False)
    assert (small.X != before.X).nnz == 0
    assert small.obs_names.equals(before.obs_names)
    assert small.var_names.equals(before.var_names)
    pd.testing.assert_frame_equal(small.obs[before.obs.columns], before.obs)
    assert (small.obsm["spatial"] == before.obsm["spatial"]).all()


def test_copy_leaves_the_section_alone(small, small_config):
    copied = spatial_domains(small, 3, config=small_config, progress=False, copy=True)
    assert "domain" in copied.obs
    assert list(small.obs) == ["domain_true"]
    assert set(small.obsm) == {"spatial"}
    assert not small.obsp
    assert set(small.uns["histoquilt"]) == {"scale", "coordinates"}
    assert small.uns["histoquilt"]["scale"] == {"X": "counts"}


def test_same_seed_identical(small, small_config):
    first, second = (spatial_domains(small, 3, config=small_config, progress=False, seed=5, copy=True) for _ in "ab")
    assert (first.obsm["X_domains"] == second.obsm["X_domains"]).all()
    pd.testing.assert_frame_equal(first.obs, second.obs, check_exact=True)
    pd.testing.assert_frame_equal(first.obsm["denoised"], second.obsm["denoised"], check_exact=True)


def test_keys_can_be_chosen(small, small_config):
    spatial_domains(small, 3, config=small_config, key_added="region", embedding_key="X_mine", progress=False)
    assert {"region", "region_confidence"} <= set(small.obs)
    assert "X_mine" in small.obsm
    assert "X_domains" not in small.obsm
    assert small.uns["histoquilt"]["region"]["use_rep"] == "X_mine"


def test_without_refinement(small, small_config):
    plain = spatial_domains(small, 3, config=small_config, refine=False, progress=False, copy=True)
    assert plain.uns["histoquilt"]["domain"]["refined"] is False
    model = SharedFactors(small_config).fit(small)
    assert (model.embed(small) == plain.obsm["X_domains"]).all()


def test_potts_in_place_of_the_vote(small):
    config = SpatialFactorsConfig(n_pcs=50)
    by_vote = spatial_domains(small, 3, config=config, denoise=False, progress=False, copy=True)
    model = SpatialFactors(config)
    spatial_domains(small, 3, model=model, refine="potts", denoise=False, progress=False)
    facts = small.uns["histoquilt"]["domain"]
    assert facts["refined"] is True
    assert 0 < facts["potts_beta"] <= 3
    assert "potts_beta" not in by_vote.uns["histoquilt"]["domain"]
    assert (small.obsm["X_domains"] == by_vote.obsm["X_domains"]).all()
    assert small.obs["domain"].nunique() == 3
    assert adjusted_rand_score(small.obs["domain"], by_vote.obs["domain"]) > 0.8
    run = model.run(small)
    steps = model.fitted.learnt.n_smoothing_steps
    less = run.less_smoothed()
    assert (less[:, steps == 0] == run.embedding[:, steps == 0]).all()
    assert (less[:, steps > 0].var(axis=0) > run.embedding[:, steps > 0].var(axis=0)).all()


def test_refinement_of_another_name(small):
    with pytest.raises(ValueError, match=r"refine must be 'majority' .*got 'field'"):
        spatial_domains(small, 3, refine="field", progress=False)


def test_some_genes_or_none_are_denoised(small, small_config):
    everything = spatial_domains(small, 3, config=small_config, progress=False, copy=True).obsm["denoised"]
    chosen = list(everything.columns[[7, 2]])
    some = spatial_domains(small, 3, config=small_config, denoise=chosen, progress=False, copy=True).obsm["denoised"]
    assert list(some.columns) == chosen
    pd.testing.assert_frame_equal(some, everything[chosen], rtol=1e-5)
    none = spatial_domains(small, 3, config=small_config, denoise=False, progress=False, copy=True)
    assert "denoised" not in none.obsm
    assert none.uns["histoquilt"]["scale"] == {"X": "counts"}


def test_names_of_genes_are_checked_before_training(small, small_config):
    with pytest.raises(KeyError, match=r"'GHOST' of denoise= is not in adata\.var_names"):
        spatial_domains(small, 3, config=small_config, denoise=["GHOST"], progress=False)
    with pytest.raises(TypeError, match="denoise must be True, False or a list of genes, got the text 'CD3'"):
        spatial_domains(small, 3, config=small_config, denoise="CD3", progress=False)
    small.obsm["X_own"] = np.zeros((small.n_obs, 3))
    with pytest.raises(ValueError, match="use_rep='X_own' replaces the genes, so nothing can be denoised"):
        spatial_domains(small, 3, use_rep="X_own", denoise=[small.var_names[0]], progress=False)
    assert set(small.obsm) == {"spatial", "X_own"}


def test_an_embedding_replaces_the_genes(small, small_config):
    rng = np.random.default_rng(0)
    truth = small.obs["domain_true"].cat.codes.to_numpy()
    small.obsm["X_own"] = rng.normal(size=(small.n_obs, 6)) + 3 * np.eye(6)[truth]
    small.X = None
    spatial_domains(small, 3, use_rep="X_own", config=small_config, progress=False)
    assert adjusted_rand_score(truth, small.obs["domain"]) > 0.5
    assert "denoised" not in small.obsm
    assert small.uns["histoquilt"]["shared_factors"]["n_genes"] == 0


def test_declared_log_expression_and_layers(small, small_config):
    from_counts = spatial_domains(small, 3, config=small_config, progress=False, copy=True)
    logged = small.copy()
    logged.X = log1p_cp10k(small)
    logged.uns["histoquilt"]["scale"] = {"X": "log1p_cp10k"}
    spatial_domains(logged, 3, config=small_config, progress=False)
    assert adjusted_rand_score(from_counts.obs["domain"], logged.obs["domain"]) > 0.8
    layered = small.copy()
    layered.layers["mine"] = small.X.copy()
    layered.X = log1p_cp10k(small)
    spatial_domains(layered, 3, layer="mine", config=small_config, progress=False)
    assert (layered.obs["domain"] == from_counts.obs["domain"]).all()
    counted = small.copy()
    counted.layers["counts"] = small.X.copy()
    counted.X = log1p_cp10k(small)
    spatial_domains(counted, 3, config=small_config, progress=False)  # layers["counts"] goes before X
    assert (counted.obs["domain"] == from_counts.obs["domain"]).all()


def test_several_sections_have_their_own_graph(small_config):
    two = toy_section(n_spots=150, n_genes=80, n_domains=3, n_sections=2, seed=0)
    spatial_domains(two, 3, section_key="section", config=small_config, progress=False)
    section = two.obs["section"].to_numpy()
    rows, columns = two.obsp["spatial_connectivities"].nonzero()
    assert (section[rows] == section[columns]).all()
    assert two.obs["domain"].nunique() == 3


# how many, how sure, with which model


def test_the_number_of_domains_is_searched_in_a_range(small, small_config):
    spatial_domains(small, (2, 4), config=small_config, denoise=False, progress=False)
    ours = small.uns["histoquilt"]
    assert ours["n_domains_curve"]["n_domains"].tolist() == [2, 3, 4]
    k = ours["domain"]["n_domains"]
    assert k in (2, 3, 4)
    assert ours["domain"]["chosen"] is True
    assert small.obs["domain"].cat.categories.tolist() == [str(number + 1) for number in range(k)]
    by_hand = small.copy()
    assert k == choose_n_domains(by_hand, n_domains=(2, 4), n_components=small_config.n_components)


@pytest.mark.filterwarnings("ignore:No number of domains")
def test_without_a_number_a_small_section_is_searched_as_far_as_it_bears(small, small_config):
    few = small[:64].copy()
    spatial_domains(few, config=small_config, denoise=False, progress=False)
    assert few.uns["histoquilt"]["n_domains_curve"]["n_domains"].tolist() == list(range(2, 9))  # 64 / 8
    assert few.obs["domain"].nunique() == few.uns["histoquilt"]["domain"]["n_domains"]


def test_a_number_of_numpys_is_a_number(small, small_config):
    spatial_domains(small, np.int64(3), config=small_config, denoise=False, progress=False)
    record = small.uns["histoquilt"]["domain"]
    assert (record["n_domains"], record["chosen"]) == (3, False)
    assert "n_domains_curve" not in small.uns["histoquilt"]


def test_a_model_of_ones_own_is_left_trained(small, small_config):
    model = SharedFactors(small_config)
    spatial_domains(small, 3, model=model, refine=False, progress=False)
    assert (model.embed(small) == small.obsm["X_domains"]).all()
    assert sorted(model.domains.names) == ["1", "2", "3"]
    posteriors = model.domains.mixture.probabilities(small.obsm["X_domains"])
    named = np.array(model.domains.names)[posteriors.argmax(axis=1)]
    assert named.tolist() == small.obs["domain"].tolist()
    np.testing.assert_allclose(small.obs["domain_confidence"], posteriors.max(axis=1))
    plain = small.copy()
    spatial_domains(plain, 3, config=small_config, refine=False, progress=False)
    assert plain.obs["domain"].equals(small.obs["domain"])
    with pytest.raises(ValueError, match="Both config= and model= are given, and they differ"):
        spatial_domains(small, 3, model=model, config=replace(small_config, n_pcs=8), progress=False)


def test_confidence_of_refined_spots_is_that_of_the_domain_they_got(small, small_config):
    model = SharedFactors(small_config)
    spatial_domains(small, 3, model=model, denoise=False, progress=False)
    posteriors = model.domains.mixture.probabilities(small.obsm["X_domains"])
    column = [model.domains.names.index(name) for name in small.obs["domain"]]
    np.testing.assert_allclose(small.obs["domain_confidence"], posteriors[np.arange(200), column])
    assert (posteriors.argmax(axis=1) != column).any()  # refinement did move some


def test_confidence_of_several_networks(small, small_config):
    """The mean over the posteriors of mixtures fitted to each network's own embedding."""
    config = SpaMaskConfig(n_hidden=32, n_latent=16, n_pcs=20, max_epochs=60, n_networks=2)
    model = SpaMask(config)
    spatial_domains(small, 3, model=model, denoise=False, progress=False)
    assert small.uns["histoquilt"]["domain"]["n_networks"] == 2
    assert small.uns["histoquilt"]["spamask"]["history"]["run"].unique().tolist() == [0, 1]
    codes = small.obs["domain"].cat.codes.to_numpy()
    of_each = []
    for own in model.run(small).of_networks:
        alone = small.copy()
        alone.obsm["X_own"] = own
        cluster_mixture(alone, 3, use_rep="X_own", n_components=config.n_components, n_starts=10)
        same = align_labels(alone.obs["domain"], small.obs["domain"]) == codes
        sure = alone.obs["domain_confidence"].to_numpy()
        of_each.append(np.where(same, sure, 1 - sure))  # at most what is left, where it says another domain
    found = small.obs["domain_confidence"].to_numpy()
    assert (found <= np.mean(of_each, axis=0) + 1e-9).all()
    agreed = (np.array(of_each) > 0.5).all(axis=0)
    np.testing.assert_allclose(found[agreed], np.mean(of_each, axis=0)[agreed])
    assert agreed.mean() > 0.3


def test_another_model_and_its_history_in_a_file(small, tmp_path):
    model = SpaMask(SpaMaskConfig(n_hidden=16, n_latent=8, n_pcs=10, max_epochs=3))
    spatial_domains(small, 3, model=model, progress=False)
    write_h5ad(small, tmp_path / "result.h5ad")
    ours, theirs = (adata.uns["histoquilt"]["spamask"] for adata in (small, read_h5ad(tmp_path / "result.h5ad")))
    assert ours["n_epochs"] == len(ours["history"]) == 3
    assert {"epoch", "loss", "feature_loss", "edge_loss", "embedding_change"} <= set(ours["history"])
    history, expected = (facts["history"].reset_index(drop=True) for facts in (theirs, ours))
    pd.testing.assert_frame_equal(history, expected, check_dtype=False, check_index_type=False)
    assert small.uns["histoquilt"]["domain"]["model"] == "spamask"
    with pytest.raises(TypeError, match="SharedFactors takes a SharedFactorsConfig, got a SpaMaskConfig"):
        SharedFactors(model.config)


def test_features_are_made_once(small, monkeypatch):
    from histoquilt.models.domains._features import SectionFeatures

    monkeypatch.setattr(SectionFeatures, "transform", None)
    spatial_domains(small, 3)


def test_denoised_expression_of_an_earlier_run_goes(small, small_config):
    spatial_domains(small, 3, config=small_config, progress=False)
    assert "denoised" in small.obsm
    spatial_domains(small, 3, config=small_config, denoise=False, progress=False)
    assert "denoised" not in small.obsm
    assert small.uns["histoquilt"]["scale"] == {"X": "counts"}


# what others do with it


def test_it_survives_h5ad(result, tmp_path):
    write_h5ad(result, tmp_path / "result.h5ad")
    read = read_h5ad(tmp_path / "result.h5ad")
    pd.testing.assert_frame_equal(
        read.obs[list(result.obs)], result.obs, check_index_type=False, check_categorical=False
    )
    assert (read.obsm["X_domains"] == result.obsm["X_domains"]).all()
    pd.testing.assert_frame_equal(read.obsm["denoised"], result.obsm["denoised"], check_index_type=False)
    assert (read.obsp["spatial_connectivities"] != result.obsp["spatial_connectivities"]).nnz == 0
    ours, theirs = result.uns["histoquilt"], read.uns["histoquilt"]
    settings = [dict(one["shared_factors"]["config"]) for one in (theirs, ours)]
    assert list(settings[0].pop("members")) == list(settings[1].pop("members"))
    assert settings[0] == settings[1]
    assert theirs["domain"] == ours["domain"]
    assert theirs["scale"] == ours["scale"]


def test_scanpy_runs_leiden_on_the_graph(result):
    pytest.importorskip("igraph")
    sc.tl.leiden(result, neighbors_key="spatial_neighbors", flavor="igraph", n_iterations=2)
    assert len(result.obs["leiden"].cat.categories) > 1


def test_squidpy_runs_neighbourhood_enrichment(result):
    """Spots of a domain lie together, which squidpy sees in the graph that we wrote."""
    squidpy = pytest.importorskip("squidpy")
    squidpy.gr.nhood_enrichment(result, cluster_key="domain", n_perms=20, seed=0, show_progress_bar=False)
    z = result.uns["domain_nhood_enrichment"]["zscore"]
    assert z.shape == (5, 5)
    assert (np.diag(z) > 3).all()


def test_two_patients_in_one_frame_are_refused_unless_they_are_told_apart(small):
    other = small.copy()
    other.obsm["spatial"] = other.obsm["spatial"][:, ::-1] + 0.3
    both = ad.concat({"P1": small, "P2": other}, label="patient", index_unique="-")
    with pytest.raises(ValueError, match="Pass section_key='patient', or one_section=True"):
        spatial_domains(both, 2, progress=False)
    with pytest.raises(ValueError, match="split_sections"):
        SpatialFactors().fit(both)
    model = SpatialFactors()
    spatial_domains(both, 2, model=model, section_key="patient", denoise=False, progress=False)
    patient = both.obs["patient"].to_numpy()
    rows, columns = both.obsp["spatial_connectivities"].nonzero()
    assert (patient[rows] == patient[columns]).all()
    del both.obs["patient"]
    with pytest.raises(ValueError, match="spot names end in '-P1', '-P2'"):
        model.embed(both)
    spatial_domains(both, 2, config=model.config, one_section=True, denoise=False, progress=False)
    assert both.uns["histoquilt"]["one_section"]
    assert len(model.embed(both)) == both.n_obs
