"""Domains from a finished embedding: what is written, k exactly, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from sklearn.metrics import adjusted_rand_score

from histoquilt.cluster import _spatial_sample
from histoquilt.study.expression import _chunks
from histoquilt.tl import cluster_kmeans, cluster_leiden, cluster_mixture

ALL = [cluster_mixture, cluster_kmeans, cluster_leiden]


@pytest.fixture
def blobs(shared_covariance, embedded):
    x, labels = shared_covariance(n=300, apart=15.0)
    adata = embedded(x, np.column_stack([np.arange(300), 10 * labels]))
    adata.obs["truth"] = labels
    return adata


@pytest.mark.parametrize("cluster", ALL)
def test_clusters_are_found_and_named_by_position(blobs, cluster):
    if cluster is cluster_leiden:
        pytest.importorskip("igraph")
    assert cluster(blobs, 4, key_added="found", seed=1) is None
    assert list(blobs.obs["found"].cat.categories) == ["1", "2", "3", "4"]
    if cluster is not cluster_kmeans:  # which knows nothing of covariances
        assert (blobs.obs["found"].astype(int) - 1 == blobs.obs["truth"]).all()
    facts = blobs.uns["histoquilt"]["found"]
    assert (facts["n_domains"], facts["seed"], facts["use_rep"], facts["refined"]) == (4, 1, "X_domains", False)
    again = blobs.copy()
    cluster(again, 4, key_added="found", seed=1)
    assert again.obs["found"].equals(blobs.obs["found"])


def test_confidence_is_the_posterior(embedded):
    x = np.r_[np.random.default_rng(0).normal(0, 1, (80, 2)), np.random.default_rng(1).normal(4, 1, (80, 2)), [[2, 2]]]
    adata = embedded(x)
    cluster_mixture(adata, 2)
    confidence = adata.obs["domain_confidence"]
    assert confidence.between(0.5, 1).all()
    assert confidence.iloc[-1] == confidence.min()  # halfway between the two
    assert confidence.iloc[:-1].median() > 0.99


def test_kmeans_is_that_of_scikit_learn(embedded):
    from sklearn.cluster import KMeans

    x = np.random.default_rng(0).normal(size=(100, 4))
    adata = embedded(x)
    cluster_kmeans(adata, 3, seed=0)
    inertia = KMeans(3, n_init=50, random_state=0).fit(x).inertia_
    codes = adata.obs["domain"].cat.codes.to_numpy()
    own = sum(((x[codes == c] - x[codes == c].mean(axis=0)) ** 2).sum() for c in range(3))
    assert own == pytest.approx(inertia, rel=1e-6)


def test_kmeans_of_a_wide_embedding_sees_its_leading_components(embedded):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 50)
    x = rng.normal(0, 0.1, (150, 60))
    x[:, :2] += 10 * np.array([[0, 0], [1, 0], [0, 1]])[labels]
    adata = embedded(x)
    cluster_kmeans(adata, 3, n_components=2, n_starts=5)
    assert adjusted_rand_score(labels, adata.obs["domain"]) == 1.0


@pytest.mark.parametrize("n_domains", [1, 2, 3, 5, 8])
def test_leiden_finds_exactly_k(result, n_domains):
    pytest.importorskip("igraph")
    cluster_leiden(result, n_domains, key_added="leiden")
    assert result.obs["leiden"].nunique() == n_domains
    assert result.uns["histoquilt"]["leiden"]["resolution"] > 0


def test_leiden_says_what_it_found(embedded):
    """Three blobs far apart are at least three communities at any resolution."""
    pytest.importorskip("igraph")
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(100 * i, 1, (40, 2)) for i in range(3)])
    words = r"exactly 2 domains \(found: 3.*Ask for one of these, change n_neighbors, or use cluster_mixture"
    with pytest.raises(ValueError, match=words):
        cluster_leiden(embedded(x), 2)


def test_leiden_without_igraph(blobs, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "igraph", None)
    with pytest.raises(ImportError, match=r"Leiden clustering needs igraph.*histoquilt\[leiden\]"):
        cluster_leiden(blobs, 3)


@pytest.mark.parametrize("cluster", [cluster_mixture, cluster_kmeans])
def test_one_domain_and_as_many_as_spots(embedded, cluster):
    x = np.random.default_rng(0).normal(size=(6, 3))
    adata = embedded(x)
    cluster(adata, 1)
    assert set(adata.obs["domain"]) == {"1"}
    cluster(adata, 6)
    assert adata.obs["domain"].nunique() == 6
    single = embedded(x[:1])
    cluster(single, 1)
    assert list(single.obs["domain"]) == ["1"]


@pytest.mark.parametrize("cluster", [cluster_mixture, cluster_kmeans])
def test_a_constant_embedding(embedded, cluster):
    with pytest.raises(ValueError, match="2 domains were asked for, but only 1 could be distinguished"):
        cluster(embedded(np.ones((20, 3))), 2)


@pytest.mark.parametrize("cluster", ALL)
def test_bad_input(embedded, cluster):
    adata = embedded(np.random.default_rng(0).normal(size=(8, 3)))
    with pytest.raises(ValueError, match="n_domains must be at least 1, got 0"):
        cluster(adata, 0)
    with pytest.raises(ValueError, match="n_domains is 9, but there are only 8 spots"):
        cluster(adata, 9)
    with pytest.raises(TypeError, match=r"n_domains must be a whole number, got 2\.5"):
        cluster(adata, 2.5)
    with pytest.raises(KeyError, match=r"'X_no' is not in adata.obsm \(found: 'X_domains'\).*use_rep="):
        cluster(adata, 2, use_rep="X_no")
    adata.obsm["X_nan"] = np.full((8, 2), np.nan)
    with pytest.raises(ValueError, match=r"X_nan'\] holds NaN or infinite values"):
        cluster(adata, 2, use_rep="X_nan")
    adata.obsm["X_empty"] = np.zeros((8, 0))
    with pytest.raises(ValueError, match=r"must have shape \(n_spots, n_features\), got \(8, 0\)"):
        cluster(adata, 2, use_rep="X_empty")


@pytest.mark.parametrize("cluster", [cluster_mixture, cluster_kmeans])
def test_large_tissue_is_fitted_on_a_sample_and_says_so(cluster, monkeypatch):
    monkeypatch.setattr("histoquilt.cluster._spatial_sample.SAMPLE_ABOVE", 300)
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 400)
    embedding = 6 * np.eye(3, 40)[truth] + rng.normal(size=(1200, 40))
    adata = AnnData(obsm={"X_domains": embedding, "spatial": rng.uniform(size=(1200, 2)) + truth[:, None]})
    cluster(adata, 3, n_components=5, n_starts=4)
    assert adata.uns["histoquilt"]["domain"]["n_spots_fitted"] == 300
    assert adjusted_rand_score(truth, adata.obs["domain"]) > 0.95


@pytest.fixture
def as_if_large(monkeypatch):
    """300 spots count as a large section: 150 are fitted on, 50 are looked at in one go."""
    monkeypatch.setattr(_spatial_sample, "SAMPLE_ABOVE", 150)
    monkeypatch.setattr(_chunks, "_CHUNK_VALUES", 100)


@pytest.mark.parametrize("cluster", ALL)
def test_a_large_section_is_clustered_by_a_sample_of_it(blobs, cluster, as_if_large):
    if cluster is cluster_leiden:
        pytest.importorskip("igraph")
    blobs.obsm["X_domains"] = blobs.obsm["X_domains"].astype(np.float32)
    cluster(blobs, 4)
    assert blobs.uns["histoquilt"]["domain"]["n_spots_fitted"] == 150
    if cluster is not cluster_kmeans:
        assert (blobs.obs["domain"].astype(int) - 1 == blobs.obs["truth"]).all()


@pytest.mark.parametrize("cluster", ALL)
def test_an_embedding_may_stay_in_its_file(blobs, cluster, as_if_large, tmp_path):
    if cluster is cluster_leiden:
        pytest.importorskip("igraph")
    in_file = blobs.copy()
    np.save(tmp_path / "embedding.npy", blobs.obsm["X_domains"])
    in_file.obsm["X_domains"] = np.load(tmp_path / "embedding.npy", mmap_mode="r")
    cluster(blobs, 4)
    cluster(in_file, 4)
    assert isinstance(in_file.obsm["X_domains"], np.memmap)
    pd.testing.assert_frame_equal(in_file.obs, blobs.obs)
